"""vLLM's real server on this machine's CPU: exact steps, exact routing, and answers as transformers gives them."""

import time

import numpy as np
import pytest
from tiny_models import VOCABULARY, make_model

from moecap.backend import Continuation, Prompt
from moecap.errors import BadInputError, NotBuiltError, RunError
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap_backends.router_capture import ROUTER

pytestmark = [pytest.mark.engine, pytest.mark.vllm]

HEADS_OF_32 = {"head_dim": 32, "num_attention_heads": 2, "hidden_size": 64}
FAMILIES = {
    "mixtral": HEADS_OF_32,
    "qwen3_moe": HEADS_OF_32,
    "olmoe": HEADS_OF_32 | {"num_key_value_heads": 2},
}
"""Sizes that vLLM's CPU attention knows: heads of 32 and more."""


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
def engine(checkpoint, vllm_job, tmp_path_factory):
    from moecap_backends.vllm import VllmEngine

    log = tmp_path_factory.mktemp("log") / "server.log"
    with VllmEngine(vllm_job(checkpoint, log)) as running:
        yield running


@pytest.fixture(scope="module")
def reference(checkpoint):
    """The same weights in transformers, with hooks on its routers."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()

    def answer(prompt):
        ids = torch.tensor([prompt.tokens])
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=prompt.output_tokens,
            min_new_tokens=prompt.output_tokens,
            do_sample=False,
            pad_token_id=0,
        )
        return tuple(out[0, ids.shape[1] :].tolist())

    def routing(tokens):
        chosen = []
        routers = [m for _, m in model.named_modules() if ROUTER.search(type(m).__name__)]
        handles = [
            m.register_forward_hook(
                lambda _m, _i, out: chosen.append(next(t for t in out if not t.is_floating_point()))
            )
            for m in routers
        ]
        with torch.inference_mode():
            model(torch.tensor([tokens]))
        for handle in handles:
            handle.remove()
        return np.stack([c.reshape(len(tokens), -1).numpy() for c in chosen], 1)  # [tokens, layers, k]

    def log_likelihood(context, target):
        with torch.inference_mode():
            logp = model(torch.tensor([[*context, *target]])).logits[0].log_softmax(-1)
        return sum(logp[len(context) - 1 + i, t].item() for i, t in enumerate(target))

    return answer, routing, log_likelihood


@pytest.fixture
def observed(engine, tmp_path):
    """A function that sends prompts and gives the answers with what was observed."""

    def generate(prompts, concurrency):
        recorder = Recorder(stage="load")
        answers = engine.generate(prompts, concurrency, recorder, lambda _done: None)
        recorder.write(tmp_path)
        return answers, read_observations(tmp_path)

    return generate


def test_answers_are_those_of_transformers(observed, reference):
    prompts = _prompts([9, 17, 5, 12])
    answers, seen = observed(prompts, 4)
    assert [a.tokens for a in answers] == [reference[0](p) for p in prompts]
    assert seen.requests["status"].tolist() == ["completed"] * 4
    assert seen.requests["input_tokens"].tolist() == [9, 17, 5, 12]
    assert seen.requests["output_tokens"].tolist() == [6] * 4


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
    expected = reference[1]([*prompt.tokens, *answers[0].tokens[:-1]])
    got = seen.routing.experts[: len(expected)]
    same = np.sort(got, -1) == np.sort(expected, -1)
    assert same.all()
    steps = seen.steps
    layers = expected.shape[1]
    distinct = [len(set(expected[:11, layer].ravel().tolist())) for layer in range(layers)]
    assert steps.distinct_experts.values[:layers].tolist() == distinct


def test_scores_are_those_of_transformers(engine, reference):
    context, target, other = (3, 7, 11, 19), (23, 29), (200, 101, 7)
    recorder = Recorder(stage="score")
    scored = engine.score(
        [Continuation("a", context, target), Continuation("b", context, other)], recorder, lambda _done: None
    )
    expected = [reference[2](context, t) for t in (target, other)]
    assert [s.log_likelihood for s in scored] == pytest.approx(expected, abs=1e-3)
    assert recorder.steps >= 1


def test_a_model_that_cannot_be_served_ends_in_the_engines_own_words(vllm_job, tmp_path, tiny_model):
    from moecap_backends.vllm import VllmEngine

    begin = time.monotonic()
    with pytest.raises(RunError, match="unrecognized arguments: --frobnicate"):
        VllmEngine(vllm_job(tiny_model("mixtral"), tmp_path / "server.log", frobnicate="3"))
    assert time.monotonic() - begin < 120
    assert (tmp_path / "server.log").exists()


@pytest.mark.parametrize(
    ("arguments", "error", "problem"),
    [
        (
            {"tensor-parallel-size": "2"},
            NotBuiltError,
            "tensor-parallel-size: a run does not count what it changes yet",
        ),
        ({"tensor_parallel": "2"}, NotBuiltError, "tensor_parallel: a run does not count"),
        ({"speculative-config.method": "ngram"}, NotBuiltError, "a run does not count what it changes yet"),
        ({"port": "80"}, BadInputError, "port: moecap sets it itself"),
        ({"dtype": "float32"}, BadInputError, "dtype: moecap sets it itself"),
        ({"hf-token": "hf_x"}, BadInputError, "hf-token: a result would hold it"),
    ],
)
def test_arguments_that_a_run_cannot_account_for_are_refused(vllm_job, tmp_path, tiny_model, arguments, error, problem):
    from moecap_backends.vllm import VllmBackend

    with pytest.raises(error, match=problem):
        VllmBackend().open(vllm_job(tiny_model("mixtral"), tmp_path / "server.log", **arguments))


def test_a_quantised_checkpoint_is_refused(tmp_path, tiny_model, vllm_job):
    import json
    import shutil

    from moecap_backends.vllm import VllmBackend

    folder = tmp_path / "quantised"
    shutil.copytree(tiny_model("mixtral"), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "fp8"}}))
    with pytest.raises(NotBuiltError, match="quantised"):
        VllmBackend.check(folder, vllm_job(tiny_model("mixtral"), tmp_path / "log").spec)
