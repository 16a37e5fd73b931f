"""Overlap of selections, its probability by chance, and Holm's correction."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from moecap.tasks.neuron_probe.genera import genus_of
from moecap.tasks.neuron_probe.overlap import holm, overlap, probability_of_sharing
from moecap.tasks.neuron_probe.pairs import Selected, pairs_of

UNITS = st.frozensets(st.integers(0, 40), min_size=1, max_size=20)


@given(UNITS, UNITS)
def test_overlap_is_symmetric_and_one_with_itself(one, other):
    assert overlap(one, other) == overlap(other, one)
    assert overlap(one, one) == 1
    assert 0 <= overlap(one, other) <= 1


@pytest.mark.parametrize(
    ("units", "one", "other"), [(768, 50, 50), (1024, 50, 50), (120, 10, 10), (60, 8, 20), (9, 9, 9)]
)
def test_the_probability_of_sharing_is_that_of_the_hypergeometric_distribution(units, one, other):
    for shared in range(min(one, other) + 2):
        expected = hypergeom.sf(shared - 1, units, one, other)
        assert probability_of_sharing(shared, units, one, other) == pytest.approx(expected, rel=1e-8, abs=1e-300)
    mean = sum(probability_of_sharing(shared, units, one, other) for shared in range(1, min(one, other) + 1))
    assert mean == pytest.approx(one * other / units)


def test_drawn_subsets_share_as_often_as_the_probability_says():
    random = np.random.default_rng(0)
    fixed = set(range(50))
    shared = np.array([len(fixed & set(random.choice(384, 50, replace=False).tolist())) for _ in range(4000)])
    for at_least in (4, 7, 10):
        assert (shared >= at_least).mean() == pytest.approx(probability_of_sharing(at_least, 384, 50, 50), abs=0.04)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])  # only the first is below 0.05
    assert holm([0.02]) == [0.02]
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_what_its_step_down_rule_rejects(probabilities):
    """The rule as Holm states it: in ascending order, stop at the first p above 0.05 / (m - rank)."""
    order = sorted(range(len(probabilities)), key=lambda i: probabilities[i])
    kept = itertools.takewhile(lambda at: probabilities[at[1]] * (len(probabilities) - at[0]) <= 0.05, enumerate(order))
    rejected = {i for _, i in kept}
    assert {i for i, p in enumerate(holm(probabilities)) if p <= 0.05} == rejected


def test_pairs_are_of_one_attribute_and_seed_and_are_corrected_together():
    planted = {"it": {0, 1, 2, 3}, "es": {0, 1, 2, 3}, "de": {4, 5, 6, 7}}
    selections = [Selected(language, "Number", 0, frozenset(units)) for language, units in planted.items()]
    selections += [Selected("es", "Number", 1, frozenset({0})), Selected("es", "Tense", 0, frozenset({0}))]
    pairs = {pair.languages: pair for pair in pairs_of(selections, 40)}
    assert set(pairs) == {("de", "es"), ("de", "it"), ("es", "it")}
    assert pairs["es", "it"].overlap == 1
    assert pairs["es", "it"].adjusted == pytest.approx(3 * hypergeom.sf(3, 40, 4, 4))
    assert [pair.significant for pair in pairs.values()].count(True) == 1
    assert (pairs["es", "it"].same_genus, pairs["de", "es"].same_genus) == (True, False)


def test_random_selections_overlap_by_chance_and_hardly_a_pair_is_significant():
    random = np.random.default_rng(1)
    selections = [
        Selected(f"l{i}", "Case", 0, frozenset(random.choice(768, 50, replace=False).tolist())) for i in range(30)
    ]
    pairs = pairs_of(selections, 768)
    assert np.mean([pair.overlap for pair in pairs]) == pytest.approx(50 / 768, abs=0.005)
    assert sum(pair.significant for pair in pairs) <= 1


def test_genera_are_known_by_the_codes_of_treebanks_and_of_unimorph():
    assert genus_of("fr") == genus_of("fra") == genus_of("pt_br") == "Romance"
    assert genus_of("no") == "Germanic"
    assert genus_of("fi") != genus_of("hu")
    assert genus_of("qq") is None
