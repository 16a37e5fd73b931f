"""The comparison metric by metric: what lies between two values, its interval, how large it is, and what it says."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from moecap.comparison.side import Side
from moecap.metrics.accuracy import is_score
from moecap.metrics.difference import (
    Estimate,
    Spread,
    Verdict,
    difference,
    ratio,
    spread_of,
    verdict,
    welch_difference,
    welch_ratio,
)
from moecap.metrics.direction import Better, better_of
from moecap.metrics.paired import Paired, paired
from moecap.metrics.repeats import COUNTS, INTERVAL_FROM, repeat_values
from moecap.metrics.value import Metric, absent

__all__ = ["Effect", "Line", "Method", "compared", "line_of"]

Method = Literal["repeats", "within run", "same items", "stated intervals"]
"""What an interval rests on."""

SHOWN_BELOW = 0.05
"""Probability of McNemar's test below which a difference of scores counts as shown."""


@dataclass(frozen=True, slots=True)
class Effect:
    """How large a difference is beside the spread of what it is between.

    Attributes:
        name: Which measure it is.
        value: Its value.
    """

    name: str
    value: float


@dataclass(frozen=True, slots=True)
class Line:
    """One metric of two sides.

    Attributes:
        name: Its name.
        better: Which direction is better.
        a: The first side's.
        b: The second side's.
        difference: B minus A, with its 95 % interval where there is one.
        ratio: B over A likewise; ``None`` where one is not above 0.
        method: What the intervals rest on; ``None`` where there is none.
        why: Why there is no interval, or no difference; empty where there is.
        effect: How large the difference is beside the spread; ``None`` where that is not known.
        p: McNemar's probability, of scores on the same items.
        verdict: What may be said of B; ``None`` without an interval.
    """

    name: str
    better: Better
    a: Metric
    b: Metric
    difference: Estimate | float | None
    ratio: Estimate | float | None
    method: Method | None
    why: str
    effect: Effect | None = None
    p: float | None = None
    verdict: Verdict | None = None

    @property
    def is_score(self) -> bool:
        """Whether it is a score, which is subtracted and not divided."""
        return self.name.startswith("accuracy.")

    def content(self) -> dict[str, Any]:
        """The line as JSON."""
        return {
            "a": self.a.value,
            "b": self.b.value,
            "unit": self.a.unit if self.a.value is not None else self.b.unit,
            "better": self.better,
            "difference": _estimate(self.difference),
            "ratio": _estimate(self.ratio),
            "interval_from": self.method,
            "reason": self.why or None,
            "effect": None if self.effect is None else {"name": self.effect.name, "value": self.effect.value},
            "p": self.p,
            "verdict": self.verdict,
        }


def compared(a: Side, b: Side) -> list[Line]:
    """Every metric that one of the two has a value of, in the order of the first."""
    names = dict.fromkeys([*a.metrics, *b.metrics])
    lines = [line_of(a, b, name) for name in names if not name.endswith("_stderr")]
    return [line for line in lines if line.a.value is not None or line.b.value is not None]


def line_of(a: Side, b: Side, name: str) -> Line:
    """One metric of two sides."""
    missing = absent("1", "not in this result")
    x, y = a.metrics.get(name, missing), b.metrics.get(name, missing)
    better = better_of(name)
    if x.value is None or y.value is None:
        lacking = "A" if x.value is None else "B"
        reason = x.reason if x.value is None else y.reason
        return Line(name, better, x, y, None, None, None, f"{lacking} has no value: {reason}")
    gap: Estimate | float = y.value - x.value
    quotient: Estimate | float | None = y.value / x.value if x.value > 0 and y.value >= 0 else None
    if name.startswith("accuracy.") and (items := _same_items(a, b, name)) is not None:
        return _of_items(Line(name, better, x, y, items.gap, quotient, "same items", ""), items)
    of = [max(1, len(metric.repeats or ())) for metric in (x, y)]
    if name in COUNTS and of[0] != of[1]:
        return Line(name, better, x, y, None, None, None, f"a count over {of[0]} and over {of[1]} repeats")
    found = _interval(a, b, name, x, y)
    if isinstance(found, str):
        return Line(name, better, x, y, gap, quotient, None, found)
    method, gap_found, quotient_found, effect = found
    line = Line(name, better, x, y, gap_found, quotient_found or quotient, method, "", effect)
    apart: tuple[Estimate, float] = (gap_found, 0.0)
    if quotient_found is not None and not line.is_score:
        apart = (quotient_found, 1.0)
    return replace(line, verdict=verdict(*apart, better))


Found = tuple[Method, Estimate, Estimate | None, Effect | None]


