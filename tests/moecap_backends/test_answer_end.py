"""Answers of transformers in process that end by themselves, at a text or at their length, in both ways of batching."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_models import VOCABULARY

from moecap.backend import Prompt, Sampling
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap.tokenizer import Tokenizer
from moecap_backends.answer_end import AnswerEnd
from moecap_backends.transformers import TransformersBackend

pytestmark = pytest.mark.engine

BATCHINGS = ("static", "continuous")
LENGTHS = (9, 17, 5, 12, 7, 11)
MOST = 24


def _prompts(sampling, lengths=LENGTHS):
    rng = np.random.default_rng(7)
    return [
        Prompt(f"p{i}", tuple(int(t) for t in rng.integers(0, VOCABULARY, n)), MOST, sampling)
        for i, n in enumerate(lengths)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model whose configuration names no end token: the tests name one."""
    from tiny_models import make_model

    return make_model("mixtral", tmp_path_factory.mktemp("ends") / "tiny-mixtral")


@pytest.fixture
def answer(folder, job_for, tmp_path):
    """A function that answers prompts in one way of batching: what was recorded, and the answers."""

    def run(batching, prompts, end_tokens=(), concurrency=2):
        job = replace(job_for(folder, batching=batching), longest=64, concurrency=concurrency)
        recorder = Recorder(stage="load")
        with TransformersBackend.variant(job.arguments)().open(job) as engine:
            engine._ends = AnswerEnd(folder, end_tokens)
            answers = engine.generate(prompts, concurrency, recorder, lambda _done: None)
        place = tmp_path / batching
        place.mkdir(exist_ok=True)
        recorder.write(place)
        return answers, read_observations(place)

    return run


def _library_answers(folder, prompts, end_tokens):
    """The same answers by transformers' own ``generate`` with these end tokens."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    found = []
    for prompt in prompts:
        ids = torch.tensor([prompt.tokens])
        how = {"max_new_tokens": MOST, "do_sample": False, "pad_token_id": 0, "eos_token_id": list(end_tokens)}
        out = model.generate(ids, attention_mask=torch.ones_like(ids), **how)
        found.append(tuple(out[0, ids.shape[1] :].tolist()))
    return found


@pytest.fixture(scope="module")
def end_tokens(folder):
    """Two tokens with which some answers end early."""
    whole = _library_answers(folder, _prompts(Sampling()), ())
    return (whole[0][5], whole[1][9])


@pytest.mark.parametrize("batching", BATCHINGS)
def test_answers_end_where_the_librarys_own_generate_ends_them(answer, folder, end_tokens, batching):
    prompts = _prompts(Sampling(exact=False))
    expected = _library_answers(folder, prompts, end_tokens)
    answers, seen = answer(batching, prompts, end_tokens)
    assert [a.tokens for a in answers] == expected
    assert min(map(len, expected)) < MOST, "no answer ends early, so nothing is tested"
    reasons = ["stop" if tokens[-1] in end_tokens else "length" for tokens in expected]
    assert [a.finish_reason for a in answers] == reasons
    by_prompt = seen.requests.set_index("prompt_id")
    assert [by_prompt.loc[p.id, "finish_reason"] for p in prompts] == reasons
    assert [by_prompt.loc[p.id, "output_tokens"] for p in prompts] == [len(tokens) for tokens in expected]


@pytest.mark.parametrize("batching", BATCHINGS)
def test_each_step_feeds_those_that_go_on_and_their_experts_alone(answer, end_tokens, batching):
    """Tokens fed: the prompt, and all of the answer but its last token; and a row of experts for each."""
    prompts = _prompts(Sampling(exact=False))
    answers, seen = answer(batching, prompts, end_tokens)
    steps, fed = seen.steps, {}
    for request, new in zip(steps.seq_request.values, steps.seq_new.values, strict=True):
        fed[int(request)] = fed.get(int(request), 0) + int(new)
    for prompt, found in zip(prompts, answers, strict=True):
        assert fed[found.request] == len(prompt.tokens) + len(found.tokens) - 1
    assert np.array_equal(np.bincount(seen.routing.token_step, minlength=len(steps)), steps.tokens())


def test_exact_answers_go_on_beyond_an_end_token(answer, end_tokens):
    answers, _ = answer("static", _prompts(Sampling()), end_tokens)
    assert {len(a.tokens) for a in answers} == {MOST}
    assert {a.finish_reason for a in answers} == {"length"}


@pytest.mark.parametrize("batching", BATCHINGS)
def test_an_answer_ends_with_the_token_that_completes_a_stop_text_of_several(answer, folder, batching):
    tokenizer = Tokenizer(folder)
    prompts = _prompts(Sampling(exact=False))
    whole = [a.tokens for a in answer("static", prompts)[0]]
    stop = tokenizer.decode(whole[0])[6:9]
    expected = [next((n for n in range(1, MOST) if stop in tokenizer.decode(t[:n])), MOST) for t in whole]
    assert len(tokenizer.encode(stop)) > 1 and min(expected) < MOST
    asked = [replace(p, sampling=replace(p.sampling, stop=(stop, "never said"))) for p in prompts]
    answers, seen = answer(batching, asked)
    assert [len(a.tokens) for a in answers] == expected
    assert [a.tokens for a in answers] == [tokens[:n] for tokens, n in zip(whole, expected, strict=True)]
    assert [a.finish_reason for a in answers] == ["stop" if n < MOST else "length" for n in expected]
    assert (seen.requests["status"] == "completed").all()


def test_the_end_tokens_are_those_of_the_generations_configuration(tmp_path, job_for):
    import json

    from tiny_models import make_model

    made = make_model("mixtral", tmp_path / "tiny")
    (made / "generation_config.json").write_text(json.dumps({"eos_token_id": [3, 250]}))
    with TransformersBackend().open(job_for(made)) as engine:
        assert engine._ends.tokens == {3, 250}
