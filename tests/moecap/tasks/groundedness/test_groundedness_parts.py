"""Correction, alignment and ranking of groundedness, each against its definition, SciPy, or a closed form."""

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from moecap.errors import BadInputError
from moecap.tasks.groundedness.alignment import words_of_tokens
from moecap.tasks.groundedness.controls import another
from moecap.tasks.groundedness.correction import corrected
from moecap.tasks.groundedness.digits import CLASSES, closed_form, template
from moecap.tasks.groundedness.expert_load import divergence, entropy
from moecap.tasks.groundedness.measures import bits
from moecap.tasks.groundedness.ranking import kendall_tau, spearman, weighted_tau

NUMBERS = st.floats(-5, 5, allow_subnormal=False)


def test_the_end_of_a_word_moves_to_the_word_by_hand():
    """Caption 0: a |_dog| s |end; caption 1: one token and the end. Masses stand only where a token opens."""
    log_p = np.array([-1.0, -2.0, -0.5, -0.7, -3.0, -0.2])
    mass = np.array([-0.1, -0.4, -9.0, -0.3, -9.0, -0.05])
    opens = np.array([False, True, False, True, False, True])
    found = corrected(log_p, mass, opens, np.array([0, 0, 0, 0, 1, 1]))
    assert found == pytest.approx([-1.4, -1.6, -0.8, -0.4, -3.05, -0.15])


@given(
    st.lists(st.tuples(st.integers(0, 3), st.floats(-20, 0), st.floats(-20, 0), st.booleans()), min_size=1, max_size=40)
)
def test_the_correction_keeps_the_sum_of_a_caption_but_for_a_first_token_that_opens(rows):
    rows = sorted(rows, key=lambda row: row[0])
    caption, log_p, mass, opens = (np.array(column) for column in zip(*rows, strict=True))
    found = corrected(log_p, mass, opens, caption)
    for number in set(caption.tolist()):
        own = np.flatnonzero(caption == number)
        lost = mass[own[0]] if opens[own[0]] else 0.0
        assert found[own].sum() == pytest.approx(log_p[own].sum() - lost, abs=1e-9)


def _words(text):
    spans, position = [], 0
    for word in text.split():
        start = text.index(word, position)
        position = start + len(word)
        spans.append((start, position))
    return spans


@pytest.mark.parametrize(
    ("text", "tokens", "found"),
    [
        ("a red dog", [(0, 1), (1, 5), (5, 9)], [0, 1, 2]),
        ("a reddish", [(0, 1), (1, 5), (5, 9)], [0, 1, 1]),
        ("a red dog", [(0, 3), (3, 5), (5, 9)], [None, None, 2]),  # a token over a border takes its words away
        ("an été", [(0, 2), (2, 4), (3, 5), (5, 6)], [0, 1, 1, 1]),  # two tokens share a character's bytes
        ("a dog", [(0, 2), (2, 5)], [None, 1]),  # white space at the end of a token is over the border
        ("a  dog", [(0, 1), (1, 2), (2, 6)], [0, None, 1]),  # a token of white space alone is of no word
        ("a red", [(0, 1), (1, 4)], [0, None]),  # a word whose end no token has
    ],
)
def test_a_word_counts_where_its_tokens_begin_and_end_with_it(text, tokens, found):
    assert words_of_tokens(text, tokens, _words(text)) == found


def test_words_that_are_not_given_have_no_tokens():
    assert words_of_tokens("in the tub", [(0, 2), (2, 6), (6, 10)], [(0, 2), (7, 10)]) == [0, None, 1]


