"""Distinct experts of a step by the popularity of experts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moecap.errors import BadInputError
from moecap.models.accounting import expected_distinct_experts
from moecap.projection.kernels import most_distinct, padded_rows
from moecap.projection.routing import UNIFORM, Popularity


def test_even_popularity_gives_the_expectation_of_the_accounting():
    tokens = np.array([1, 7, 64, 4096])
    np.testing.assert_allclose(UNIFORM.distinct(128, 8, tokens), expected_distinct_experts(128, 8, tokens))


def test_a_power_law_by_hand():
    # p = 1, 1/2 over 3/2: with k = 1 the first expert is chosen by 2/3 of the tokens, the other by 1/3.
    distinct = Popularity(exponent=1.0).distinct(2, 1, [1, 2])
    np.testing.assert_allclose(distinct, [1.0, (1 - (1 / 3) ** 2) + (1 - (2 / 3) ** 2)])


def test_no_expert_is_chosen_more_than_once_by_a_token():
    # Shares 0.8, 0.1, 0.1 of two choices: the first is always chosen, the other choice falls on the rest evenly.
    np.testing.assert_allclose(Popularity(histogram=(8, 1, 1)).probabilities(3, 2), [1.0, 0.5, 0.5])


@given(st.floats(0, 4), st.integers(2, 64), st.data())
def test_probabilities_sum_to_the_experts_of_a_token(exponent, experts, data):
    top_k = data.draw(st.integers(1, experts))
    chosen = Popularity(exponent).probabilities(experts, top_k)
    assert chosen.sum() == pytest.approx(top_k)
    assert chosen.max() <= 1.0
    assert Popularity(exponent).distinct(experts, top_k, 1) == pytest.approx(top_k)


@given(st.floats(0, 3), st.integers(1, 10_000))
def test_uneven_popularity_never_touches_more_experts(exponent, tokens):
    assert Popularity(exponent).distinct(64, 6, tokens) <= UNIFORM.distinct(64, 6, tokens) + 1e-9


def test_a_histogram_of_another_model_is_refused():
    with pytest.raises(BadInputError, match="the histogram has 3 experts and the model 8"):
        Popularity(histogram=(1, 2, 3)).distinct(8, 2, 5)


def test_rows_are_padded_to_whole_tiles():
    rows = padded_rows(np.array([0.0, 8.0, 64.0, 1024.0]), np.array([8.0, 8.0, 8.0, 8.0]))
    # none; one tile of 16 each; 8 rows in a tile of 16; 128 rows: 1 + 1/2 - 1/256 tiles of 128
    np.testing.assert_allclose(rows, [0.0, 128.0, 128.0, 8 * 128 * (1.5 - 1 / 256)])


def test_the_busiest_group_of_devices_holds_at_most_its_experts():
    assert most_distinct(np.array([16.0]), 16, 4) == pytest.approx(4.0)
    assert most_distinct(np.array([1.0]), 16, 4) == pytest.approx(1.0)
    assert most_distinct(np.array([6.4]), 16, 1) == pytest.approx(6.4)
    mean, spread = 6.4 / 4, np.sqrt(2 * np.log(4) * 0.75 * (6.4 / 4) * 0.6)
    assert most_distinct(np.array([6.4]), 16, 4) == pytest.approx(mean + spread)
