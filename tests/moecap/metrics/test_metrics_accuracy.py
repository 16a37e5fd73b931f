"""Accuracy: means, standard errors and intervals by hand or by theory, and what became of generated answers."""

import math

import numpy as np
import pytest

from moecap.errors import BadInputError
from moecap.metrics.accuracy import accuracy_metrics, graded, is_score
from moecap.metrics.bootstrap import RESAMPLES, resampled


def _samples(scores, **more):
    return [{"task": "t", "scores": {"accuracy": score}, **more} for score in scores]


def test_the_standard_error_of_right_and_wrong_is_that_of_a_sample():
    """Three of four: the mean is 0.75, the error sqrt(0.75 * 0.25 / 3) = 0.25."""
    metrics = accuracy_metrics(_samples([1, 0, 1, 1]))
    assert metrics["accuracy.t"].value == 0.75
    assert metrics["accuracy.t_stderr"].value == pytest.approx(0.25, rel=1e-12)
    assert metrics["accuracy.t_stderr"].n == 4


def test_one_item_has_no_standard_error():
    metric = accuracy_metrics(_samples([1]))["accuracy.t_stderr"]
    assert (metric.value, metric.reason) == (None, "one item has no spread")


def test_one_share_has_no_interval_and_one_right_answer_has_wilsons():
    share, right = (accuracy_metrics(_samples([score]))["accuracy.t"] for score in (0.5, 1))
    assert (share.value, share.low, share.high, share.n) == (0.5, None, None, 1)
    assert (right.value, right.high) == (1.0, 1.0)
    assert right.low == pytest.approx(1 / (1 + 1.959963984540054**2), rel=1e-12)  # Wilson at 1 of 1


def test_the_interval_of_shares_is_that_of_a_large_sample():
    """400 shares: by the central limit theorem the mean lies within 1.96 standard errors."""
    shares = np.random.RandomState(3).beta(2, 3, 400).tolist()
    metrics = accuracy_metrics(_samples(shares))
    mean, error = metrics["accuracy.t"], metrics["accuracy.t_stderr"].value
    assert mean.value == pytest.approx(np.mean(shares), rel=1e-12)
    assert error == pytest.approx(np.std(shares, ddof=1) / math.sqrt(400), rel=1e-12)
    assert mean.low == pytest.approx(mean.value - 1.96 * error, abs=0.2 * error)
    assert mean.high == pytest.approx(mean.value + 1.96 * error, abs=0.2 * error)


def test_resamples_are_the_same_each_time_and_draw_every_item_alike():
    values = np.arange(5.0)
    drawn = [resampled(values, lambda items: items.mean(-1)) for _ in range(2)]
    assert np.array_equal(*drawn)
    assert len(drawn[0]) == RESAMPLES
    assert drawn[0].mean() == pytest.approx(2.0, abs=4 * math.sqrt(2 / 5 / RESAMPLES))


def test_shares_of_what_was_not_answered_stand_beside_the_accuracy():
    outcomes = ["answered", "answered", "unanswered", "truncated", "truncated", "failed", "answered", "answered"]
    samples = [{"task": "t", "scores": {"accuracy": int(o == "answered")}, "outcome": o} for o in outcomes]
    metrics = accuracy_metrics(samples)
    found = {name: (m.value, m.n) for name, m in metrics.items() if not name.endswith("stderr")}
    assert found == {
        "accuracy.t": (4 / 8, 8),
        "accuracy.t_unanswered": (1 / 8, 8),
        "accuracy.t_truncated": (2 / 8, 8),
        "accuracy.t_failed": (1 / 8, 8),
    }
    assert [name for name in metrics if is_score(name)] == ["accuracy.t"]


@pytest.mark.parametrize(
    ("samples", "problem"),
    [
        (_samples([1.5]), "a score of 1.5 for t; scores are 0 to 1"),
        (_samples([-0.1]), "a score of -0.1"),
        (_samples(["1"]), "a score of '1'"),
        (_samples([math.nan]), "a score of nan"),
        (_samples([1], outcome="lost"), "an outcome 'lost' for t"),
    ],
)
def test_what_is_no_score_is_refused(samples, problem):
    with pytest.raises(BadInputError, match=problem):
        accuracy_metrics(samples)


def test_what_a_judge_gave_no_verdict_on_is_no_score():
    metrics = accuracy_metrics([{"task": "t", "scores": {"judge_failed": 1}}] * 2)
    assert metrics["accuracy.t_judge_failed"].value == 1.0
    assert [name for name in metrics if is_score(name)] == ["accuracy.t"]
    assert metrics["accuracy.t"].reason == "the judge gave no verdict on any question"


def test_a_method_that_gives_other_numbers_alone_is_no_accuracy_task():
    metrics = ("accuracy.mmlu", "task.groundedness_noun", "task.moicl_tokens", "accuracy.moicl")
    assert graded(("mmlu", "groundedness", "moicl", "unfinished"), metrics) == ("mmlu", "moicl", "unfinished")
