"""The method as a task: it learns from labels alone, leaves tables, and its numbers follow from them."""

import json

import numpy as np
import pandas as pd
import pytest

from moecap.errors import BadInputError, MoecapError, UnknownNameError
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap.tasks.base import TaskOptions, load_task
from moecap.tasks.method import method_metrics, method_tables
from moecap.tasks.nesydm.answered import headline
from moecap.tasks.nesydm.task import Nesydm

SMALL = {
    "experiments": "half,addition",
    "predictors": "nesydm,semantic_loss",
    "epochs": "2",
    "samples": "16",
    "candidates": "16",
    "draws": "20",
    "tests": "14",
    "train": "32",
    "seeds": "2",
    "digits": "1",
}


def options(arguments, limit=None, data=None):
    return TaskOptions(limit, data, arguments, lambda _line: None)


def ran(folder, arguments, limit=None, data=None):
    """Samples and tables of a run of the task without an engine, which it does not ask."""
    task, recorder, told = load_task("nesydm"), Recorder(), []
    items = task.items(options(arguments, limit, data))
    samples = list(task.run(items, None, None, recorder, told.append))
    assert told == sorted(told)
    assert told[-1] == len(items)
    folder.mkdir(exist_ok=True)
    recorder.write(folder)
    return samples, read_observations(folder).tables


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return ran(tmp_path_factory.mktemp("small"), SMALL)


def own(tables):
    ((_, found),) = method_tables(tables)
    return dict(found)


@pytest.mark.slow
def test_sums_of_two_digit_numbers_are_learnt_without_a_digits_label(tmp_path):
    arguments = {"experiments": "addition", "predictors": "nesydm", "seeds": "1", "samples": "128", "candidates": "128"}
    samples, tables = ran(tmp_path / "run", arguments | {"epochs": "110"})
    metrics = method_metrics(tables, None)
    right = metrics["task.nesydm_addition_nesydm_acc_y"]
    assert (right.n, right.value) == (90, np.mean([sample["scores"]["accuracy"] for sample in samples]))
    assert right.value >= 0.8  # chance is below 0.01
    assert metrics["task.nesydm_addition_nesydm_acc_c"].value >= 0.9  # chance is 0.1


@pytest.mark.slow
def test_on_half_diffusion_knows_better_than_independent_concepts_what_it_does_not_know(tmp_path):
    arguments = {"experiments": "half", "predictors": "nesydm_conditional,independent", "seeds": "1"}
    _, tables = ran(tmp_path / "run", arguments | {"samples": "64", "candidates": "64", "epochs": "60"})
    metrics = method_metrics(tables, None)
    for predictor in ("nesydm_conditional", "independent"):
        assert metrics[f"task.nesydm_half_{predictor}_acc_y"].value > 0.9
    for split in ("", "_ood"):
        diffusion, independent = (
            metrics[f"task.nesydm_half_{predictor}{split}_ece_c"].value
            for predictor in ("nesydm_conditional", "independent")
        )
        assert diffusion < independent - 0.1


def test_two_runs_give_the_same_tables_but_for_times(tmp_path, small):
    samples, tables = ran(tmp_path / "again", SMALL)
    assert samples == small[0]
    for name, table in own(tables).items():
        times = [column for column in table if column.endswith("seconds")]
        pd.testing.assert_frame_equal(table.drop(columns=times), own(small[1])[name].drop(columns=times))


def test_another_seed_gives_other_draws(small):
    draws = own(small[1])["draws"]
    of_seed = [draws[draws["seed"] == seed].drop(columns="seed").reset_index(drop=True) for seed in (0, 1)]
    assert not of_seed[0].equals(of_seed[1])


def test_metrics_are_means_over_the_seeds_of_shares_counted_by_hand(small):
    tables = own(small[1])
    metrics = method_metrics(small[1], None)
    items = tables["items"].set_index("item")
    shares = []
    for seed in (0, 1):
        draws = tables["draws"]
        draws = draws[(draws["experiment"] == "half") & (draws["predictor"] == "nesydm") & (draws["seed"] == seed)]
        right = 0
        for item, rows in draws.groupby("item"):
            votes: dict[int, int] = {}
            for concepts, count in zip(rows["concepts"], rows["count"], strict=True):
                total = sum(map(int, concepts.split()))
                votes[total] = votes.get(total, 0) + count
            best = min(votes, key=lambda total: (-votes[total], total))
            right += items.loc[item, "split"] == "id" and str(best) == items.loc[item, "label"]
        shares.append(right / 14)
    assert metrics["task.nesydm_half_nesydm_acc_y"].value == pytest.approx(np.mean(shares))
    assert metrics["task.nesydm_half_nesydm_acc_y"].n == 2


