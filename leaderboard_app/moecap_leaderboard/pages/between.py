"""What lies between two figures: its interval where both have one, and whether the two can be told apart."""

from __future__ import annotations

from moecap.metrics.difference import (
    Estimate,
    difference,
    ratio,
    spread_of,
    told_apart,
    welch_difference,
    welch_ratio,
)
from moecap.metrics.repeats import INTERVAL_FROM
from moecap.metrics.value import Metric
from moecap_leaderboard.pages.measures import Measure

__all__ = ["NEAR", "between", "disjoint", "tied"]

NEAR = 0.05
"""Relative difference up to which two figures are taken as equal where not both have an interval."""


def between(a: Measure, b: Measure, *, is_score: bool) -> Estimate | None:
    """The 95 % interval of the second minus the first for scores, else of the second over the first.

    Args:
        a: A figure.
        b: Another one, of an independent run.
        is_score: Whether they are scores.

    Returns:
        ``None`` where not both have a 95 % interval, or an end of a ratio is not above 0.
    """
    x, y = _estimate(a.metric), _estimate(b.metric)
    if not a.ends == b.ends == "confidence" or x is None or y is None:
        return None
    repeats = [metric.repeats or () for metric in (a.metric, b.metric)]
    if min(map(len, repeats)) >= INTERVAL_FROM:
        one, other = (spread_of(values) for values in repeats)
        assert one is not None and other is not None
        return welch_difference(one, other) if is_score else welch_ratio(one, other)
    return difference(x, y) if is_score else ratio(x, y)


def tied(a: Measure, b: Measure, *, is_score: bool) -> bool:
    """Whether two figures cannot be told apart.

    The interval between them holds that they are equal; of ends of another kind, the two meet; where not both have
    ends of one kind, they lie within 5 %.
    """
    if a.value is None or b.value is None:
        return False
    apart = between(a, b, is_score=is_score)
    if apart is not None:
        return not told_apart(apart, 0.0 if is_score else 1.0)
    if a.ends is not None and a.ends == b.ends:
        return not disjoint(a, b)
    return abs(b.value - a.value) <= NEAR * max(abs(a.value), abs(b.value))


def disjoint(a: Measure, b: Measure) -> bool:
    """Whether the ends of two figures share no value; false where one has none."""
    x, y = _estimate(a.metric), _estimate(b.metric)
    return x is not None and y is not None and (x.low > y.high or y.low > x.high)


def _estimate(metric: Metric) -> Estimate | None:
    if metric.value is None or metric.low is None or metric.high is None:
        return None
    return Estimate(metric.value, metric.low, metric.high)
