"""Votes and calibration against hand calculation, Python's own counting, and scikit-learn."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from moecap.tasks.nesydm.calibration import expected_calibration_error, reliability
from moecap.tasks.nesydm.programs import Program, program_of
from moecap.tasks.nesydm.votes import STRATEGIES, Ballot, labels_by, marginals, most_frequent

SUM = Program("sum", lambda a, b: (a + b,), 2, 4, 1, 7)


def ballot_of(*samples):
    """One item's samples with their counts."""
    return Ballot(
        np.zeros(len(samples), int), np.array([concepts for concepts, _ in samples]), np.array([n for _, n in samples])
    )


def test_each_strategy_takes_another_label():
    """Sums: 3 has 3 + 2 votes, 4 has 4; whole vectors: (1, 3) has 4; modes of the concepts: 1 and 2."""
    ballot = ballot_of(((0, 3), 2), ((1, 2), 3), ((1, 3), 4), ((2, 2), 1), ((3, 2), 3))
    # labels: 3 -> 5, 4 -> 5, 5 -> 3: a tie, of which 3 comes first
    assert labels_by("ptm", ballot, SUM).tolist() == [[3]]
    assert labels_by("pmm", ballot, SUM).tolist() == [[3]]
    assert labels_by("tmp", ballot, SUM).tolist() == [[4]]
    # first concept: 1 has 7; second: 2 has 7, 3 has 6
    assert labels_by("mmp", ballot, SUM).tolist() == [[3]]


def test_whole_labels_and_single_outputs_can_differ():
    """Labels (0, 0) twice, (0, 1) and (1, 1) three times, (1, 0) four times."""
    pair = Program("pair", lambda a, b: (a, b), 2, 2, 2, 2)
    ballot = ballot_of(((0, 0), 2), ((0, 1), 3), ((1, 1), 3), ((1, 0), 4))
    assert labels_by("ptm", ballot, pair).tolist() == [[1, 0]]
    ballot = ballot_of(((0, 0), 3), ((0, 1), 3), ((1, 1), 2), ((1, 0), 4))
    assert labels_by("pmm", ballot, pair).tolist() == [[0, 0]]
    assert labels_by("ptm", ballot, pair).tolist() == [[1, 0]]


@settings(deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=5, max_size=5), min_size=1, max_size=4)
)
def test_votes_are_those_of_pythons_counting(samples):
    rows = [(item, concepts, n) for item, drawn in enumerate(samples) for concepts, n in Counter(drawn).items()]
    ballot = Ballot(*(np.array(column) for column in zip(*rows, strict=True)))
    program = program_of("half", 0)
    for strategy in STRATEGIES:
        found = labels_by(strategy, ballot, program)
        for item, drawn in enumerate(samples):
            if strategy in ("ptm", "pmm"):
                expected = _winner(a + b for a, b in drawn)
            elif strategy == "tmp":
                expected = sum(_winner(drawn))
            else:
                expected = sum(_winner(column) for column in zip(*drawn, strict=True))
            assert found[item].tolist() == [expected]


def _winner(votes):
    counts = Counter(votes)
    return min(counts, key=lambda value: (-counts[value], value))


def test_marginals_are_shares_of_an_items_samples():
    ballot = Ballot(np.array([1, 0, 0]), np.array([[0, 1], [2, 2], [0, 2]]), np.array([4, 3, 1]))
    shares = marginals(ballot, ballot.concepts, 3)
    assert shares.tolist() == [[[0.25, 0, 0.75], [0, 0, 1]], [[1, 0, 0], [0, 1, 0]]]
    assert most_frequent(ballot.item, ballot.concepts, ballot.count).tolist() == [[2, 2], [0, 1]]


def test_calibration_error_by_hand():
    """Two items at 0.95, one right; two at 0.65, both right: (2 |0.5 - 0.95| + 2 |1 - 0.65|) / 4."""
    shares = np.array([[[0.95, 0.05]], [[0.05, 0.95]], [[0.65, 0.35]], [[0.35, 0.65]]])
    gold = np.array([[0], [0], [0], [1]])
    assert expected_calibration_error(shares, gold) == pytest.approx((2 * 0.45 + 2 * 0.35) / 4)


def test_calibration_error_is_a_mean_over_concepts():
    """The first concept is sure and right, the second sure and wrong."""
    shares = np.tile(np.array([1.0, 0.0]), (5, 2, 1))
    gold = np.tile(np.array([0, 1]), (5, 1))
    assert expected_calibration_error(shares, gold) == pytest.approx(0.5)


def test_a_predictor_that_is_as_sure_as_it_should_be_has_hardly_an_error():
    draw = np.random.default_rng(0)
    shares = draw.dirichlet(np.ones(3), (20_000, 2))
    gold = (draw.random((20_000, 2, 1)) > shares.cumsum(-1)).sum(-1)
    assert expected_calibration_error(shares, gold) < 0.01


def test_bins_are_those_of_scikit_learn():
    draw = np.random.default_rng(1)
    sure = draw.uniform(0.5, 1, (300, 1))
    gold = (draw.random((300, 1)) > sure).astype(int)
    confidence, right, n = reliability(np.stack([sure, 1 - sure], axis=-1), gold)
    expected_right, expected_confidence = calibration_curve(1 - gold[:, 0], sure[:, 0], n_bins=10)
    inside = n[0] > 0
    np.testing.assert_allclose(right[0, inside], expected_right)
    np.testing.assert_allclose(confidence[0, inside], expected_confidence)


def test_a_share_on_the_border_of_two_bins_is_in_the_lower_one():
    shares = np.array([[[0.7, 0.3]], [[0.7 + 1e-6, 0.3 - 1e-6]]])
    assert reliability(shares, np.zeros((2, 1), int))[2][0].nonzero()[0].tolist() == [6, 7]
