"""The method as a task: what it trains and tests, the tables that it leaves, and the numbers that follow from them."""

import json

import numpy as np
import pandas as pd
import pytest

from moecap.errors import BadInputError, NotAvailableError, UnknownNameError
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap.tasks.base import TaskOptions, load_task, refuse_mismatch
from moecap.tasks.method import method_metrics, method_tables
from moecap.tasks.spoken_lid.answered import answered, headline
from moecap.tasks.spoken_lid.task import SpokenLid

SMALL = {
    "train": "train.tsv",
    "test": "test.tsv",
    "seeds": "2",
    "epochs": "4",
    "channels": "8",
    "crop": "20",
}


def items_of(folder, said=None, limit=None, **arguments):
    task = load_task("spoken_lid")
    told = [] if said is None else said
    return task, task.items(TaskOptions(limit, folder, SMALL | arguments, told.append))


def ran(folder, kept, **arguments):
    """Samples and tables of a run without an engine, which is not asked."""
    task, items = items_of(folder, **arguments)
    recorder, told = Recorder(), []
    samples = list(task.run(items, None, None, recorder, told.append))
    assert told == sorted(told)
    assert told[-1] == len(items)
    recorder.write(kept)
    return samples, read_observations(kept).tables


def own(tables):
    ((_, found),) = method_tables(tables)
    return dict(found)


@pytest.fixture(scope="module")
def small(kept_lists, tmp_path_factory):
    return ran(kept_lists, tmp_path_factory.mktemp("small"))


def test_languages_that_are_fundamentals_are_told_apart(small):
    metrics = method_metrics(small[1], None)
    assert metrics["task.spoken_lid_lists_statistics_raw_accuracy"].value > 0.8  # chance is a third
    right = np.mean([sample["scores"]["accuracy"] for sample in small[0]])
    assert metrics["task.spoken_lid_lists_statistics_accuracy"].value == right


def test_numbers_are_counted_by_hand_from_the_tables(small):
    tables, metrics = own(small[1]), method_metrics(small[1], None)
    tests = tables["tests"].set_index("item")
    train = tables["training"]
    assert set(train["domain"]) == {"studio", "radio"}
    assert train["utterances"].sum() == 36
    by_seed = {}
    for (classifier, seed), rows in tables["answers"].groupby(["classifier", "seed"]):
        right = {row.item: row.language == tests.loc[row.item, "language"] for row in rows.itertuples()}
        groups = {
            "accuracy": tests.index,
            "in_domain_accuracy": tests.index[tests["domain"] == "studio"],
            "out_of_domain_accuracy": tests.index[tests["domain"] == "field"],
            "domain_field_accuracy": tests.index[tests["domain"] == "field"],
            "known_speakers_accuracy": tests.index[tests["speaker"] == "speaker-1"],
            "new_speakers_accuracy": tests.index[tests["speaker"] == "speaker-3"],
        }
        for name, inside in groups.items():
            by_seed.setdefault((classifier, name), {})[seed] = np.mean([right[item] for item in inside])
    assert set(tests["speaker"]) == {"speaker-1", "speaker-3"}  # a user's names of speakers stay at home
    for (classifier, name), values in by_seed.items():
        metric = metrics[f"task.spoken_lid_lists_{classifier}_{name}"]
        assert metric.value == pytest.approx(np.mean(list(values.values()))), (classifier, name)
        assert len(values) == (1 if classifier.startswith("statistics") else 2)
    gap = metrics["task.spoken_lid_lists_convolution_gap"].value
    inside, outside = (
        metrics[f"task.spoken_lid_lists_convolution_{part}_accuracy"].value for part in ("in_domain", "out_of_domain")
    )
    assert gap == pytest.approx(inside - outside)


def test_the_confound_is_how_far_speaker_or_domain_alone_would_tell_the_language(lists, tmp_path):
    lines = (lists / "train.tsv").read_text().splitlines()
    cells = [line.split("\t") for line in lines]
    for row in cells:  # one speaker a language, but for one utterance
        row[4] = {"hin": "ann", "rus": "bob", "tha": "dee"}[row[2]]
    cells[0][4] = "bob"
    (lists / "train.tsv").write_text("\n".join("\t".join(row) for row in cells))
    _, tables = ran(lists, tmp_path, classifiers="statistics")
    metrics = method_metrics(tables, None)
    assert metrics["task.spoken_lid_lists_training_speaker_tells_language"].value == pytest.approx(35 / 36)
    assert metrics["task.spoken_lid_lists_training_domain_tells_language"].value == pytest.approx(1 / 3)
    assert metrics["task.spoken_lid_lists_training_largest_language"].value == pytest.approx(1 / 3)
    named = {name.removeprefix("task.spoken_lid_"): metric for name, metric in metrics.items()}
    body = str(SpokenLid.section(own(tables), named).body)
    assert "the speaker alone tells the language of 97%" in body
    assert "of other speakers and 6 of other domains" in body


