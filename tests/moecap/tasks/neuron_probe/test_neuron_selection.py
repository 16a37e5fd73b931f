"""Greedy selection and what it tells: planted units, brute force, and bounds of the information."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax

from moecap.tasks.neuron_probe.probe import fit_probe
from moecap.tasks.neuron_probe.selection import Judge, information, select, value_entropy
from moecap.tasks.neuron_probe.settings import Schedule

PLANTED = (3, 11, 17)


def planted(n, seed):
    """Vectors of 20 units, and values that are told by three of them alone: the one that is greatest."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(n, 20)).astype(np.float32)
    return vectors, vectors[:, PLANTED].argmax(-1)


@pytest.mark.parametrize(("scheme", "entropy"), [("poisson", 0.02), ("conditional", 0.02)])
def test_units_that_alone_tell_the_value_are_found_first_and_drawn_most(scheme, entropy):
    x, y = planted(600, 0)
    probe = fit_probe(x, y, 3, Schedule(scheme, 40, 100, 0.02, 5, entropy, 0), 1)
    judge = Judge(*planted(200, 1), probe.weight, probe.bias)
    assert {choice.unit for choice in select(judge, 3)} == set(PLANTED)
    others = np.delete(probe.inclusion, PLANTED)
    assert probe.inclusion[[*PLANTED]].min() > others.max()


def test_training_stops_when_held_out_words_are_told_no_better_and_two_trainings_are_alike():
    x, y = planted(200, 0)
    schedule = Schedule("poisson", 300, 0, 0.05, 5, 1.0, 5)
    one, other = (fit_probe(x, y, 3, schedule, 7) for _ in range(2))
    assert 5 < one.epochs < 300
    np.testing.assert_array_equal(one.weight, other.weight)
    np.testing.assert_array_equal(one.inclusion, other.inclusion)
    assert not np.array_equal(one.weight, fit_probe(x, y, 3, schedule, 8).weight)


def test_of_few_words_one_is_held_out_where_training_may_stop():
    x, y = planted(6, 0)
    probe = fit_probe(x, y, 3, Schedule("poisson", 400, 0, 0.05, 5, 0.0, 4), 7)
    assert probe.epochs > 4  # nothing held out has no loss, which never gets better


def bits_by_hand(vectors, gold, weight, bias, units):
    mask = np.isin(np.arange(vectors.shape[1]), units)
    logs = log_softmax((vectors * mask).astype(np.float64) @ weight.T + bias, axis=-1)
    return -logs[np.arange(len(gold)), gold].sum() / np.log(2)


def test_each_unit_is_the_best_one_by_trying_all():
    random = np.random.default_rng(2)
    x, y = random.normal(size=(60, 9)), random.integers(0, 3, 60)
    weight, bias = random.normal(size=(3, 9)), random.normal(size=3)
    choices = select(Judge(x, y, weight, bias), 9)
    taken = []
    for choice in choices:
        tried = {u: bits_by_hand(x, y, weight, bias, [*taken, u]) for u in range(9) if u not in taken}
        assert choice.unit == min(tried, key=tried.__getitem__)
        assert choice.bits == pytest.approx(tried[choice.unit])
        taken.append(choice.unit)
    assert sorted(taken) == list(range(9))


def test_many_words_and_values_are_tried_in_parts_with_the_same_bits(monkeypatch):
    random = np.random.default_rng(5)
    args = (random.normal(size=(30, 12)), random.integers(0, 4, 30), random.normal(size=(4, 12)), np.zeros(4))
    whole = Judge(*args).candidates()
    monkeypatch.setattr("moecap.tasks.neuron_probe.selection.MOST_NUMBERS", 30 * 4 * 5)
    assert Judge(*args).candidates().tolist() == pytest.approx(whole.tolist())


def test_answers_are_those_of_the_masked_probe():
    random = np.random.default_rng(3)
    x, y = random.normal(size=(50, 6)), random.integers(0, 2, 50)
    weight, bias = random.normal(size=(2, 6)), random.normal(size=2)
    judge = Judge(x, y, weight, bias)
    judge.add(np.array([1, 4]))
    mask = np.array([0, 1, 0, 0, 1, 0])
    assert judge.answers().chosen.tolist() == ((x * mask) @ weight.T + bias).argmax(-1).tolist()
    assert judge.answers().bits == pytest.approx(bits_by_hand(x, y, weight, bias, [1, 4]))


@given(st.lists(st.integers(0, 3), min_size=2, max_size=40), st.lists(st.floats(-5, 5), min_size=4, max_size=4))
def test_with_no_unit_nothing_is_told(gold, bias):
    gold = np.array(gold)
    if len(set(gold.tolist())) < 2:
        return
    judge = Judge(np.zeros((len(gold), 3)), gold, np.zeros((4, 3)), np.array(bias))
    assert information(judge.answers().bits, np.bincount(gold, minlength=4)) <= 1e-12


def test_information_by_hand():
    counts = np.array([2, 2, 4])
    assert value_entropy(counts) == pytest.approx(1.5)
    assert information(0.0, counts) == 1
    assert information(8 * 1.5, counts) == pytest.approx(0)
    assert information(6.0, counts) == pytest.approx(0.5)
