"""vLLM's real server on this machine's CPU: exact steps, exact routing, and answers as transformers gives them."""

import time

import numpy as np
import pytest
from tiny_models import VOCABULARY, make_model

from moecap.backend import Continuation, Prompt
from moecap.errors import RunError
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder

pytestmark = [pytest.mark.engine, pytest.mark.vllm]

VLLM_SIZES = {"head_dim": 32, "num_attention_heads": 2, "hidden_size": 64}
"""vLLM's CPU attention knows heads of 32 and more."""


def _prompts(lengths, output=6, seed=1):
    rng = np.random.default_rng(seed)
    return [
        Prompt(f"p{i}", tuple(int(t) for t in rng.integers(0, VOCABULARY, n)), output) for i, n in enumerate(lengths)
    ]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_model("mixtral", tmp_path_factory.mktemp("vllm") / "tiny-mixtral", sizes=VLLM_SIZES)


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
        routers = [m for _, m in model.named_modules() if type(m).__name__ == "MixtralTopKRouter"]
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
    distinct = [len(set(expected[:11, layer].ravel().tolist())) for layer in range(3)]
    assert steps.distinct_experts.values[:3].tolist() == distinct


def test_scores_are_those_of_transformers(engine, reference):
    context, target, other = (3, 7, 11, 19), (23, 29), (200, 101, 7)
    recorder = Recorder(stage="score")
    scored = engine.score(
        [Continuation("a", context, target), Continuation("b", context, other)], recorder, lambda _done: None
    )
    expected = [reference[2](context, t) for t in (target, other)]
    assert [s.log_likelihood for s in scored] == pytest.approx(expected, abs=1e-3)
    assert recorder.steps >= 1


def test_a_model_that_cannot_be_served_ends_in_the_engines_own_words(vllm_job, tmp_path, checkpoint):
    from moecap_backends.vllm import VllmEngine

    begin = time.monotonic()
    with pytest.raises(RunError, match="unrecognized arguments: --frobnicate"):
        VllmEngine(vllm_job(checkpoint, tmp_path / "server.log", frobnicate="3"))
    assert time.monotonic() - begin < 120
    assert (tmp_path / "server.log").exists()
