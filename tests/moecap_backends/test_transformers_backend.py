"""The transformers backend on tiny models: exact steps, exact routing, the same text as the library's own loop."""

import numpy as np
import pytest
from tiny_models import FAMILIES, VOCABULARY

from moecap.backend import Continuation, Prompt
from moecap.cli import main
from moecap.errors import BadInputError, RunError, UnknownNameError
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap.verification.recomputation import verify_run
from moecap_backends.transformers import TransformersBackend, TransformersEngine

pytestmark = pytest.mark.engine

MOE_FAMILIES = [f for f in FAMILIES if f != "dense"]


def _prompts(lengths, output=6, seed=1):
    rng = np.random.default_rng(seed)
    return [
        Prompt(f"p{i}", tuple(int(t) for t in rng.integers(0, VOCABULARY, n)), output) for i, n in enumerate(lengths)
    ]


def _generate(engine, prompts, concurrency, tmp_path):
    recorder = Recorder(stage="load")
    answers = engine.generate(prompts, concurrency, recorder, lambda _done: None)
    recorder.write(tmp_path)
    return answers, read_observations(tmp_path)


def _own_generate(model, prompt):
    import torch

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


@pytest.mark.parametrize("family", [*MOE_FAMILIES, "dense"])
def test_greedy_answers_equal_the_librarys_own_generate(family, tiny_model, job_for, tmp_path):
    prompts = _prompts([9, 9, 9])
    with TransformersEngine(job_for(tiny_model(family))) as engine:
        answers, _ = _generate(engine, prompts, 3, tmp_path)
        expected = [_own_generate(engine._model, p) for p in prompts]
    assert [a.tokens for a in answers] == expected


def test_prompts_of_different_lengths_answer_as_they_would_alone(tiny_model, job_for, tmp_path):
    prompts = _prompts([5, 12, 3])
    with TransformersEngine(job_for(tiny_model("mixtral"))) as engine:
        answers, seen = _generate(engine, prompts, 3, tmp_path)
        expected = [_own_generate(engine._model, p) for p in prompts]
    assert [a.tokens for a in answers] == expected
    assert seen.steps.seq_new.values[:3].tolist() == [5, 12, 3]
    assert len(seen.routing.experts) == 5 + 12 + 3 + 3 * 5


@pytest.mark.parametrize("family", MOE_FAMILIES)
def test_the_captured_experts_are_those_that_the_routers_chose(family, tiny_model, job_for, tmp_path):
    import torch

    prompts = _prompts([7, 7], output=4)
    with TransformersEngine(job_for(tiny_model(family))) as engine:
        answers, seen = _generate(engine, prompts, 2, tmp_path)
        # the same tokens in one teacher-forced pass, with hooks of this test's own on the routers' outputs
        chosen = []

        def keep(_module, _inputs, output):
            first = next(t for t in output if not t.is_floating_point())
            # JetMoE returns where each choice went when sorted by expert, and how many each expert has
            sizes = output[3] if first.ndim == 1 else []
            by_expert = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes, dtype=torch.int64))
            chosen.append(by_expert[first.argsort()].reshape(-1, 2) if first.ndim == 1 else first)

        handles = [m.register_forward_hook(keep) for m in engine.capture.routers]
        ids = torch.tensor([list(p.tokens) + list(a.tokens[:-1]) for p, a in zip(prompts, answers, strict=True)])
        with torch.inference_mode():
            engine._model(ids)
        for handle in handles:
            handle.remove()
        engine.capture.take(np.ones(ids.numel(), bool))
    expected = torch.stack([c.reshape(2, 10, -1) for c in chosen], 2).numpy()  # [sequence, position, layer, k]
    got = seen.routing.experts
    prefill = got[:14].reshape(2, 7, *got.shape[1:])
    decode = got[14:].reshape(3, 2, *got.shape[1:]).transpose(1, 0, 2, 3)
    assert np.array_equal(np.sort(np.concatenate([prefill, decode], 1), -1), np.sort(expected, -1))


