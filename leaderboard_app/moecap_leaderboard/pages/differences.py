"""Two rows metric by metric: both values, their difference with its interval, and whether it is more than noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moecap.metrics.difference import Estimate, told_apart
from moecap.metrics.direction import Better, better_of
from moecap_leaderboard.metrics import HEADLINES
from moecap_leaderboard.pages.between import between, disjoint
from moecap_leaderboard.pages.measures import QUANTITIES, IntervalKind, Measure, measure, stated_measure
from moecap_leaderboard.pages.naming import listed, plural

__all__ = ["METHOD", "Line", "lines", "summary"]

METHOD = (
    "Where both values have a 95 % interval and come from two runs, the interval of their difference follows from the "
    "two by the method of variance estimates recovery (Newcombe 1998, method 10; Zou and Donner 2008): the distances "
    "from each value to its ends add in quadrature. Where both runs were repeated three times or more it is Welch's "
    "over the repeats. Scores are subtracted; all else is divided, on the logarithm. A difference is told apart from "
    "noise if its interval leaves out 0 (a ratio: 1). The two runs are taken as independent: of scores on the same "
    "questions the interval is wider than it would have to be. The speed of a run without repeats has no interval "
    "here. Intervals of projections say where 80 % of published measurements lay; the errors of two projections are "
    "not independent, so no interval of their difference follows."
)


@dataclass(frozen=True, slots=True)
class Line:
    """One metric of two rows.

    Attributes:
        name: What it is.
        better: Which direction is better.
        a: The first row's.
        b: The second row's.
        apart: The second minus the first for a score, else the second over the first; ``None`` where one has none.
        interval: Its 95 % interval, where both have one.
        is_score: Whether ``apart`` is a difference and not a ratio.
        clear: Whether it is more than noise; ``None`` where that cannot be said.
        why: Why it cannot be said; empty where it can.
    """

    name: str
    better: Better
    a: Measure
    b: Measure
    apart: float | None
    interval: Estimate | None
    is_score: bool
    clear: bool | None
    why: str


def lines(a: Mapping[str, Any], b: Mapping[str, Any], prices: Mapping[str, float]) -> list[Line]:
    """Every quantity that one of two rows gives, then every other metric that one of them states.

    Args:
        a: A row.
        b: Another one.
        prices: Dollars an hour of one device by id of the hardware, in place of what is known.
    """
    found = [
        _line(quantity.name, quantity.better, measure(a, key, prices), measure(b, key, prices), key == "accuracy")
        for key, quantity in QUANTITIES.items()
    ]
    names = [headline.name for headline in HEADLINES]
    names += [n for n in dict.fromkeys([*a["metrics"], *b["metrics"]]) if n.startswith(("accuracy.", "task."))]
    quantities = list(found)
    for name in names:
        one, other = stated_measure(a, name), stated_measure(b, name)
        if not any(_same(line, one, other) for line in quantities):
            found.append(_line(name, better_of(name), one, other, name.startswith("accuracy.")))
    return [line for line in found if line.a.value is not None or line.b.value is not None]


def _same(line: Line, a: Measure, b: Measure) -> bool:
    """Whether a quantity is this very metric of both rows."""
    pairs = ((line.a.value, a.value), (line.b.value, b.value))
    return all(x is not None and y is not None and math.isclose(x, y) for x, y in pairs)


def _line(name: str, better: Better, a: Measure, b: Measure, is_score: bool) -> Line:
    apart = interval = clear = None
    x, y = a.value, b.value
    if x is None or y is None:
        return Line(name, better, a, b, None, None, is_score, None, "one of the two has no value")
    if is_score:
        apart = y - x
        if a.name != b.name:
            return Line(name, better, a, b, None, None, is_score, None, "they are of different tasks")
    elif x > 0 and y >= 0:
        apart = y / x
    why = _why_not(a, b)
    if not why:
        interval = between(a, b, is_score=is_score)
        if interval is None:
            why = "an end of an interval is not above 0"
        else:
            clear = told_apart(interval, 0.0 if is_score else 1.0)
    elif a.ends == b.ends == "bounds":
        clear = True if disjoint(a, b) else None
        why = "" if clear else "their bounds overlap"
    return Line(name, better, a, b, apart, interval, is_score, clear, why)


def _why_not(a: Measure, b: Measure) -> str:
    """Why no interval of the difference follows; empty where one does."""
    if a.unchecked or b.unchecked:
        return f"{'A' if a.unchecked else 'B'} was not recomputed"
    if a.ends != b.ends:
        lacking = "B" if a.ends else "A"
        return "the two intervals are not of one kind" if a.ends and b.ends else f"{lacking} has no interval"
    if a.ends == "confidence":
        few = any(measure.metric.n is not None and measure.metric.n < 2 for measure in (a, b))
        return "an interval rests on fewer than two observations" if few else ""
    if a.ends == "prediction":
        meet = "do not meet" if disjoint(a, b) else "meet"
        return f"the 80 % prediction intervals {meet}"
    return _UNTESTED[a.ends]


_UNTESTED: dict[IntervalKind | None, str] = {
    None: "neither has an interval",
    "bounds": "these are bounds and no intervals",
    "stated": "what the ends of published figures are is not known",
}


def summary(found: list[Line]) -> str:
    """The comparison in a sentence, with how many metrics it rests on."""
    both = [line for line in found if line.apart is not None]
    tested = [line for line in both if line.interval is not None]
    if not both:
        return "Too little data: the two rows share no metric."
    if not tested:
        return (
            f"n = {plural(len(both), 'metric')} of both rows, none with an interval on both: the differences are "
            "stated, and nothing says how much of them is noise."
        )
    clear = [line.name for line in tested if line.clear]
    differ = "differs" if len(clear) == 1 else "differ"
    said = f"{listed(clear)} {differ} by more than noise" if clear else "none differs by more than noise"
    return f"n = {plural(len(both), 'metric')} of both rows, {len(tested)} with an interval on both; of these {said}."
