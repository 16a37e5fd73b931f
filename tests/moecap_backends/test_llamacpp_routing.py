"""Experts and steps out of llama.cpp's own passes: those of transformers, token by token, and all that lacks them."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_models import VOCABULARY

from moecap.backend import Prompt, Sampling
from moecap.errors import BadInputError, NotAvailableError, RunError
from moecap.metrics.steps import step_work
from moecap.models.config_file import read_config_file
from moecap.models.reading import read_model
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder, RequestRecord
from moecap.observations.schema import Phase
from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.settings import with_settings
from moecap.verification.recomputation import verify_run
from moecap_backends.llamacpp import LlamacppBackend
from moecap_backends.llamacpp_feeding import fed_steps
from moecap_backends.llamacpp_passes import Pass
from moecap_backends.router_capture import ROUTER

pytestmark = pytest.mark.engine

END = VOCABULARY - 1
NEAR_TIE = 0.02
"""Between the scores of the last expert that a router takes and the first that it leaves; the KV cache is fp16."""
NOT_COMPUTED = 8
"""Number after that of the last expert: the last layer computes those tokens alone whose logits are asked for."""


def _prompts(lengths, output=8, seed=1, **how):
    rng = np.random.default_rng(seed)
    tokens = [tuple(int(t) for t in rng.integers(0, END, n)) for n in lengths]
    return [Prompt(f"p{i}", t, output, Sampling(**how)) for i, t in enumerate(tokens)]


def _observed(job, prompts, folder, concurrency=4):
    recorder = Recorder(stage="load")
    with LlamacppBackend().open(job) as running:
        answers = running.generate(prompts, concurrency, recorder, lambda _done: None)
        info = running.info
    recorder.write(folder)
    return read_observations(folder), answers, info


def _experts_of(observations, request):
    """Experts of a request's tokens in the order in which they were fed, [tokens, MoE layers, k]."""
    steps = observations.steps
    of_row = np.repeat(steps.seq_request.values, steps.seq_new.values)
    start = np.repeat(steps.seq_start.values, steps.seq_new.values)
    within = np.concatenate([np.arange(n) for n in steps.seq_new.values])
    rows = np.flatnonzero(of_row == request)
    return observations.routing.experts[rows[np.argsort((start + within)[rows])]]