def test_two_runs_give_the_same_tables_but_for_times_and_seeds_differ(lists, small, tmp_path):
    samples, tables = ran(lists, tmp_path)
    assert samples == small[0]
    for name, table in own(tables).items():
        times = [column for column in table if column.endswith("seconds") and name == "fits"]
        pd.testing.assert_frame_equal(table.drop(columns=times), own(small[1])[name].drop(columns=times))
    epochs = own(tables)["epochs"]
    losses = [epochs[epochs["seed"] == seed]["language_loss"].tolist() for seed in (0, 1)]
    assert losses[0] != losses[1]


def test_the_adversary_has_a_head_for_domains_alone_where_there_are_several(lists, small):
    epochs = own(small[1])["epochs"]
    heads = epochs.groupby("classifier")["domain_loss"].min()
    assert heads["convolution"] == 0 < heads["convolution_adversarial"]
    assert epochs["reversal"].iloc[0] == 0
    one = "\n".join(line.replace("radio", "studio") for line in (lists / "train.tsv").read_text().splitlines())
    (lists / "train.tsv").write_text(one)
    assert "convolution_adversarial" not in items_of(lists)[0].experiments[0].classifiers
    with pytest.raises(BadInputError, match="training has one domain alone, so that convolution_adversarial has noth"):
        items_of(lists, classifiers="convolution_adversarial")
    assert items_of(lists, opposed="speaker")[0].experiments[0].classifiers[-1] == "convolution_adversarial"


def test_features_of_the_shared_tasks_kind_can_stand_in_a_list(lists, tmp_path):
    for name in ("train", "test"):
        lines = [line.split("\t") for line in (lists / f"{name}.tsv").read_text().splitlines()]
        draw = np.random.default_rng(len(lines))
        for number, cells in enumerate(lines):
            cepstra = draw.standard_normal((60, 13)) * (1 + "hin rus tha".split().index(cells[2]))
            cells[1] = f"{name}-{number}.npy"
            np.save(lists / cells[1], cepstra)
        (lists / f"{name}.tsv").write_text("\n".join("\t".join(cells) for cells in lines))
    _, tables = ran(lists, tmp_path, classifiers="statistics_raw,convolution")
    assert method_metrics(tables, None)["task.spoken_lid_lists_statistics_raw_accuracy"].value == 1
    assert set(own(tables)["tests"]["rate"]) == {0}
    with pytest.raises(BadInputError, match="cannot be augmented; give sounds"):
        ran(lists, tmp_path, augment="noise")


def test_augmented_training_is_as_large_and_its_changes_are_domains_apart(lists, tmp_path):
    _, tables = ran(
        lists, tmp_path, classifiers="statistics,convolution_adversarial", augment="noise,speed", opposed="domain"
    )
    assert own(tables)["training"]["utterances"].sum() == 36
    assert set(own(tables)["experiments"]["augment"]) == {"noise,speed"}
    answers = own(tables)["answers"]
    assert set(answers["seed"][answers["classifier"] == "statistics"]) == {0, 1}  # what is drawn differs by seed


def test_a_limit_is_of_each_condition(lists):
    task, items = items_of(lists, limit=2)
    assert [item.domain for item in items] == ["studio", "field"]  # conditions in turns
    assert [one.domain for one in task.experiments[0].test] == ["studio", "field", "studio", "field"]
    assert task.limited
    assert [item.language for item in items_of(lists, limit=3)[1]] == ["hin", "hin", "rus"]  # languages in turns too
    assert not items_of(lists)[0].limited
    task, items = items_of(lists, limit=6)  # every test of either condition, but not every one is an item
    assert (len(task.experiments[0].test), len(items), task.limited) == (12, 6, True)


def test_a_training_in_one_language_is_refused(lists):
    lines = (lists / "train.tsv").read_text().splitlines()
    (lists / "train.tsv").write_text("\n".join(line for line in lines if "\thin\t" in line))
    with pytest.raises(BadInputError, match="lists: one language alone in the training; give two at least"):
        items_of(lists)


