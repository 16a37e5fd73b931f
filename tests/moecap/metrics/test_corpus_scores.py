"""Scores over all items of a task, against scikit-learn and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from moecap.errors import BadInputError
from moecap.metrics.corpus_scores import AGGREGATIONS, corpus_metrics


def _samples(aggregation, values):
    return [{"task": "t", "values": {"m": {"aggregation": aggregation, "value": value}}} for value in values]


def _score(aggregation, values):
    return corpus_metrics(_samples(aggregation, values))["task.t_m"]


def test_perplexities_by_hand():
    items = [[-10.0, 4], [-2.0, 2]]  # log-likelihood in nats, words or bytes
    assert _score("weighted_perplexity", items).value == pytest.approx(math.exp(12 / 6))
    assert _score("bits_per_byte", items).value == pytest.approx(2 / math.log(2))
    assert _score("perplexity", [-1.0, -3.0]).value == pytest.approx(math.exp(2))
    assert _score("mean", [1.0, 2.0, 6.0]).value == 3
    assert _score("median", [4.0, 1.0, 3.0, 2.0]).value == 3


@pytest.mark.parametrize("classes", [2, 4])
def test_f1_and_correlation_are_those_of_scikit_learn(classes):
    from sklearn.metrics import f1_score, matthews_corrcoef

    rng = np.random.default_rng(classes)
    gold = rng.integers(0, classes, 60)
    chosen = np.where(rng.random(60) < 0.6, gold, rng.integers(0, classes, 60))
    pairs = np.stack([gold, chosen], 1).tolist()
    assert _score("matthews", pairs).value == pytest.approx(matthews_corrcoef(gold, chosen))
    ones = f1_score(gold == 1, chosen == 1)
    assert _score("f1", pairs).value == pytest.approx(ones)


def test_a_side_that_never_changes_has_no_correlation_and_no_f1():
    assert _score("matthews", [[0, 1], [0, 0]]).value == 0
    assert _score("f1", [[0, 0], [0, 0]]).value == 0


def test_the_interval_is_that_of_resampled_items():
    values = list(np.random.default_rng(0).normal(5, 2, 400))
    score = _score("mean", values)
    assert score.low < score.value < score.high
    assert score.high - score.low == pytest.approx(2 * 1.96 * np.std(values) / 20, rel=0.15)
    assert _score("mean", values) == score


def test_what_cannot_be_joined_again_is_null_with_the_reason():
    score = _score("lm_eval.tasks.super_glue.cb.aggregate.cb_multi_fi", [[1, 0], [0, 0]])
    assert score.value is None and "cb_multi_fi" in score.reason and score.n == 2


@pytest.mark.parametrize(("aggregation", "value"), [("mean", "x"), ("mean", [1, 2]), ("f1", 1.0), ("mean", math.nan)])
def test_values_that_are_none_of_the_functions_are_refused(aggregation, value):
    with pytest.raises(BadInputError, match=r"a value of task\.t_m is not a"):
        _score(aggregation, [value])


def test_one_score_is_joined_in_one_way():
    with pytest.raises(BadInputError, match="is joined by mean and by median"):
        corpus_metrics([*_samples("mean", [1]), *_samples("median", [1])])
    assert all(width in (1, 2) for _, width in AGGREGATIONS.values())


def test_a_mean_of_zeros_and_ones_has_wilsons_interval_and_one_item_none():
    metric = _score("mean", [0.0, 0.0, 0.0])
    z2 = 1.959963984540054**2
    assert (metric.value, metric.low) == (0.0, 0.0)
    assert metric.high == pytest.approx(z2 / (3 + z2), rel=1e-12)  # Wilson at 0 of 3
    one = _score("perplexity", [-1.0])
    assert (one.low, one.high) == (None, None)