def _interval(a: Side, b: Side, name: str, x: Metric, y: Metric) -> Found | str:
    """The intervals between two values, or why there are none."""
    ours, theirs = repeat_values(a.metrics, name), repeat_values(b.metrics, name)
    if min(len(ours), len(theirs)) >= INTERVAL_FROM:
        if name in COUNTS:  # what is stated is the sum over the repeats
            ours, theirs = tuple(v * len(ours) for v in ours), tuple(v * len(theirs) for v in theirs)
        one, other = spread_of(ours), spread_of(theirs)
        assert one is not None and other is not None
        return "repeats", welch_difference(one, other), welch_ratio(one, other), _hedges(ours, theirs)
    first, second = a.spreads.get(name), b.spreads.get(name)
    if isinstance(first, Spread) and isinstance(second, Spread):
        gap, quotient = welch_difference(first, second), welch_ratio(first, second)
        return "within run", gap, quotient, _cliff(a, b, name)
    stated = [_stated(metric) for metric in (x, y)]
    if name.startswith(("accuracy.", "task.")) and stated[0] is not None and stated[1] is not None:
        return "stated intervals", difference(stated[0], stated[1]), ratio(stated[0], stated[1]), _cohen(name, x, y)
    return _why_none(a, b, name)


def _why_none(a: Side, b: Side, name: str) -> str:
    if a.kind == "projected" or b.kind == "projected":
        return "the errors of two projections are not independent, so that no interval of their difference follows"
    for side, of in (("A", a), ("B", b)):
        if isinstance(reason := of.spreads.get(name), str):
            return f"{side}: {reason}"
    if not a.spreads or not b.spreads:
        without = "A" if not a.spreads else "B"
        return f"{without} has neither {INTERVAL_FROM} repeats nor observations to resample"
    return f"no interval of this metric follows from within a run; {INTERVAL_FROM} repeats of both give one"


def _stated(metric: Metric) -> Estimate | None:
    if metric.value is None or metric.low is None or metric.high is None or metric.basis is not None:
        return None
    return Estimate(metric.value, metric.low, metric.high)


def _same_items(a: Side, b: Side, name: str) -> Paired | None:
    """The paired comparison of a score; ``None`` where the two did not answer the same items."""
    ours, theirs = a.scores.get(name), b.scores.get(name)
    if not ours or not theirs or ours.keys() != theirs.keys():
        return None
    pairs = [(x, y) for item in ours for x, y in zip(ours[item].values(), theirs[item].values(), strict=True)]
    return paired([x for x, _ in pairs], [y for _, y in pairs])


def _of_items(line: Line, items: Paired) -> Line:
    """A difference of scores is shown if its interval leaves out 0 and, of right and wrong, McNemar's test agrees."""
    said = verdict(items.gap, 0.0, line.better)
    if items.p is not None and items.p >= SHOWN_BELOW:
        said = "no difference shown"
    effect = None if items.effect is None else Effect("d of the items' differences", items.effect)
    return replace(line, effect=effect, p=items.p, verdict=said)


def _hedges(a: tuple[float, ...], b: tuple[float, ...]) -> Effect | None:
    """Hedges' g: the difference of two means over their pooled standard deviation, corrected for few repeats."""
    freedom = len(a) + len(b) - 2
    within = float(np.var(a, ddof=1) * (len(a) - 1) + np.var(b, ddof=1) * (len(b) - 1)) / freedom
    if within <= 0:
        return None
    return Effect("Hedges' g", float(np.mean(b) - np.mean(a)) / math.sqrt(within) * (1 - 3 / (4 * freedom - 1)))


def _cliff(a: Side, b: Side, name: str) -> Effect | None:
    """Cliff's delta: how much more often a request of B took longer than one of A, than the other way round."""
    kind, _, _ = name.partition(".p")
    ours, theirs = a.values.get(kind), b.values.get(kind)
    if ours is None or theirs is None or not len(ours) or not len(theirs):
        return None
    return Effect("Cliff's delta", _delta(np.sort(ours), theirs))


def _delta(ordered: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> float:
    less = np.searchsorted(ordered, values, side="left")
    more = len(ordered) - np.searchsorted(ordered, values, side="right")
    return float((less - more).sum() / (len(ordered) * len(values)))


def _cohen(name: str, x: Metric, y: Metric) -> Effect | None:
    """Cohen's h of two shares."""
    if not is_score(name) or x.value is None or y.value is None or not all(0 <= v <= 1 for v in (x.value, y.value)):
        return None
    return Effect("Cohen's h", 2 * math.asin(math.sqrt(y.value)) - 2 * math.asin(math.sqrt(x.value)))


def _estimate(found: Estimate | float | None) -> dict[str, float | None] | None:
    if found is None:
        return None
    if isinstance(found, Estimate):
        ends = [end if math.isfinite(end) else None for end in (found.low, found.high)]
        return {"value": found.value, "low": ends[0], "high": ends[1]}
    return {"value": found, "low": None, "high": None}
