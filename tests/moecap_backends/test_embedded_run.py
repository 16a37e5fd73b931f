"""The embedded model through the backend: the same text and the same ARC-Easy answers as plain transformers loops."""

import warnings

import pytest

from moecap.backend import EngineJob, Prompt
from moecap.data.arc import load_arc
from moecap.models import embedded
from moecap.models.reading import read_model
from moecap.observations.recorder import Recorder
from moecap.tasks.arc import ArcEasy
from moecap.tasks.base import TaskOptions
from moecap.tokenizer import Tokenizer, exact_length_prompts
from moecap_backends.transformers import TransformersEngine

pytestmark = [pytest.mark.engine, pytest.mark.slow]

QUESTIONS = 16


@pytest.fixture(scope="module")
def folder():
    return embedded.ensure()


@pytest.fixture(scope="module")
def plain(folder):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        return model, AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def engine(folder):
    spec = read_model(embedded.config(), embedded.NAME, weights="fp32", kv="fp32")
    with TransformersEngine(EngineJob(folder, spec, "cpu", "fp32", 2, 0, {}, lambda _line: None)) as engine:
        yield engine


def test_the_tokenizer_gives_the_same_tokens_as_transformers(folder, plain):
    tokenizer = Tokenizer(folder)
    for question in load_arc("easy")[:200]:
        text = f"Question: {question.question}\nAnswer: {question.choices[0]}"
        assert list(tokenizer.encode(text)) == plain[1](text, add_special_tokens=False)["input_ids"]


def test_greedy_text_equals_transformers_own_generate(folder, plain, engine):
    import torch

    tokenizer = Tokenizer(folder)
    texts = [q.question for q in load_arc("easy")[:40]]
    tokens = exact_length_prompts(tokenizer, texts, 8, 64)
    prompts = [Prompt(str(i), t, 32) for i, t in enumerate(tokens)]
    answers = engine.generate(prompts, 4, Recorder(stage="load"), lambda _done: None)
    for first in (0, 4):
        ids = torch.tensor(tokens[first : first + 4])
        with torch.inference_mode():
            out = plain[0].generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=32,
                min_new_tokens=32,
                do_sample=False,
                pad_token_id=0,
                eos_token_id=None,
            )
        assert [list(a.tokens) for a in answers[first : first + 4]] == out[:, 64:].tolist()


def test_arc_easy_answers_equal_those_of_a_plain_loop_item_by_item(folder, plain, engine):
    import torch

    model, tokenizer = plain
    task = ArcEasy()
    items = task.items(TaskOptions(QUESTIONS, None, {}, lambda _line: None))
    samples = list(task.run(items, engine, Tokenizer(folder), Recorder(stage="score"), lambda _done: None))
    for question, sample in zip(load_arc("easy")[:QUESTIONS], samples, strict=True):
        likelihoods = []
        for choice in question.choices:
            prompt = f"Question: {question.question}\nAnswer:"
            whole = tokenizer(f"{prompt} {choice}", return_tensors="pt", add_special_tokens=False)["input_ids"]
            known = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
            with torch.inference_mode():
                logp = model(whole).logits[0].log_softmax(-1)
            likelihoods.append(sum(logp[i - 1, whole[0, i]].item() for i in range(known, whole.shape[1])))
        assert sample["log_likelihoods"] == pytest.approx(likelihoods, abs=5e-3)
        best = max(range(len(likelihoods)), key=likelihoods.__getitem__)
        assert sample["scores"]["accuracy"] == int(best == question.answer_index)
        assert sample["gold"] == question.answer_index
