"""The whole method on a tiny model: every word against a plain forward pass of the library, and the digits."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reference import Reference

from moecap.backend import EngineJob, Scored
from moecap.cli import main
from moecap.errors import RunError
from moecap.models.config_file import read_config_file
from moecap.models.reading import read_model
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap.observations.task_tables import read_task_tables
from moecap.report.page import run_page
from moecap.report.reported_run import read_run
from moecap.result import read_result
from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.settings import with_settings
from moecap.tasks.groundedness.captions import digit_captions
from moecap.tasks.groundedness.controls import BLANK, another, black, mean_picture
from moecap.tasks.groundedness.digit_models import TRAINED_ON, digit_facts, trained
from moecap.tasks.groundedness.digits import CLASSES, Digits, captioned_digits, closed_form
from moecap.tasks.groundedness.expert_load import token_experts
from moecap.tasks.groundedness.scoring import end_tokens, prompted, score_captions
from moecap.tasks.groundedness.task import Groundedness
from moecap.tasks.groundedness.words import word_surprisals as of_tables
from moecap.tasks.method import Passes, method_tables
from moecap.tokenizer import Tokenizer
from moecap.verification.recomputation import verify_run
from moecap.verification.task_data import asked_options

pytestmark = pytest.mark.engine

CAPTIONS = [
    {"id": f"{lang}{n}", "context": about, "caption": text, "lang": lang, "upos": upos}
    for lang, n, about, text, upos in [
        ("en", 0, "Hund", "a dog.", [["a", "DET"], ["dog", "NOUN"], [".", "PUNCT"]]),
        ("en", 1, "Ball", "the red ball", [["the", "DET"], ["red", "ADJ"], ["ball", "NOUN"]]),
        ("de", 0, "dog", "ein Hund.", [["ein", "DET"], ["Hund", "NOUN"], [".", "PUNCT"]]),
        ("de", 1, "red ball", "im Bad", [["im", ""], ["Bad", "NOUN"]]),
    ]
]


def settings(model, folder, data, **more):
    options = {"model": str(model), "backend": "transformers", "precision": "fp32", "task": ("groundedness",)}
    load = {"num_requests": 2, "concurrency": 1, "input_len": 8, "output_len": 2, "data": str(data)}
    return with_settings(options | load | {"output": str(folder / "run")} | more, ())


@pytest.fixture(scope="module")
def model(tiny_model):
    return tiny_model("mixtral")


@pytest.fixture(scope="module")
def scored(model, tmp_path_factory):
    """The directory of a run over four captions in two languages."""
    folder = tmp_path_factory.mktemp("groundedness")
    data = folder / "captions.jsonl"
    data.write_text("\n".join(json.dumps(row) for row in CAPTIONS), encoding="utf-8")
    outcome = run(settings(model, folder, data), Reporter(quiet=True))
    assert outcome.error is None
    return outcome.directory


@pytest.fixture(scope="module")
def reference(model):
    return Reference(model)


def word_surprisals(reference, tokenizer, before, caption):
    """Surprisal of each white-space word with the end of a word made its own, by the definition; and of the caption.

    The tokens of these models are bytes: a space is a token of its own, of no word, and alone opens a word.
    """
    import torch

    context, target = tokenizer.encode(before), tokenizer.encode(caption)
    with torch.inference_mode():
        logits = reference._model(torch.tensor([[*context, *target]])).logits[0].double()
    logp = logits.log_softmax(-1)[len(context) - 1 : -1].numpy()
    (space,) = tokenizer.encode(" ")
    opening = [tokenizer.encode(character)[0] for character in " \t\n\r\v\f"] + [
        tokenizer.encode("\x1c")[0] + i for i in range(4)
    ]
    surprisals, own = [0.0], logp[np.arange(len(target)), target]
    for place, token in enumerate(target):
        if token == space:
            surprisals[-1] -= np.logaddexp.reduce(logp[place, opening])
            surprisals.append(0.0)
        else:
            surprisals[-1] -= own[place]
    return surprisals, -own.sum()


def test_every_word_is_what_a_plain_forward_pass_gives(scored, model, reference):
    tokenizer = Tokenizer(model)
    metrics = json.loads((scored / "result.json").read_text())["metrics"]
    tables = read_observations(scored).tables["groundedness"]
    found = of_tables(tables["words"], tables["tokens"])
    about = {
        "context": {row["id"]: row["context"] for row in CAPTIONS},
        "blank": {row["id"]: BLANK for row in CAPTIONS},
    }
    about["shuffled"] = {}
    for language in ("en", "de"):
        own = [row for row in CAPTIONS if row["lang"] == language]
        for row, other in zip(own, another([r["context"] for r in own], 0), strict=True):
            about["shuffled"][row["id"]] = own[other]["context"]
    sentences = {condition: [] for condition in ("null", *about)}
    for number, row in enumerate(CAPTIONS):
        rows = found.table[found.table["caption"] == number].sort_values("word")
        for condition, values in sentences.items():
            before = "" if condition == "null" else f"{about[condition][row['id']]}\n"
            expected, whole = word_surprisals(reference, tokenizer, f"{before}caption {row['lang']}\n", row["caption"])
            values.append(whole)
            got = rows[condition].tolist()
            if row["upos"][-1][0] == ".":  # the full stop is a word of its own, and part of the last white-space word
                got[-2:] = [sum(got[-2:])]
            assert got == pytest.approx(expected, abs=1e-4), (row["caption"], condition)
    for condition, end in (("context", ""), ("shuffled", "_shuffled"), ("blank", "_blank")):
        metric = metrics[f"task.groundedness_sentence{end}"]
        assert metric["value"] == pytest.approx(np.mean(sentences["null"]) - np.mean(sentences[condition]), abs=1e-4)
        assert metric["n"] == len(CAPTIONS)
    net = np.mean(sentences["shuffled"]) - np.mean(sentences["context"])
    assert metrics["task.groundedness_sentence_net"]["value"] == pytest.approx(net, abs=1e-4)
    assert metrics["task.groundedness_corrected"]["value"] == 1


def test_the_experts_of_a_token_are_those_of_the_routers(scored, model, reference):
    seen = read_observations(scored)
    tokens = seen.tables["groundedness"]["tokens"]
    tokenizer = Tokenizer(model)
    for number, row in enumerate(CAPTIONS):
        own = tokens[(tokens["condition"] == "context") & (tokens["caption"] == number)]
        place = [own[name].to_numpy(np.int64) for name in ("continuation", "position")]
        experts, known = token_experts(Passes(seen.steps, seen.routing, 8), *place)
        whole = tokenizer.encode(f"{row['context']}\ncaption {row['lang']}\n{row['caption']}")
        expected = reference.routing(whole)[place[1][0] :]
        assert known.tolist() == [True] * (len(own) - 1) + [False]  # the last token is scored and never fed
        assert np.array_equal(np.sort(experts, -1), np.sort(expected[:-1], -1))


def test_the_run_verifies_and_its_page_says_that_it_is_a_surrogate(scored):
    outcome = verify_run(scored)
    assert outcome.ok, outcome
    text = run_page(read_run(scored))
    assert "a surrogate of the paper's captioner" in text.replace("&#x27;", "'")
    assert "No accuracy: groundedness gives none." in text
    assert 'id="chart-groundedness"' in text


def test_a_run_of_the_same_is_the_same(scored, model, tmp_path):
    again = run(settings(model, tmp_path, scored.parent / "captions.jsonl"), Reporter(quiet=True))
    stored = json.loads((scored / "result.json").read_text())["metrics"]
    own = {n: m for n, m in stored.items() if n.startswith("task.groundedness_") and m["unit"] != "tokens/s"}
    found = {name: metric.model_dump() for name, metric in again.result.metrics.items() if name in own}
    assert found == own
    assert len(own) > 20


def test_a_changed_table_is_found(scored, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(scored, copy)
    table = pq.read_table(copy / "groundedness.tokens.parquet")
    changed = table["log_p"].to_numpy().copy()
    changed[3] -= 1
    table = table.set_column(table.schema.get_field_index("log_p"), table.schema.field("log_p"), pa.array(changed))
    pq.write_table(table, copy / "groundedness.tokens.parquet")
    assert not verify_run(copy).ok


def test_bad_input_ends_a_run_with_status_2_before_anything_starts(model, tmp_path, capsys):
    data = tmp_path / "captions.jsonl"
    data.write_text(json.dumps(CAPTIONS[0]) + "\n{", encoding="utf-8")
    where = ["--model", str(model), "--backend", "transformers", "--output", str(tmp_path / "run")]
    assert main(["run", *where, "--task", "groundedness", "--data", str(data)]) == 2
    assert f"{data}, line 2: no JSON" in capsys.readouterr().err
    for argument in ("captions=stones", "controls=mirror", "captions=digits", "size=huge", "count=0"):
        assert main(["run", *where, "--task", "groundedness", "--data", str(data), "--task-arg", argument]) == 2
        assert argument.partition("=")[2] in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_what_was_scored_is_kept_when_the_run_ends_early(model, tmp_path):
    from moecap_backends.transformers import TransformersEngine

    spec = read_model(read_config_file(model / "config.json"), model.name, weights="fp32", kv="fp32")
    items = prompted([caption for (caption,) in digit_captions()[:3]], ("blank",), 0)
    recorder = Recorder(stage="score")
    with TransformersEngine(EngineJob(model, spec, "cpu", "fp32", 1, 0, {}, lambda _line: None)) as engine:
        samples = Groundedness().run(items, engine, Tokenizer(model), recorder, lambda _done: None)
        assert [next(samples)["id"] for _ in range(2)] == [item.id for item in items[:2]]
        samples.close()
    recorder.write(tmp_path)
    kept = read_task_tables(tmp_path)["groundedness"]
    assert kept["words"]["caption"].unique().tolist() == [0, 1]
    assert kept["tokens"].groupby("condition")["caption"].nunique().to_dict() == {"blank": 2, "context": 2, "null": 2}


def test_an_engine_that_tells_no_tokens_apart_is_refused(model, tmp_path):
    class Sums:
        info = SimpleNamespace(name="sums")

        def score(self, continuations, recorder, done):
            return [Scored(-1.0, False) for _ in continuations]

    items = prompted([caption for (caption,) in digit_captions()], (), 0)
    with pytest.raises(RunError, match="sums gives the log-probability of a whole text and not of its tokens"):
        next(score_captions(items, Sums(), Tokenizer(model), Recorder(), lambda _done: None))


def test_the_end_of_a_text_is_scored_where_the_model_has_a_token_for_it(tmp_path):
    for content, found in (({"eos_token_id": 2}, (2,)), ({"text_config": {"eos_token_id": [7, 9]}}, (7, 9)), ({}, ())):
        folder = tmp_path / str(len(found))
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(content))
        assert end_tokens(folder) == found


# The digits


@pytest.fixture(scope="module")
def digits():
    return captioned_digits(0)


@pytest.fixture(scope="module")
def facts(digits):
    return digit_facts(digits, 10, 0)


def means(facts, condition):
    """Mean difference of each of the seven words, nats."""
    value = (facts["language_model"] - facts[condition]).reshape(-1, len(CLASSES))
    return dict(zip(CLASSES, value.mean(0), strict=True)) | {"sentence": value.sum(1).mean()}


def test_trained_models_come_near_the_closed_form(facts):
    form = np.array(facts["form"])
    value = facts["language_model"] - facts["captioner"]
    found = {word: value[form == word].mean() for word in ("an", "a", "eight", "page")}
    closed = {word: facts["closed_form"][form == word].mean() for word in found}
    assert found["an"] == pytest.approx(closed["an"], abs=1.2)  # the article carries the digit
    assert found["an"] > 1
    assert abs(found["eight"]) < 0.1
    assert closed["eight"] == 0  # and the numeral after it nothing
    assert abs(found["a"]) < 0.4
    assert abs(found["page"]) < 0.01
    of_class = means(facts, "captioner")
    assert 1.2 < of_class["NUM"] < facts["closed_form"].reshape(-1, 7)[:, 5].mean() + 0.2
    assert abs(of_class["VERB"]) < 0.2
    assert 1.5 < of_class["sentence"] < facts["closed_form"].reshape(-1, 7).sum(1).mean()


def test_the_captioner_is_confidently_wrong_about_other_pictures(facts):
    shuffled = means(facts, "shuffled")
    assert shuffled["NUM"] < -1
    assert shuffled["sentence"] < -2


def test_a_captioner_that_learnt_from_uninformative_pictures_gives_zero(digits, facts):
    train, test = digits[:TRAINED_ON], digits[TRAINED_ON:]
    blind = trained(Digits(mean_picture(train.pictures, len(train)), train.captions), 10, 0, sees=True)
    seen = mean_picture(train.pictures, len(test))
    assert np.array_equal(seen[0], train.pictures.mean(0))
    value = facts["language_model"].reshape(-1, 7) - blind.surprisals(test.captions, seen)
    assert np.abs(value.mean(0)).max() < 0.1


def test_a_language_model_against_itself_is_zero_and_two_runs_are_the_same(digits, facts):
    train, test = digits[:TRAINED_ON], digits[TRAINED_ON:]
    language = trained(train, 10, 0, sees=False)
    assert np.array_equal(language.surprisals(test.captions, black(test.pictures)).reshape(-1), facts["language_model"])
    assert np.array_equal(closed_form(train.captions, test.captions).reshape(-1), facts["closed_form"])


def test_the_digits_are_those_of_the_sources(digits):
    assert len(digits) == 1797
    assert digits.pictures.shape == (1797, 64)
    assert 0 <= digits.pictures.min() < digits.pictures.max() == 1
    assert sum(words[4] == "an" for words in digits.captions) == 174  # eights in the data set
    assert all((words[4] == "an") == (words[5] == "eight") for words in digits.captions)


def test_no_condition_and_no_digits_can_be_left_out(scored, unseen, options):
    result = read_result(scored)
    ((method, tables),) = method_tables(read_observations(scored).tables)
    assert unseen(method(), asked_options(result, result.tasks[0], scored), tables, "condition") == []
    asked = options(controls="shuffled,blank")  # captions of digits
    problems = [parts.problem(tables) for parts in method().parts(asked, tables)]
    assert problems[-1] == "it has no row"
