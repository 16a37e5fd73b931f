"""The method's numbers: labels and concepts that are right, calibration, and costs, as means over the seeds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from moecap.errors import BadInputError
from moecap.metrics.accuracy import wilson
from moecap.metrics.seeds import over_seeds
from moecap.metrics.value import Metric, measured
from moecap.observations.task_tables import task_table_file
from moecap.tasks.method import Tables
from moecap.tasks.nesydm.answered import NAME, Answered, answered
from moecap.tasks.nesydm.calibration import expected_calibration_error
from moecap.tasks.nesydm.programs import Program
from moecap.tasks.nesydm.votes import STRATEGIES, marginals, most_frequent

__all__ = ["nesydm_metrics", "scores_of"]


def nesydm_metrics(tables: Tables, programs: Mapping[str, Program] | None = None) -> dict[str, Metric]:
    """Measures of each experiment, predictor and split, and the costs of each training.

    ``half_nesydm_acc_y`` is of the questions whose combinations training showed, ``half_nesydm_ood_acc_y`` of others.
    Several seeds give Student's interval of their mean, and n counts seeds; one seed gives a share Wilson's, and n
    counts questions.

    Args:
        tables: The tables.
        programs: The program of each experiment, where that is not the registered one that the tables name.

    Raises:
        BadInputError: If the tables contradict themselves.
    """
    by_name: dict[str, list[Metric]] = {}
    for one in answered(tables, programs):
        split = "" if one.split == "id" else f"_{one.split}"
        for measure, value in scores_of(one).items():
            by_name.setdefault(f"{one.experiment}_{one.predictor}{split}_{measure}", []).append(value)
    metrics = {name: _joined(values) for name, values in by_name.items()}
    return metrics | _costs(tables)


def scores_of(one: Answered) -> dict[str, Metric]:
    """Each measure of one predictor with one seed on one split."""
    found = {"acc_y": _right(one, "ptm")}
    if one.labels is None:  # labels of its own do not come from votes
        found |= {f"acc_y_{strategy}": _right(one, strategy) for strategy in STRATEGIES if strategy != "ptm"}
    if one.concepts is not None:
        found |= {"acc_c": _concepts_right(one, one.concepts), "ece_c": _calibration(one, one.concepts)}
    if one.program.name.startswith("driving"):
        found["mf1_y"] = _action_f1(one)
        if one.concepts is not None:
            found["mf1_c"] = _concept_f1(one, one.concepts)
    return found


def _right(one: Answered, strategy: str) -> Metric:
    right = one.right(strategy)
    return measured(right.mean(), "1", len(right), *wilson(int(right.sum()), len(right)))


def _concepts_right(one: Answered, concepts: np.ndarray) -> Metric:
    """Share of single concepts that are right in the most frequent whole vector."""
    found = most_frequent(one.ballot.item, one.ballot.concepts, one.ballot.count)
    return measured((found == concepts).mean(), "1", len(found))


def _calibration(one: Answered, concepts: np.ndarray) -> Metric:
    shares = marginals(one.ballot, one.ballot.concepts, one.program.values)
    return measured(expected_calibration_error(shares, concepts), "1", len(shares))


def _action_f1(one: Answered) -> Metric:
    """Macro F1 over forward, stop, left and right."""
    found, gold = (
        np.column_stack([labels[:, 0] == 1, labels[:, 0] == 2, labels[:, 1:] == 1])
        for labels in (one.predicted("ptm"), one.golds)
    )
    return measured(_macro_f1(found, gold), "1", len(gold))


def _concept_f1(one: Answered, concepts: np.ndarray) -> Metric:
    """Macro F1 over the concepts, by the most frequent whole vector."""
    found = most_frequent(one.ballot.item, one.ballot.concepts, one.ballot.count) == 1
    return measured(_macro_f1(found, concepts == 1), "1", len(found))


def _macro_f1(found: np.ndarray, gold: np.ndarray) -> float:
    """Mean over columns of 2 · both / (found + gold); 0 for a column in which there is neither."""
    both, either = (found & gold).sum(0), found.sum(0) + gold.sum(0)
    return float(np.mean(np.where(either > 0, 2 * both / np.maximum(either, 1), 0.0)))


def _joined(values: list[Metric]) -> Metric:
    return values[0] if len(values) == 1 else over_seeds([v.value or 0.0 for v in values], bounds=(0.0, 1.0))


def _costs(tables: Tables) -> dict[str, Metric]:
    """Parameters, seconds of training and seconds a test question."""
    found: dict[str, Metric] = {}
    for (experiment, predictor), rows in tables["fits"].groupby(["experiment", "predictor"], sort=False):
        n = int((tables["items"]["experiment"] == experiment).sum())
        if not n or rows["parameters"].nunique() > 1 or rows["seed"].duplicated().any():
            raise BadInputError(
                f"{task_table_file(NAME, 'fits')}: column parameters or seed of {experiment} does not fit its items; "
                "the run has to be repeated"
            )
        begin = f"{experiment}_{predictor}"
        found[f"{begin}_parameters"] = measured(rows["parameters"].iloc[0], "parameters", len(rows))
        found[f"{begin}_train_seconds"] = over_seeds(list(rows["train_seconds"]), "s", (0.0, float("inf")))
        per_item = [seconds / n for seconds in rows["draw_seconds"]]
        found[f"{begin}_draw_seconds_per_question"] = over_seeds(per_item, "s", (0.0, float("inf")))
    return found