def test_a_predictor_with_labels_of_its_own_is_judged_by_these(small):
    tables, metrics = own(small[1]), method_metrics(small[1], None)
    labels = tables["labels"].merge(tables["items"], on=["experiment", "item"], suffixes=("", "_true"))
    labels = labels[(labels["experiment"] == "half") & (labels["split"] == "ood")]
    right = (labels["label"] == labels["label_true"]).groupby(labels["seed"]).mean().mean()
    assert metrics["task.nesydm_half_semantic_loss_ood_acc_y"].value == pytest.approx(right)
    assert "task.nesydm_half_semantic_loss_acc_y_pmm" not in metrics
    assert "task.nesydm_half_nesydm_acc_y_pmm" in metrics


def test_samples_are_of_the_shown_questions_of_the_first_experiment_and_follow_from_the_tables(small):
    samples, tables = small
    assert [sample["id"] for sample in samples] == [f"half-{i}" for i in range(14)]
    assert Nesydm.contradiction(own(tables), samples) == ""
    forged = [samples[0] | {"scores": {"accuracy": 1 - samples[0]["scores"]["accuracy"]}}, *samples[1:]]
    assert "half-0" in Nesydm.contradiction(own(tables), forged)
    assert headline({**own(tables), "items": own(tables)["items"].iloc[:0]}) == {}


def test_the_report_has_a_chart_and_a_table_for_each_experiment(small):
    tables = own(small[1])
    metrics = {name.removeprefix("task.nesydm_"): m for name, m in method_metrics(small[1], None).items()}
    section = Nesydm.section(tables, metrics)
    assert [chart.id for chart in section.charts] == ["nesydm-half", "nesydm-addition"]
    json.dumps([chart.data for chart in section.charts])
    body = str(section.body)
    assert "Measures of half" in body
    assert "Means over 2 seeds" in body
    assert repr(metrics["half_nesydm_acc_y"].value) in body
    assert Nesydm.section({name: table.iloc[:0] for name, table in tables.items()}, {}) is None


@pytest.mark.parametrize(
    ("table", "change", "words"),
    [
        ("draws", {"concepts": "1 7"}, r"nesydm\.draws\.parquet: '1 7' is not 2 numbers from 0 to 4"),
        ("draws", {"concepts": "1"}, "is not 2 numbers"),
        ("draws", {"count": 0}, "column count of half has a number below 1"),
        ("draws", {"item": "half-99"}, "a question of half that the table of items does not have"),
        ("draws", {"count": 99}, "different numbers of samples"),
        ("items", {"label": "x"}, r"nesydm\.items\.parquet: 'x' is not 1 numbers"),
        ("items", {"item": "half-1"}, "an item of half comes twice"),
        ("items", {"experiment": "quarter"}, "experiment 'quarter' is not in the table of experiments"),
        ("experiments", {"program": "os:system"}, "no program 'os:system' is known here"),
        ("experiments", {"size": 10**6}, "column size of half is 1000000"),
        ("labels", {"item": "half-1"}, "the labels of half are not one for each question"),
        ("fits", {"parameters": 5}, "column parameters or seed of half"),
    ],
)
def test_tables_that_contradict_themselves_are_refused(small, table, change, words):
    tables = {name: frame.copy() for name, frame in own(small[1]).items()}
    for column, value in change.items():
        tables[table].loc[0, column] = value
    with pytest.raises(BadInputError, match=words):
        method_metrics({"nesydm": tables}, None)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"experiments": "quarter"}, UnknownNameError, "no program named 'quarter'|no experiment"),
        ({"predictors": "oracle"}, UnknownNameError, "no predictor named 'oracle'; known: independent, nesydm"),
        ({"settings": "large"}, UnknownNameError, "no settings of nesydm named 'large'"),
        ({"samples": "1"}, BadInputError, "--task-arg samples=1: not a whole number from 2"),
        ({"beta": "nan"}, BadInputError, "--task-arg beta=nan: give a number from 0 on"),
        ({"y_weight": "mine"}, BadInputError, "--task-arg y_weight=mine: give paper or released"),
        ({"experiments": "shortest_path", "settings": "paper"}, MoecapError, "give its folder with --data DIR"),
        ({"experiments": "addition", "digits": "4"}, BadInputError, r"addition has 10\^8 combinations"),
        ({"experiments": "addition", "digits": "18", "predictors": "nesydm"}, None, ""),
        ({"steps": "0"}, BadInputError, "--task-arg steps=0"),
        (
            {"grid": "1", "experiments": "shortest_path", "settings": "paper"},
            BadInputError,
            "--task-arg grid=1: not a whole number from 2 to 100",
        ),
    ],
)
def test_arguments_that_cannot_be_are_refused_before_anything_starts(arguments, error, words):
    if error is None:
        assert load_task("nesydm").items(options(arguments))
        return
    with pytest.raises(error, match=words):
        load_task("nesydm").items(options(arguments))


def test_a_limit_is_of_each_split_of_each_experiment():
    task = load_task("nesydm")
    assert len(task.items(options(SMALL, limit=5))) == 5
    assert [experiment.splits for experiment in task.experiments] == [("id",) * 5 + ("ood",) * 5, ("id",) * 5]
    assert task.limited


def test_no_experiment_predictor_or_seed_can_be_left_out(small, unseen):
    assert unseen(load_task("nesydm"), options(SMALL), own(small[1]), "experiment", "predictor", "seed") == []