def _routers(checkpoint):
    """From tokens to the routers' scores in transformers, fp32, [tokens, MoE layers, experts]."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    scores = []
    for module in model.modules():
        if ROUTER.search(type(module).__name__):
            module.register_forward_hook(lambda _m, _i, out: scores.append(out[0].reshape(-1, out[0].shape[-1])))

    def forward(tokens):
        scores.clear()
        with torch.inference_mode():
            model(torch.tensor([list(tokens)]))
        return torch.stack(scores, 1).numpy().copy()

    return forward


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOECAP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe", "olmoe"])
def test_experts_of_every_computed_token_are_those_of_transformers(family, ascii_model, llamacpp_job, cache, tmp_path):
    folder = ascii_model(family)
    prompts = _prompts([9, 17, 5, 12, 30, 3], output=12)
    job = llamacpp_job(folder, tmp_path / "server.log", routing="true")
    seen, answers, info = _observed(job, prompts, tmp_path)
    assert (info.timer, info.step_tokens) == ("host", None)
    assert seen.routing.capture == "llama.cpp, on the results of its routers (routing=true)"
    router = _routers(folder)
    equal = compared = 0
    for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        experts = _experts_of(seen, number)
        scores = router([*prompt.tokens, *answer.tokens[:-1]])
        assert experts.shape == (*scores.shape[:2], 2)
        left_out = len(prompt.tokens) - 1
        assert (experts[:left_out, -1] == NOT_COMPUTED).all()
        computed = np.ones(experts.shape[:2], bool)
        computed[:left_out, -1] = False
        best = np.sort(scores, -1)[..., ::-1]
        expected = np.sort(np.argsort(-scores, -1)[..., :2], -1)
        same = (np.sort(experts, -1) == expected).all(-1)
        turned = (best[..., 1] - best[..., 2])[computed & ~same]
        assert not len(turned) or turned[0] < NEAR_TIE  # what follows it has another input
        equal, compared = equal + int((same & computed).sum()), compared + int(computed.sum())
    print(f"{equal} of {compared} selections equal")  # noqa: T201  (the rate, with -s)
    assert equal >= 0.99 * compared


def test_steps_are_the_passes_of_the_model_also_where_prompts_are_cut(ascii_model, llamacpp_job, cache, tmp_path):
    folder = ascii_model("mixtral")
    arguments = {"routing": "true", "ubatch-size": "16", "batch-size": "32"}
    job = replace(llamacpp_job(folder, tmp_path / "server.log", **arguments), longest=128)
    seen, _, _ = _observed(job, _prompts([90, 33, 7, 64], output=6), tmp_path)
    steps = seen.steps
    assert steps.tokens().sum() == 90 + 33 + 7 + 64 + 4 * 5
    assert steps.tokens().max() == 16
    assert steps.logits_tokens.sum() == 4 * 6
    silent = steps.logits_tokens == 0
    assert silent.sum() >= 4  # parts of prompts that end in a later pass
    distinct = steps.distinct_experts.values.reshape(len(steps), -1)
    assert (distinct[silent, -1] == 0).all()
    assert distinct[~silent].min() >= 2
    assert (np.diff(steps.start_ns) > 0).all()
    assert (steps.start_ns[1:] >= (steps.start_ns + steps.duration_ns)[:-1]).all()
    spec = read_model(read_config_file(folder / "config.json"), "tiny", weights="gguf-fp32", kv="fp16")
    work = step_work(spec, steps)
    layers, expert = distinct.sum(1), work.bytes.experts / distinct.sum(1)
    assert expert == pytest.approx(np.full(len(layers), expert[0]))  # every expert that was read counts once


def test_what_a_cache_served_is_in_no_pass(ascii_model, llamacpp_job, cache, tmp_path):
    job = llamacpp_job(ascii_model("mixtral"), tmp_path / "server.log", routing="true")
    seen, _, _ = _observed(replace(job, prefix_cache=True), _prompts([40]) * 3, tmp_path, concurrency=1)
    assert seen.requests["cached_tokens"].tolist() == [0, 39, 39]
    first = seen.steps.seq_phase.values == Phase.PREFILL
    assert seen.steps.seq_start.values[first].tolist() == [0, 39, 39]
    assert seen.steps.seq_new.values[first].tolist() == [40, 1, 1]


def test_a_run_has_measured_routing_and_is_verified(ascii_model, cache, tmp_path):
    texts = tmp_path / "prompts.jsonl"
    texts.write_text("".join(f'{{"prompt": "{chr(97 + i % 26) * (200 + i)}"}}\n' for i in range(40)))
    options = {
        "model": str(ascii_model("olmoe")),
        "backend": "llamacpp",
        "precision": "fp32",
        "engine_arg": ["routing=true"],
        "task": ["none"],
        "dataset": str(texts),
        "num_requests": 12,
        "output": str(tmp_path / "run"),
    }
    outcome = run(with_settings(options, ()), Reporter(quiet=True))
    assert outcome.error is None
    assert outcome.result.routing_source == "measured"
    assert outcome.result.metrics["decode.s_mbu"].value > 0
    assert verify_run(tmp_path / "run").ok
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"routing.npz", "steps.parquet"} <= left
    assert not {name for name in left if "passes" in name}


@pytest.mark.parametrize(
    ("arguments", "sampling", "problem"),
    [
        ({"routing": "perhaps"}, {}, "routing=perhaps: true or false"),
        ({"routing": "true", "server": "/bin/true"}, {}, "in the wheel's server; leave server out"),
        ({"routing": "true"}, {"n": 2, "temperature": 1.0}, "several choices are not told apart; set n=1"),
    ],
)
def test_what_cannot_be_recorded_is_refused(ascii_model, llamacpp_job, cache, tmp_path, arguments, sampling, problem):
    job = llamacpp_job(ascii_model("mixtral"), tmp_path / "server.log", **arguments)
    with pytest.raises(BadInputError, match=problem):
        LlamacppBackend().open(replace(job, sampling=Sampling(**sampling)))


@pytest.mark.parametrize(
    ("compiler", "problem"),
    [("/no/such/cc", "CC=/no/such/cc is no program; install one"), ("false", "false fails: nothing; mend it")],
)
def test_without_a_compiler_the_remedy_is_named(
    ascii_model, llamacpp_job, cache, tmp_path, monkeypatch, compiler, problem
):
    monkeypatch.setenv("CC", compiler)
    job = llamacpp_job(ascii_model("mixtral"), tmp_path / "server.log", routing="true")
    with pytest.raises(NotAvailableError, match=problem):
        LlamacppBackend().open(job)


def _pass(number, tokens, positions, experts):
    return Pass(number * 100, 50, *(np.array(x, np.int32) for x in (tokens, positions)), experts)


def _request(number, prompt, answer, sent=0):
    record = RequestRecord(number, "load", f"p{number}", sent, sent, len(prompt), len(answer))
    record.complete(answer, 10**9)
    record.output_tokens = len(answer)
    return record, prompt


def test_rows_go_to_the_request_whose_tokens_they_are(ascii_model):
    """By hand: two prompts that begin alike, and decode beside prefill."""
    spec = read_model(read_config_file(ascii_model("dense") / "config.json"), "tiny", weights="gguf-fp32", kv="fp16")
    first, second = _request(0, (1, 2, 3), (9, 8)), _request(1, (1, 2, 4, 5), (7, 6, 5))
    passes = [
        _pass(1, [1, 2, 4, 5], [0, 1, 2, 3], {}),
        _pass(2, [7, 1, 2, 3], [4, 0, 1, 2], {}),
        _pass(3, [9, 6], [3, 5], {}),
    ]
    steps = fed_steps(iter(passes), [first, second], spec)
    assert [step["seq_request"] for step in steps] == [[1], [1, 0], [0, 1]]
    assert [step["seq_start"] for step in steps] == [[0], [4, 0], [3, 5]]
    assert [step["seq_new"] for step in steps] == [[4], [1, 3], [1, 1]]
    assert [step["logits_tokens"] for step in steps] == [1, 2, 2]
    assert [step["phase"] for step in steps] == [
        [Phase.PREFILL],
        [Phase.DECODE, Phase.PREFILL],
        [Phase.DECODE, Phase.DECODE],
    ]
    with pytest.raises(RunError, match="fed token 3 at position 2, which no request of the load was to be fed then"):
        fed_steps(iter([_pass(1, [3], [2], {})]), [first, second], spec)
    late = _request(2, (1, 2), (3,), sent=10_000)
    with pytest.raises(RunError, match="fed token 1 at position 0"):
        fed_steps(iter([_pass(1, [1, 2], [0, 1], {})]), [late], spec)


def test_a_request_that_was_given_up_gets_what_is_nobody_elses(ascii_model):
    spec = read_model(read_config_file(ascii_model("dense") / "config.json"), "tiny", weights="gguf-fp32", kv="fp16")
    failed, whole = _request(0, (1, 2), ()), _request(1, (1, 2), (9, 8, 7))
    failed[0].status, failed[0].ended_ns, failed[0].output_tokens = "failed", 150, None
    passes = [
        _pass(1, [1, 2, 1, 2], [0, 1, 0, 1], {}),
        _pass(2, [9], [2], {}),
        _pass(3, [5, 8], [2, 3], {}),
    ]
    steps = fed_steps(iter(passes), [failed, whole], spec)
    assert [step["seq_request"] for step in steps] == [[0, 1], [1], [0, 1]]


def test_a_pass_with_other_routers_than_the_models_is_refused(ascii_model):
    spec = read_model(read_config_file(ascii_model("mixtral") / "config.json"), "tiny", weights="gguf-fp32", kv="fp16")
    two, one = np.zeros((2, 2), np.int32), np.zeros((1, 2), np.int32)
    good = {0: two, 1: two, 2: one}
    for experts, problem in (
        ({0: two, 1: two, 2: two}, "has 2 x 2 experts in layer 2, the model 1 x 2 of 8"),
        ({0: two, 2: one}, "has no experts in layer 1, the model 2 x 2 of 8"),
        (good | {3: two}, "has experts in layer 3, in which the model has none"),
        (good | {0: two + 8}, "has 2 x 2 experts in layer 0, the model 2 x 2 of 8"),
    ):
        with pytest.raises(RunError, match=problem):
            fed_steps(iter([_pass(1, [1, 2], [0, 1], experts)]), [_request(0, (1, 2), (3,))], spec)
    (step,) = fed_steps(iter([_pass(1, [1, 2], [0, 1], good)]), [_request(0, (1, 2), (3,))], spec)
    assert step["experts"][:, -1].tolist() == [[NOT_COMPUTED] * 2, [0, 0]]
