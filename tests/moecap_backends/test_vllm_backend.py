"""vLLM's real server on this machine's CPU: exact steps, exact routing, and answers as transformers gives them."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from endings import check_endings
from reference import Reference
from tiny_models import VOCABULARY, make_model

from moecap.backend import Continuation, Prompt, Sampling
from moecap.errors import BadInputError, NotBuiltError, RunError
from moecap.metrics.server import server_metrics
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap.runner.server_flags import server_flags
from moecap_backends.served import fetch

pytestmark = [pytest.mark.engine, pytest.mark.vllm]

HEADS_OF_32 = {"head_dim": 32, "num_attention_heads": 2, "hidden_size": 64}
FAMILIES = {
    "mixtral": HEADS_OF_32,
    "qwen3_moe": HEADS_OF_32,
    "olmoe": HEADS_OF_32 | {"num_key_value_heads": 2},
    "gpt_oss": HEADS_OF_32 | {"intermediate_size": 64},
    "deepseek_v3": {
        "hidden_size": 64,
        "head_dim": 64,
        "kv_lora_rank": 512,
        "qk_rope_head_dim": 64,
        "qk_nope_head_dim": 128,
        "v_head_dim": 128,
        "topk_method": "noaux_tc",
        "scoring_func": "sigmoid",
    },
}
"""Sizes that vLLM's CPU kernels know: heads of 32 and more, latent attention of DeepSeek's own sizes."""


def _prompts(lengths, output=6, seed=1):
    rng = np.random.default_rng(seed)
    return [
        Prompt(f"p{i}", tuple(int(t) for t in rng.integers(0, VOCABULARY, n)), output) for i, n in enumerate(lengths)
    ]


@pytest.fixture(scope="module", params=FAMILIES)
def checkpoint(request, tmp_path_factory):
    family = request.param
    return make_model(family, tmp_path_factory.mktemp("vllm") / f"tiny-{family}", sizes=FAMILIES[family])


@pytest.fixture(scope="module")
def engine(checkpoint, vllm_job, tmp_path_factory, no_litter):
    from moecap_backends.vllm import VllmEngine

    log = tmp_path_factory.mktemp("log") / "server.log"
    with VllmEngine(vllm_job(checkpoint, log)) as running:
        yield running


@pytest.fixture(scope="module")
def reference(checkpoint):
    """The same weights in transformers."""
    return Reference(checkpoint)


@pytest.fixture
def observed(engine, tmp_path):
    """A function that sends prompts and gives the answers with what was observed."""

    def generate(prompts, concurrency):
        recorder = Recorder(stage="load")
        answers = engine.generate(prompts, concurrency, recorder, lambda _done: None)
        recorder.write(tmp_path)
        return answers, read_observations(tmp_path)

    return generate


def test_every_request_says_why_its_answer_ended(engine):
    check_endings(engine, _prompts([9, 17, 5], output=12, seed=3))


def test_answers_are_those_of_transformers(observed, reference):
    prompts = _prompts([9, 17, 5, 12])
    answers, seen = observed(prompts, 4)
    assert [a.tokens for a in answers] == [reference.answer(p) for p in prompts]
    assert seen.requests["status"].tolist() == ["completed"] * 4
    assert seen.requests["input_tokens"].tolist() == [9, 17, 5, 12]
    assert seen.requests["output_tokens"].tolist() == [6] * 4


def test_a_next_turn_follows_the_answer_that_really_came(observed, reference):
    first, new = _prompts([9, 5])
    turns = [replace(first, session=0, turn=0), replace(new, session=0, turn=1, wait=0.05)]
    answers, seen = observed(turns, 1)
    assert answers[0].tokens == reference.answer(first)
    whole = (*first.tokens, *answers[0].tokens, *new.tokens)
    assert answers[1].tokens == reference.answer(replace(new, tokens=whole))
    assert seen.requests["input_tokens"].tolist() == [9, 20]
    assert seen.requests["wait_ns"].fillna(0).tolist() == [0, 50_000_000]


def _check_choices(seen, prompts, choices, output):
    """Every choice is a sequence of its own: its prompt is fed but for what a cache served, and its answer."""
    count, asked = len(prompts), sum(len(p.tokens) for p in prompts)
    assert seen.requests["status"].tolist() == ["completed"] * count
    assert seen.requests["choices"].tolist() == [choices] * count
    assert seen.requests["input_tokens"].tolist() == [len(p.tokens) for p in prompts]
    assert seen.requests["output_tokens"].tolist() == [choices * output] * count
    bearing = seen.chunks[seen.chunks["kind"] == "content"]
    assert bearing.groupby(["request", "choice"]).size().index.tolist() == [
        (i, c) for i in range(count) for c in range(choices)
    ]
    assert bearing.groupby("request")["tokens"].max().tolist() == [choices * output] * count
    assert seen.steps.tokens().sum() == choices * asked - seen.requests["cached_tokens"].sum() + count * choices * (
        output - 1
    )
    assert seen.steps.logits_tokens.sum() == count * choices * output
    assert seen.steps.seq_new.lengths().max() <= choices * count
    assert len(seen.routing.experts) == seen.steps.tokens().sum()


def test_each_of_several_choices_is_fed_and_counted(observed):
    sampling = Sampling(n=3, temperature=1.0, seed=5)
    prompts = [replace(p, sampling=sampling) for p in _prompts([9, 17, 5])]
    _, seen = observed(prompts, 2)
    assert seen.requests["cached_tokens"].tolist() == [0, 0, 0]
    _check_choices(seen, prompts, 3, 6)


def test_answers_are_drawn_and_end_as_is_asked(observed):
    greedy = _prompts([9], output=24)[0]
    drawn = [replace(greedy, sampling=Sampling(temperature=2.0, seed=seed)) for seed in (1, 1, 2)]
    answers, _ = observed(drawn, 3)
    assert answers[0].tokens == answers[1].tokens != answers[2].tokens
    assert {len(answer.tokens) for answer in answers} == {24}


def test_every_step_is_recorded_with_its_sequences(observed):
    _, seen = observed(_prompts([9, 17, 5, 12]), 4)
    steps = seen.steps
    phases, new = steps.seq_phase.values, steps.seq_new.values
    assert new[phases == 0].sum() == 9 + 17 + 5 + 12
    assert new[phases == 1].sum() >= 4 * 5
    assert (steps.duration_ns > 0).all()
    assert (np.diff(steps.start_ns) > 0).all()
    ends = steps.start_ns + steps.duration_ns
    assert (ends[:-1] <= steps.start_ns[1:]).all()
    first, last = seen.requests["sent_ns"].min(), seen.requests["ended_ns"].max()
    assert first <= steps.start_ns[0] <= ends[-1] <= last


def test_the_experts_of_each_step_are_those_that_the_routers_chose(observed, reference):
    prompt = _prompts([11], output=5)[0]
    answers, seen = observed([prompt], 1)
    expected = reference.routing([*prompt.tokens, *answers[0].tokens[:-1]])
    got = seen.routing.experts[: len(expected)]
    same = np.sort(got, -1) == np.sort(expected, -1)
    assert same.all()
    steps = seen.steps
    layers = expected.shape[1]
    distinct = [len(set(expected[:11, layer].ravel().tolist())) for layer in range(layers)]
    assert steps.distinct_experts.values[:layers].tolist() == distinct


def test_the_experts_of_a_step_stand_in_the_order_of_its_sequences(observed, reference):
    prompts = _prompts([9, 17, 5, 12, 21, 7], output=8, seed=4)
    answers, seen = observed(prompts, 3)
    steps, places = seen.steps, seen.steps.seq_new
    owner = np.repeat(steps.seq_request.values, places.values)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(places.values) - places.values, places.values)
    position = np.repeat(steps.seq_start.values, places.values) + within
    for prompt, answer, request in zip(prompts, answers, seen.requests["request"], strict=True):
        expected = reference.routing([*prompt.tokens, *answer.tokens[:-1]])
        rows = np.flatnonzero((owner == request) & (position < len(expected)))
        got = seen.routing.experts[rows[np.argsort(position[rows])]]
        assert (np.sort(got, -1) == np.sort(expected, -1)).all()


def test_the_servers_own_counters_are_those_of_its_answers(observed):
    _, seen = observed(_prompts([9, 17, 5, 12], output=40), 2)
    found = server_metrics(seen)
    assert found["server.prompt_tokens"].value == 9 + 17 + 5 + 12
    assert found["server.generated_tokens"].value == 4 * 40
    assert found["server.prefix_cache_hit_share"].value == found["server.preemptions"].value == 0
    counted = found["server.tokens_per_iteration"]
    assert counted.value * counted.n == pytest.approx(43 + 160)
    assert counted.n == len(seen.steps)
    assert found["server.ttft_mean"].n == found["server.queue_time_mean"].n == 4
    assert 0 < found["server.queue_time_mean"].value < found["server.ttft_mean"].value
    assert 0 < found["server.ttft_outside"].value < 0.5
    assert list(server_flags(found, seen.requests, prefix_cache=False)) == []


def test_requests_of_others_on_an_attached_server_are_seen(engine, vllm_job, checkpoint, tmp_path):
    from moecap_backends.openai import OpenaiEngine

    job = replace(vllm_job(checkpoint, tmp_path / "log"), endpoint=f"http://{engine.target.name}", arguments={})
    attached = OpenaiEngine(job)
    assert attached.info.details["server"] == "vllm"
    prompt = _prompts([8], output=60, seed=9)[0]

    def other():
        body = {"model": "moecap", "prompt": list(prompt.tokens), "max_tokens": 7, "ignore_eos": True}
        assert fetch(engine.target, "/v1/completions", body).status == 200

    with ThreadPoolExecutor(1) as pool:
        recorder = Recorder(stage="load")
        started = pool.submit(lambda: (time.sleep(0.1), other()))
        attached.generate([prompt], 1, recorder, lambda _done: None)
        started.result()
    recorder.write(tmp_path)
    seen = read_observations(tmp_path)
    found = server_metrics(seen)
    assert found["server.generated_tokens"].value == 60 + 7
    flags = {flag.name: flag.text for flag in server_flags(found, seen.requests, prefix_cache=False)}
    assert "generated 67 tokens during the load, whose requests have 60" in flags["server_output_tokens"]
    assert "16 tokens during the load, whose requests have 8" in flags["server_input_tokens"]


def test_scores_are_those_of_transformers(engine, reference):
    context, target, other = (3, 7, 11, 19), (23, 29), (200, 101, 7)
    recorder = Recorder(stage="score")
    scored = engine.score(
        [Continuation("a", context, target), Continuation("b", context, other)], recorder, lambda _done: None
    )
    expected = [reference.log_likelihood(context, t)[0] for t in (target, other)]
    assert [s.log_likelihood for s in scored] == pytest.approx(expected, abs=1e-3)
    assert scored[1].tokens == pytest.approx(reference.token_log_probabilities(context, other), abs=1e-3)
    assert recorder.steps >= 1


def test_a_model_that_cannot_be_served_ends_in_the_engines_own_words(vllm_job, tmp_path, tiny_model):
    from moecap_backends.vllm import VllmEngine

    with pytest.raises(RunError, match=r"ended with status .*unrecognized arguments: --frobnicate"):
        VllmEngine(vllm_job(tiny_model("mixtral"), tmp_path / "server.log", frobnicate="3"))
    assert (tmp_path / "server.log").exists()


@pytest.mark.parametrize(
    ("arguments", "error", "problem"),
    [
        ({"pipeline-parallel-size": "2"}, NotBuiltError, "a run does not count what it changes yet"),
        ({"tensor-parallel-size": "2"}, BadInputError, "tensor-parallel-size: moecap sets it itself"),
        ({"tensor_parallel": "2"}, BadInputError, "tensor_parallel: moecap sets it itself"),
        ({"kv-cache-dty": "fp8"}, NotBuiltError, "kv-cache-dty: a run does not count"),
        ({"speculative-config.method": "ngram"}, NotBuiltError, "a run does not count what it changes yet"),
        ({"spec-method": "ngram"}, NotBuiltError, "a run does not count what it changes yet"),
        ({"quantization_config": "{}"}, NotBuiltError, "a run does not count what it changes yet"),
        ({"kv-offloading-size": "4"}, NotBuiltError, "a run does not count what it changes yet"),
        ({"offload-group-size": "2"}, NotBuiltError, "a run does not count what it changes yet"),
        ({"data-parallel-size-local": "2"}, NotBuiltError, "a run does not count what it changes yet"),
        ({"enable-dbo": "true"}, NotBuiltError, "a run does not count what it changes yet"),
        ({"port": "80"}, BadInputError, "port: moecap sets it itself"),
        ({"dtype": "float32"}, BadInputError, "dtype: moecap sets it itself"),
        ({"hf-token": "hf_x"}, BadInputError, "hf-token: a result would hold it"),
    ],
)
def test_arguments_that_a_run_cannot_account_for_are_refused(vllm_job, tmp_path, tiny_model, arguments, error, problem):
    from moecap_backends.vllm import VllmBackend

    with pytest.raises(error, match=problem):
        VllmBackend().open(vllm_job(tiny_model("mixtral"), tmp_path / "server.log", **arguments))


def test_the_sampling_that_a_model_comes_with_is_left_out(vllm_job, tmp_path, tiny_model):
    """A published generation_config.json has a top_k or a penalty, which vLLM would put into each request."""
    from moecap_backends.vllm_arguments import server_words

    words = server_words(vllm_job(tiny_model("mixtral"), tmp_path / "server.log"), 1)
    assert words[words.index("--generation-config") + 1] == "vllm"


def test_quantised_experts_are_refused_since_they_were_never_run(tmp_path, tiny_model):
    import json
    import shutil

    from moecap.models.formats import checkpoint_formats
    from moecap.models.reading import read_model_as
    from moecap_backends.vllm import VllmBackend

    folder = tmp_path / "quantised"
    shutil.copytree(tiny_model("mixtral"), folder)
    config = json.loads((folder / "config.json").read_text()) | {"quantization_config": {"quant_method": "fp8"}}
    spec = read_model_as(config, "quantised", checkpoint_formats("bf16", "bf16"))
    with pytest.raises(NotBuiltError, match=r"attention in fp8, which vLLM was never tried with on a host.*--endpoint"):
        VllmBackend.check(folder, spec, "cpu")
    attention = {"quantization_config": {"quant_method": "mxfp4"}}
    spec = read_model_as(config | attention, "experts", checkpoint_formats("bf16", "bf16"))
    with pytest.raises(NotBuiltError, match="experts in fp4"):
        VllmBackend.check(folder, spec, "cpu")
    VllmBackend.check(folder, spec, "cuda")  # a GPU has kernels for it; the result carries a flag


def test_what_a_cache_served_of_several_choices_is_counted_for_all(tmp_path, vllm_job):
    """vLLM's usage tells that of the choice which came first."""
    from moecap_backends.vllm import VllmBackend

    folder = make_model("mixtral", tmp_path / "tiny", sizes=HEADS_OF_32)
    sampling = Sampling(n=2, temperature=1.0, seed=5)
    job = vllm_job(folder, tmp_path / "server.log", **{"block-size": "32"})
    prompts = [replace(p, sampling=sampling) for p in _prompts([50]) * 2]
    recorder = Recorder(stage="load")
    with VllmBackend().open(replace(job, prefix_cache=True, sampling=sampling)) as running:
        running.generate(prompts, 1, recorder, lambda _done: None)
    recorder.write(tmp_path)
    seen = read_observations(tmp_path)
    assert seen.requests["cached_tokens"].tolist()[1] == 2 * 32
    _check_choices(seen, prompts, 2, 6)


def test_several_greedy_choices_which_vllm_does_not_give_are_refused(tmp_path, vllm_job):
    from moecap_backends.vllm import VllmBackend

    folder = make_model("mixtral", tmp_path / "tiny", sizes=HEADS_OF_32)
    job = replace(vllm_job(folder, tmp_path / "server.log"), sampling=Sampling(n=2))
    with pytest.raises(BadInputError, match="n 2: vLLM gives one greedy answer to a prompt; set a temperature above 0"):
        VllmBackend().open(job)