def test_the_report_has_two_charts_and_a_table(small):
    tables = own(small[1])
    named = {name.removeprefix("task.spoken_lid_"): m for name, m in method_metrics(small[1], None).items()}
    section = SpokenLid.section(tables, named)
    assert [chart.id for chart in section.charts] == ["spoken-lid-lists", "spoken-lid-lists-answers"]
    json.dumps([chart.data for chart in section.charts])
    by_domain, confused = section.charts
    assert by_domain.data[0]["x"] == ["studio,<br>voices<br>heard", "field,<br>other<br>voices"]
    assert np.allclose(np.sum(confused.data[0]["z"], axis=1), 1, atol=1e-3)
    assert repr(named["lists_statistics_macro_f1"].value) in str(section.body)
    assert SpokenLid.section({name: table.iloc[:0] for name, table in tables.items()}, {}) is None


def test_samples_follow_from_the_tables(small):
    samples, tables = small[0], own(small[1])
    assert SpokenLid.contradiction(tables, samples) == ""
    other = {"hin": "rus", "rus": "tha", "tha": "hin"}[samples[0]["gold"]]
    forged = {"gold": other, "scores": {"accuracy": int(samples[0]["answer"] == other)}}
    for change in ({"scores": {"accuracy": 1 - samples[0]["scores"]["accuracy"]}}, {"answer": None}, forged):
        assert samples[0]["id"] in SpokenLid.contradiction(tables, [samples[0] | change, *samples[1:]])
    assert "not the first ones" in SpokenLid.contradiction(tables, samples[1:])
    assert "not the first ones" in SpokenLid.contradiction(tables, [samples[0], samples[0]])
    assert headline({**tables, "experiments": tables["experiments"].iloc[:0], "tests": tables["tests"].iloc[:0],
                     "answers": tables["answers"].iloc[:0]}) == {}  # fmt: skip
    assert len(list(answered(tables))) == 2 + 2 * 2


@pytest.mark.parametrize(
    ("table", "change", "words"),
    [
        ("tests", {"experiment": "other"}, r"spoken_lid\.tests\.parquet: experiment 'other' is not in the table"),
        ("labels", {"language": "rus"}, r"spoken_lid\.labels\.parquet: languages of lists are missing or come twice"),
        ("training", {"utterances": 0}, r"spoken_lid\.training\.parquet: rows of lists that cannot be"),
        ("training", {"language": "xxx"}, "rows of lists that cannot be"),
        ("tests", {"item": "rus0"}, r"spoken_lid\.tests\.parquet: an utterance of lists comes twice"),
        ("tests", {"language": "xxx"}, "a language of lists is none of its own"),
        ("answers", {"item": "hin1"}, r"spoken_lid\.answers\.parquet: the answers of statistics are not one for each"),
        ("answers", {"language": "xxx"}, "an answer of statistics is no language of lists"),
        ("answers", {"language": ""}, "an outcome of statistics does not fit its answer"),
        ("answers", {"outcome": "guessed"}, "an outcome of statistics is none"),
        ("fits", {"seed": 9, "experiment": "none"}, r"spoken_lid\.fits\.parquet: column parameters or seed of none"),
    ],
)
def test_tables_that_contradict_themselves_are_refused(small, table, change, words):
    tables = {name: frame.copy() for name, frame in own(small[1]).items()}
    for column, value in change.items():
        tables[table].loc[0, column] = value
    with pytest.raises(BadInputError, match=words):
        method_metrics({"spoken_lid": tables}, None)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"experiments": "radio"}, UnknownNameError, "no experiment of spoken_lid named 'radio'; known: five_voices"),
        ({"classifiers": "oracle"}, UnknownNameError, "no classifier of spoken_lid named 'oracle'"),
        ({"classifiers": ","}, BadInputError, "--task-arg classifiers=: no name"),
        ({"augment": "echo"}, UnknownNameError, "named 'echo'; known: noise, speed"),
        ({"epochs": "0"}, BadInputError, "--task-arg epochs=0: not a whole number from 1"),
        ({"rate": "nan"}, BadInputError, "--task-arg rate=nan: give a number from 0 on"),
        ({"opposed": "channel"}, BadInputError, "--task-arg opposed=channel: not domain or speaker"),
        ({"track": "open"}, BadInputError, "--task-arg track=open: not constrained or unconstrained"),
        ({"strict": "yes"}, BadInputError, "--task-arg strict=yes: not true or false"),
        ({"labels": "hin"}, BadInputError, "one language alone"),
        ({"labels": "hi,rus"}, BadInputError, "--task-arg labels=hi,rus: no language 'hi'; did you mean hin?"),
        ({"labels": "hin,rus"}, BadInputError, "tha is spoken and none of labels"),
        ({"experiments": "lists,one_voice", "strict": "true"}, BadInputError, "the speaker 'ann' is in the training"),
        ({"strict": "true"}, BadInputError, r"test\.tsv, line 1: the speaker 'ann' is in the training too"),
        ({"experiments": "one_voice"}, BadInputError, "the experiment lists and --task-arg test=FILE go together"),
        ({"size": "huge"}, UnknownNameError, "no size of spoken_lid named 'huge'"),
    ],
)
def test_arguments_that_cannot_be_are_refused_before_anything_starts(lists, arguments, error, words):
    with pytest.raises(error, match=words):
        items_of(lists, **arguments)