def test_a_run_of_a_model_with_experts_that_compute_nothing_verifies(tiny_model, tmp_path):
    sizes = ["--num-requests", "2", "--input-len", "4", "--output-len", "3", "--concurrency", "2"]
    run = ["run", "--backend", "transformers", "--model", str(tiny_model("longcat_flash")), "--output"]
    assert main([*run, str(tmp_path / "run"), *sizes]) == 0
    seen = read_observations(tmp_path / "run")
    assert seen.routing.experts.max() >= 8  # of 8 with weights and 4 without
    assert seen.steps.distinct_experts.values.max() <= 8
    verified = verify_run(tmp_path / "run")
    assert (verified.corrupt, verified.differences, verified.problem) == ((), (), "")


def test_dense_layers_have_no_column_in_the_routing(tiny_model, job_for, tmp_path):
    with TransformersEngine(job_for(tiny_model("qwen3_moe"))) as engine:
        _, seen = _generate(engine, _prompts([4]), 1, tmp_path)
    assert seen.routing.experts.shape[1:] == (2, 2)  # three layers, the second is dense


def test_the_steps_of_a_batch_are_one_prefill_and_one_decode_for_each_further_token(tiny_model, job_for, tmp_path):
    with TransformersEngine(job_for(tiny_model("mixtral"))) as engine:
        _, seen = _generate(engine, _prompts([8, 8, 8, 8, 8], output=3), 2, tmp_path)
    steps = seen.steps
    assert steps.seq_phase.lengths().tolist() == [2, 2, 2, 2, 2, 2, 1, 1, 1]
    assert steps.seq_start.values.tolist() == [0, 0, 8, 8, 9, 9] * 2 + [0, 8, 9]
    assert steps.seq_new.values.tolist() == [8, 8, 1, 1, 1, 1] * 2 + [8, 1, 1]
    assert steps.seq_phase.values.tolist() == [0, 0, 1, 1, 1, 1] * 2 + [0, 1, 1]
    assert steps.logits_tokens.tolist() == [2, 2, 2, 2, 2, 2, 1, 1, 1]
    requests = seen.requests
    assert (requests["output_tokens"] == 3).all()
    assert (requests["status"] == "completed").all()
    assert requests["sent_ns"].tolist()[2] == requests["ended_ns"].tolist()[0]  # the next batch follows at once


def test_answers_of_different_lengths_leave_the_batch_when_they_are_done(tiny_model, job_for, tmp_path):
    first, second = _prompts([6, 6])
    prompts = [Prompt("a", first.tokens, 2), Prompt("b", second.tokens, 5)]
    with TransformersEngine(job_for(tiny_model("mixtral"))) as engine:
        answers, seen = _generate(engine, prompts, 2, tmp_path)
        expected = [_own_generate(engine._model, p) for p in prompts]
    assert [a.tokens for a in answers] == expected
    assert seen.steps.seq_new.lengths().tolist() == [2, 2, 1, 1, 1]
    assert len(seen.routing.experts) == 12 + 2 + 3


def _plain_log_likelihood(model, continuation):
    import torch

    ids = torch.tensor([continuation.context + continuation.target])
    with torch.inference_mode():
        logp = model(ids).logits[0].float().log_softmax(-1)
    first = len(continuation.context) - 1
    return sum(logp[first + i, t].item() for i, t in enumerate(continuation.target))


@pytest.mark.parametrize("family", ["mixtral", "deepseek_v3", "gpt_oss", "dense"])
def test_scores_equal_a_plain_loop_whatever_the_batch(family, tiny_model, job_for):
    rng = np.random.default_rng(3)

    def tokens(n):
        return tuple(int(t) for t in rng.integers(0, VOCABULARY, n))

    items = [Continuation(f"c{i}", tokens(3 + i % 5), tokens(1 + i % 4)) for i in range(11)]
    with TransformersEngine(job_for(tiny_model(family), score_batch_size="4")) as engine:
        scored = engine.score(items, Recorder(stage="score"), lambda _done: None)
        expected = [_plain_log_likelihood(engine._model, c) for c in items]
    assert [s.log_likelihood for s in scored] == pytest.approx(expected, abs=2e-4)


