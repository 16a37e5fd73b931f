"""Which load is tried next: against tables of loads that hold, made by hand and by Hypothesis."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moecap.search.bisection import Axis, answer, next_load


def _searched(axis, holds):
    """What a search tries of loads of which ``holds`` says whether each does."""
    held = {}
    while (load := next_load(axis, held)) is not None:
        assert load not in held, "a load was tried twice"
        held[load] = holds(load)
    return held


def test_loads_are_doubled_until_one_does_not_hold_and_then_halved():
    held = _searched(Axis("concurrency", 1, 256, 0.0), lambda load: load <= 11)
    assert list(held) == [1, 2, 4, 8, 16, 12, 10, 11]
    assert answer(held) == 11


def test_a_start_that_does_not_hold_is_halved():
    assert list(_searched(Axis("concurrency", 12, 256, 0.0), lambda load: load <= 4)) == [12, 6, 3, 4, 5]
    assert answer(_searched(Axis("concurrency", 12, 256, 0.0), lambda load: False)) is None


def test_nothing_above_the_largest_load_is_tried():
    held = _searched(Axis("concurrency", 3, 20, 0.0), lambda load: True)
    assert list(held) == [3, 6, 12, 20]


def test_a_search_goes_on_from_what_is_known():
    assert next_load(Axis("concurrency", 1, 256, 0.05), {1: True, 2: True, 4: False}) == 3
    assert next_load(Axis("concurrency", 1, 256, 0.05), {8: False, 4: True, 6: False, 5: True}) is None


@given(st.integers(1, 400), st.integers(1, 300), st.integers(0, 2000))
def test_the_largest_concurrency_that_holds_is_found_exactly(start, span, limit):
    axis = Axis("concurrency", start, start + span, 0.0)
    held = _searched(axis, lambda load: load <= limit)
    assert answer(held) == (None if limit < 1 else min(limit, start + span) if start <= limit else limit)


@given(st.floats(0.05, 50), st.floats(0.001, 1000), st.sampled_from([0.01, 0.05, 0.2]))
def test_a_rate_is_found_within_the_resolution(start, limit, resolution):
    axis = Axis("rate", start, start * 1000, resolution)
    held = _searched(axis, lambda load: load <= limit)
    low = answer(held)
    if low is None:
        assert min(held) <= 1.01 * start / 1024
    elif limit < 990 * start:
        high = min(load for load, holds in held.items() if not holds)
        # three digits may leave nothing between two rates that are further apart
        assert low <= limit < high and high / low <= max(1 + resolution, 1.021)


@given(st.sets(st.integers(1, 300)), st.integers(1, 40), st.integers(40, 300))
def test_the_answer_is_the_largest_load_that_was_tried_and_holds_however_they_lie(good, start, most):
    held = _searched(Axis("concurrency", start, most, 0.05), lambda load: load in good)
    found = answer(held)
    assert found == max((load for load in held if load in good), default=None)
    if found is not None and found < most:
        above = [load for load in held if load > found]
        assert above and not any(held[load] for load in above)
        assert min(above) <= found * 1.05 or min(above) == found + 1


@pytest.mark.parametrize("rate", [1234.5, 0.0123456])
def test_rates_have_three_digits(rate):
    assert next_load(Axis("rate", rate, 10_000, 0.05), {}) == float(f"{rate:.3g}")