def test_a_classifier_without_a_training_is_refused_and_a_chat_needs_none(lists):
    given = {name: value for name, value in SMALL.items() if name != "train"}
    with pytest.raises(BadInputError, match="trained on --task-arg train=FILE; give it, or take classifiers=chat"):
        load_task("spoken_lid").items(TaskOptions(None, lists, given, print))
    task = load_task("spoken_lid")
    assert len(task.items(TaskOptions(None, lists, given | {"classifiers": "chat"}, print))) == 12
    assert task.experiments[0].train == ()


def test_what_a_list_holds_is_told(lists, write_sound):
    said = []
    items_of(lists, said)
    assert said == [
        "6 of 12 test utterances are of speakers whom training hears, first " + str(lists / "test.tsv, line 1")
    ]
    lines = (lists / "train.tsv").read_text().replace("radio", "Common Voice 7")
    (lists / "train.tsv").write_text(lines)
    write_sound(lists / "train/hin-0.wav", 110, rate=22050)
    said.clear()
    items_of(lists, said, track="unconstrained")
    assert any("line 2: Common Voice or OpenSLR, as 18 lines name it; the unconstrained track" in line for line in said)
    assert "sounds of 22050 Hz are resampled to 16000 Hz" in said


def test_a_sound_that_cannot_be_read_is_refused_with_the_lists_line(lists):
    (lists / "train/rus-3.wav").write_bytes(b"no sound")
    with pytest.raises(BadInputError, match=r"train\.tsv, line 16: .*rus-3\.wav: no sound that can be read"):
        items_of(lists)


def test_only_a_chat_needs_anything_of_a_backend():
    from moecap_backends.openai import OpenaiBackend
    from moecap_backends.transformers import TransformersBackend

    task = load_task("spoken_lid")
    refuse_mismatch(task, TransformersBackend, {})
    refuse_mismatch(task, OpenaiBackend, {"classifiers": "chat"})
    with pytest.raises(NotAvailableError, match=r"needs audio, which backend 'transformers' lacks; .* openai"):
        refuse_mismatch(task, TransformersBackend, {"classifiers": "statistics,chat"})


def test_no_experiment_classifier_or_seed_can_be_left_out(small, kept_lists, unseen):
    asked = TaskOptions(None, kept_lists, SMALL, lambda _line: None)
    assert unseen(load_task("spoken_lid"), asked, own(small[1]), "experiment", "classifier", "seed") == []


def test_without_two_domains_no_adversarial_classifier_is_asked_for(small, kept_lists, unseen):
    tables = own(small[1])
    one = tables["training"].assign(domain="studio")
    without = {
        name: table[table["classifier"] != "convolution_adversarial"] if "classifier" in table else table
        for name, table in tables.items()
    }
    asked = TaskOptions(None, kept_lists, SMALL, lambda _line: None)
    assert unseen(load_task("spoken_lid"), asked, {**without, "training": one}, "classifier", "seed") == []


def test_domains_whose_names_have_the_same_letters_are_told_apart(small):
    tables = own(small[1])
    renamed = tables["tests"].assign(domain=tables["tests"]["domain"].replace({"studio": "сад", "field": "лес"}))
    found = SpokenLid.metrics({**tables, "tests": renamed}, None)
    names = [name for name in found if name.startswith("lists_statistics_domain_") and name.endswith("_accuracy")]
    of_domains = [name for name in names if "speakers" not in name]
    before = SpokenLid.metrics(tables, None)
    wanted = sorted(before[f"lists_statistics_domain_{domain}_accuracy"].value for domain in ("studio", "field"))
    assert sorted(found[name].value for name in of_domains) == wanted
