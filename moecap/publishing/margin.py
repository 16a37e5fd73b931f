"""When a repeated run agrees with the one that it repeats: each metric within its stated margin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from moecap.metrics.accuracy import is_score
from moecap.metrics.value import Metric

__all__ = ["MARGINS", "Comparison", "compare_runs"]

MARGINS = {"output_tokens_per_second": 0.10, "tpot.p50": 0.10, "ttft.p50": 0.25}
"""Largest relative difference from the first run's value; of ``accuracy.*`` the 95 % intervals must overlap instead."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of two runs.

    Attributes:
        metric: Its name.
        original: Its value in the run that is repeated.
        repeated: Its value in the other.
        margin: The largest relative difference; null where intervals are compared.
        within: Whether the two agree.
    """

    metric: str
    original: float
    repeated: float
    margin: float | None
    within: bool


def compare_runs(original: Mapping[str, Metric], repeated: Mapping[str, Metric]) -> tuple[Comparison, ...]:
    """Every metric that counts and that both runs have; none where they share none."""
    found: list[Comparison] = []
    for name in sorted(original.keys() & repeated.keys()):
        a, b = original[name], repeated[name]
        if a.value is None or b.value is None:
            continue
        if name in MARGINS:
            margin = MARGINS[name]
            found.append(Comparison(name, a.value, b.value, margin, abs(b.value - a.value) <= margin * abs(a.value)))
        elif name.startswith("accuracy.") and is_score(name):
            found.append(Comparison(name, a.value, b.value, None, _overlap(a, b)))
    return tuple(found)


def _overlap(a: Metric, b: Metric) -> bool:
    if None in (a.low, a.high, b.low, b.high):
        return a.value == b.value
    assert a.low is not None and a.high is not None and b.low is not None and b.high is not None
    return a.low <= b.high and b.low <= a.high