def test_answers_that_differ_in_their_last_token_alone_are_one_sequence(tiny_model, job_for, tmp_path):
    prompt = _prompts([12])[0].tokens
    letters = [Continuation(f"c{t}", prompt, (t,)) for t in (3, 5, 7, 9)]
    longer = [Continuation("a", prompt, (3, 5)), Continuation("b", prompt[:-1], (prompt[-1], 3))]
    recorder = Recorder(stage="score", capture="hook")
    with TransformersEngine(job_for(tiny_model("mixtral"), score_batch_size="8")) as engine:
        together = engine.score([*letters, *longer], recorder, lambda _done: None)
        apart = [engine.score([c], Recorder(stage="score"), lambda _done: None)[0] for c in (*letters, *longer)]
    assert [s.log_likelihood for s in together] == pytest.approx([s.log_likelihood for s in apart], abs=2e-4)
    assert [s.is_greedy for s in together] == [s.is_greedy for s in apart]
    recorder.write(tmp_path)
    steps = read_observations(tmp_path).steps
    assert sorted(steps.seq_new.values) == [12, 13]  # the prompt once, and once with a token more


def test_a_greedy_continuation_is_recognised(tiny_model, job_for, tmp_path):
    with TransformersEngine(job_for(tiny_model("mixtral"))) as engine:
        prompt = _prompts([6], output=3)[0]
        answers, _ = _generate(engine, [prompt], 1, tmp_path)
        greedy = answers[0].tokens
        other = (*greedy[:2], (greedy[2] + 1) % VOCABULARY)
        scored = engine.score(
            [Continuation("g", prompt.tokens, greedy), Continuation("o", prompt.tokens, other)],
            Recorder(stage="score"),
            lambda _done: None,
        )
    assert [s.is_greedy for s in scored] == [True, False]


def test_two_runs_with_one_seed_give_the_same_tokens_and_the_same_routing(tiny_model, job_for, tmp_path):
    outcomes = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        with TransformersEngine(job_for(tiny_model("qwen2_moe"))) as engine:
            outcomes.append(_generate(engine, _prompts([9, 9, 9, 9]), 2, folder))
    assert outcomes[0][0] == outcomes[1][0]
    assert np.array_equal(outcomes[0][1].routing.experts, outcomes[1][1].routing.experts)


def test_capture_changes_no_token(tiny_model, job_for, tmp_path):
    with TransformersEngine(job_for(tiny_model("mixtral"))) as engine:
        with_capture, _ = _generate(engine, _prompts([9, 9]), 2, tmp_path)
        engine.capture.detach()
        without, _ = _generate(engine, _prompts([9, 9]), 2, tmp_path)
    assert with_capture == without


def test_an_empty_context_or_an_overlong_one_is_named(tiny_model, job_for):
    with TransformersEngine(job_for(tiny_model("mixtral"))) as engine:
        for item, problem in (
            (Continuation("x", (), (1,)), "empty context"),
            (Continuation("y", (1,) * 600, (1,)), "512"),
        ):
            with pytest.raises(RunError, match=problem):
                engine.score([item], Recorder(stage="score"), lambda _done: None)


@pytest.mark.parametrize(
    ("arguments", "error", "problem"),
    [
        ({"score_batch_size": "0"}, BadInputError, "not a positive whole number"),
        ({"scorebatch_size": "4"}, UnknownNameError, "did you mean 'score_batch_size'"),
    ],
)
def test_bad_engine_arguments_are_refused(arguments, error, problem, tiny_model, job_for):
    with pytest.raises(error, match=problem):
        TransformersBackend().open(job_for(tiny_model("mixtral"), **arguments))


def test_precision_follows_the_processor(tiny_model, job_for):
    spec = job_for(tiny_model("mixtral")).spec
    assert TransformersBackend.dtype(spec, "cpu", "auto", frozenset({"avx2"})) == "fp32"
    assert TransformersBackend.dtype(spec, "cpu", "auto", frozenset({"avx512_bf16"})) == "bf16"
    assert TransformersBackend.dtype(spec, "cpu", "fp16", frozenset()) == "fp16"
    with pytest.raises(BadInputError, match="fp8"):
        TransformersBackend.dtype(spec, "cpu", "fp8", frozenset())
