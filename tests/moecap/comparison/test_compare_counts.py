"""Counts over repeats, and limits where the baseline is none: what is compared is what is shown."""

from types import SimpleNamespace

import pytest

from moecap.comparison.limits import checked, read_limits
from moecap.comparison.lines import line_of
from moecap.metrics.value import Metric


def side(*repeats, name="failed_requests"):
    """A side whose metric is the sum over some repeats."""
    stated = Metric(
        value=float(sum(repeats)), unit="requests", n=len(repeats), repeats=repeats if repeats[1:] else None
    )
    return SimpleNamespace(metrics={name: stated}, spreads={}, kind="measured")


def test_a_count_over_repeats_differs_by_the_difference_of_the_sums_that_are_shown():
    line = line_of(side(10.0, 11.0, 12.0), side(20.0, 21.0, 22.0), "failed_requests")
    assert (line.a.value, line.b.value) == (33, 63)
    assert line.difference.value == pytest.approx(30)
    assert line.ratio.value == pytest.approx(21 / 11)
    assert line.verdict == "worse"
    # Welch by hand: each mean has a standard error of 1/sqrt(3), three of both 3*sqrt(2/3); t(4 degrees) = 2.7764
    assert line.difference.high - 30 == pytest.approx(2.7764 * 3 * (2 / 3) ** 0.5, rel=1e-4)


def test_counts_over_other_numbers_of_repeats_are_not_set_against_each_other():
    line = line_of(side(1.0, 1.0, 1.0), side(1.0, 1.0, 1.0, 1.0), "failed_requests")
    assert (line.difference, line.ratio, line.verdict) == (None, None, None)
    assert line.why == "a count over 3 and over 4 repeats"


def test_a_limit_from_nothing_fails_only_where_the_difference_is_shown():
    limits = read_limits(["failed_requests:5%"])
    unsure = line_of(side(0.0, 0.0, 0.0), side(0.0, 0.0, 1.0), "failed_requests")
    assert unsure.verdict == "no difference shown"
    assert not checked(limits, {"failed_requests": unsure})[0].failed
    plain = line_of(side(0.0), side(9.0), "failed_requests")
    assert plain.verdict is None
    assert checked(limits, {"failed_requests": plain})[0].failed
