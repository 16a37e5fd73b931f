"""One engine against another under the same load: model, hardware, devices, format, lengths and concurrency alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Any

from moecap.metrics.difference import Estimate
from moecap_leaderboard.pages.between import between
from moecap_leaderboard.pages.measures import throughput
from moecap_leaderboard.pages.naming import engine_name, load_key, placed_hardware, plural

__all__ = ["Contest", "contests", "middle", "ordered", "told"]


@dataclass(frozen=True, slots=True)
class Contest:
    """Two engines on the same hardware at as many loads as both have a row of.

    Attributes:
        place: Devices and number format.
        kind: Whether the rows were measured, published or projected.
        engines: The two.
        pairs: Ids of the two rows of each load.
        ratios: Throughput of the second over that of the first, for each load.
        derived: Whether a throughput follows from latencies and is not stated.
        interval: Of the one ratio where both rows have 95 % intervals and there is one load.
    """

    place: str
    kind: str
    engines: tuple[str, str]
    pairs: tuple[tuple[str, str], ...]
    ratios: tuple[float, ...]
    derived: bool
    interval: Estimate | None


def contests(items: Sequence[dict[str, Any]]) -> list[Contest]:
    """Every pair of engines that rows of the same load compare, those of most loads first.

    Args:
        items: Rows of one model, of any kind; of several rows of an engine at one load the fastest counts, and rows
            that do not state their load in full are left out.
    """
    loads: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for item in items:
        load = load_key(item)
        if load is None or not throughput(item).value:
            continue
        same = (item["kind"], placed_hardware(item), item["precision"])
        best = loads.setdefault((*same, load), {})
        known = best.get(item["engine"]["name"])
        if known is None or (throughput(item).value or 0) > (throughput(known).value or 0):
            best[item["engine"]["name"]] = item
    found: dict[tuple[Any, ...], list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for (kind, place, precision, _), engines in loads.items():
        for a, b in combinations(sorted(engines), 2):
            found.setdefault((kind, place, precision, a, b), []).append((engines[a], engines[b]))
    return sorted((_contest(key, pairs) for key, pairs in found.items()), key=lambda c: (-len(c.pairs), c.place))


def _contest(key: tuple[Any, ...], pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> Contest:
    kind, place, precision, a, b = key
    rates = [(throughput(one), throughput(other)) for one, other in pairs]
    ratios = tuple((y.value or 0.0) / (x.value or 1.0) for x, y in rates)
    return Contest(
        place=f"{place}, {precision.split(' (')[0]}",
        kind=kind,
        engines=(a, b),
        pairs=tuple((one["id"], other["id"]) for one, other in pairs),
        ratios=ratios,
        derived=any(rate.estimated for pair in rates for rate in pair),
        interval=between(*rates[0], is_score=False) if len(rates) == 1 else None,
    )


def middle(ratios: Sequence[float]) -> float:
    """The median of the logarithms, as a ratio: of an even number it is the same whichever engine is divided by."""
    return math.exp(median(map(math.log, ratios)))


def told(contest: Contest) -> str:
    """A contest in a sentence, with its n and its interval or why there is none."""
    ahead, behind, times = ordered(contest)
    quick, slow, n = engine_name(ahead), engine_name(behind), len(times)
    said = {"measured": "", "imported": " by published figures", "projected": " by projections, nothing measured"}
    follows = ", each from TTFT and TPOT" if contest.derived else ""
    much = f"{middle(times):.2f} times the throughput of {slow}"
    text = f"On {contest.place}, {quick} gives {much}{said[contest.kind]}{follows}"
    if n == 1:
        if contest.interval is None:
            return f"{text} (n = 1 load); not both have an interval, so nothing says how much of that is noise."
        low, high = contest.interval.low, contest.interval.high
        if ahead == contest.engines[0]:
            low, high = 1 / high, 1 / low
        clear = "" if low > 1 else ", so the two cannot be told apart"
        return f"{text} (n = 1 load, 95 % interval {low:.2f} to {high:.2f}){clear}."
    return (
        f"{text} in the median of n = {plural(n, 'load')} (from {times[0]:.2f} to {times[-1]:.2f}) and is the faster "
        f"in {sum(value > 1 for value in times)}. That range is over loads and no interval."
    )


def ordered(contest: Contest) -> tuple[str, str, list[float]]:
    """The engine that is faster in the median, the other one, and the ratios of the first to it, the least first."""
    first, second = contest.engines
    if middle(contest.ratios) >= 1:
        return second, first, sorted(contest.ratios)
    return first, second, sorted(1 / ratio for ratio in contest.ratios)