@given(st.lists(st.tuples(st.integers(0, 4), NUMBERS), min_size=2, max_size=13), st.booleans())
def test_agreements_are_scipys(pairs, tied):
    x = np.array([p[0] for p in pairs], float)
    y = np.array([round(p[1]) if tied else p[1] for p in pairs], float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SciPy warns of constant columns
        expected = [f(x, y).statistic for f in (stats.kendalltau, stats.weightedtau, stats.spearmanr)]
    for function, wanted in zip((kendall_tau, weighted_tau, spearman), expected, strict=True):
        found = function(x, y)
        assert (math.isnan(wanted) and found is None) or found == pytest.approx(wanted, abs=1e-9)


def test_a_bit_is_a_share_of_a_nat():
    assert bits(math.log(2)) == pytest.approx(1)
    assert bits(1.0) == pytest.approx(1 / math.log(2))


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6), st.integers(0, 5))
def test_divergence_is_symmetric_bounded_and_zero_for_the_same(weights, turn):
    one = np.array(weights) + 1e-6
    one /= one.sum()
    other = np.roll(one, turn)
    assert float(divergence(one, other)) == pytest.approx(float(divergence(other, one)), abs=1e-12)
    assert -1e-12 <= divergence(one, other) <= 1
    assert float(divergence(one, one)) == pytest.approx(0, abs=1e-12)


def test_divergence_and_entropy_by_hand():
    assert float(divergence(np.array([1.0, 0.0]), np.array([0.0, 1.0]))) == 1
    # halves against a quarter and three quarters: H(3/8, 5/8) - (1 + H(1/4, 3/4)) / 2
    expected = 0.954434002924965 - (1 + 0.8112781244591328) / 2
    assert float(divergence(np.array([0.5, 0.5]), np.array([0.25, 0.75]))) == pytest.approx(expected)
    assert entropy(np.array([[0.25] * 4, [1.0, 0, 0, 0]])) == pytest.approx([1, 0])


@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=30), st.integers(0, 9))
def test_another_is_about_something_else(about, seed):
    if len(set(about)) == 1:
        with pytest.raises(BadInputError, match="all captions are about the same"):
            another(about, seed)
        return
    found = another(about, seed)
    assert all(about[i] != about[other] for i, other in enumerate(found))
    if len(set(about)) == len(about):
        assert sorted(found) == list(range(len(about)))


# The closed form: every caption that the template makes, so often as its digit and ink occur.


def _world(counts):
    return [template(d, bold, "has") for (d, bold), n in counts.items() for _ in range(n)]


COUNTS = st.fixed_dictionaries({pair: st.integers(1, 4) for pair in itertools.product((1, 3, 8), (True, False))})


@given(COUNTS)
@settings(max_examples=30)
def test_the_mean_of_the_closed_form_is_the_mutual_information(counts):
    """Of picture and caption: the picture tells all but the verb, so it is the entropy of digit and ink together."""
    world = _world(counts)
    found = closed_form(world, world)
    p = np.array(list(counts.values())) / sum(counts.values())
    assert found.sum(1).mean() == pytest.approx(float(-(p * np.log(p)).sum()))
    assert (found.mean(0) >= -1e-12).all()  # calibrated models: no class below zero


@given(COUNTS)
@settings(max_examples=30)
def test_the_article_carries_the_digit_and_the_noun_after_it_nothing(counts):
    world = _world(counts)
    found = closed_form(world, world)
    for row, words in zip(found, world, strict=True):
        alike = [w for w in world if w[1] == words[1]]
        share = sum(w[4] == words[4] for w in alike) / len(alike)
        assert row[4] == pytest.approx(-math.log(share))
        assert row[CLASSES.index("NOUN")] == row[CLASSES.index("VERB")] == 0
        if words[5] == "eight":
            assert row[5] == 0


@given(COUNTS)
@settings(max_examples=30)
def test_a_word_in_several_tokens_has_the_groundedness_of_the_word(counts):
    """The numeral spelled as letters, with consistent models: the letters' differences sum to the numeral's."""
    world = _world(counts)
    whole = closed_form(world, world)
    for row, words in zip(whole, world, strict=True):
        alike = [w for w in world if (w[1], w[4]) == (words[1], words[4])]
        letters = 0.0
        for length in range(len(words[5]) + 1):  # the last step is the end of the word
            before = [w for w in alike if w[5][:length] == words[5][:length]]
            if length == len(words[5]):
                after = [w for w in before if w[5] == words[5]]
            else:
                after = [w for w in before if w[5][: length + 1] == words[5][: length + 1]]
            letters -= math.log(len(after) / len(before))
        assert letters == pytest.approx(row[5])
