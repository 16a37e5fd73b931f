"""What a search found, in words, as a table and as JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from moecap.report.figures import NO_VALUE, display
from moecap.search.attainment import Attainment
from moecap.search.points import SHOWN, Point, frontier

if TYPE_CHECKING:
    from moecap.search.local import Found

__all__ = ["COLUMNS", "PROJECTED", "csv_text", "search_record", "search_rows", "verdict"]

COLUMNS = ("holds", "TTFT p99", "TPOT p99", "output", "a device", "a user")
"""Heads of a row after its load; shares of the levels follow."""

PROJECTED = "PROJECTED, nothing was measured"

SATURATED = 0.95
"""Share of the most output tokens a second at which more load only waits."""

Cell = tuple[str, float | None]
"""A cell of the table as it is shown, and its number."""


def search_rows(found: Found) -> list[list[Cell]]:
    """A row a load, by rising load: load, :data:`COLUMNS`, and the share of the requests that kept each level."""
    return [_row(found, point) for point in sorted(found.points, key=lambda point: point.load)]


def _row(found: Found, point: Point) -> list[Cell]:
    rates = ("ttft.p99", "tpot.p99", "output_tokens_per_second", "output_tokens_per_second_per_device")
    metrics = [(point.metric(name), point.value(name)) for name in rates]
    shown: list[Cell] = [
        (NO_VALUE if metric is None or value is None else display(metric), value) for metric, value in metrics
    ]
    user = point.tokens_per_user
    shown.append((NO_VALUE if user is None else f"{user:.3g} tokens/s", user))
    kept = {a.level: a for a in point.attained}
    shares = [_share(kept.get(level), measured=_measured(point)) for level in found.search.levels]
    holds = "yes" if point.holds else "no" if point.status == "complete" else point.status
    return [(f"{point.load:g}", point.load), (holds, float(point.holds)), *shown, *shares]


def _share(kept: Attainment | None, *, measured: bool) -> Cell:
    if kept is None or not kept.n:
        return NO_VALUE, None
    interval = f" ({kept.low:.3f} to {kept.high:.3f})" if measured else ""
    return f"{kept.share:.3f}{interval}", kept.share


def _measured(point: Point) -> bool:
    return point.result is not None and point.result.kind == "measured"


def verdict(found: Found) -> Iterator[str]:
    """What came out, in a few lines."""
    search, best, beyond = found.search, found.best, found.beyond
    axis, levels = search.axis.name, " and ".join(level.words for level in search.levels)
    unit = "" if axis == "concurrency" else " requests/s"
    if best is None:
        yield f"{levels}: {found.ended or 'nothing holds so far'}"
        return
    marked = "" if _measured(best) else f"{PROJECTED}: "
    then = f"; {beyond.load:g}{unit} does not hold" if beyond is not None else f"; {found.ended}"
    yield f"{marked}{levels} hold up to {axis} {best.load:g}{unit}{then}"
    unsure = [a for a in best.attained if a.low < a.level.share]
    if _measured(best) and unsure:
        parts = "; ".join(f"{a.level.words}: {a.share:.1%} of {a.n}, 95 % interval from {a.low:.1%}" for a in unsure)
        yield f"not sure at that load: {parts} (more requests tell, or --margin)"
    full = _saturated(found)
    if full is not None and full.load < SATURATED * best.load:  # else it is as much less load as output
        yield f"from {axis} {full.load:g}{unit} on more load adds less than {1 - SATURATED:.0%} of output, and waits"


def _saturated(found: Found) -> Point | None:
    """The smallest load with nearly the most output."""
    name = "output_tokens_per_second"
    rates = [(rate, point) for point in found.points if point.counts and (rate := point.value(name)) is not None]
    enough = SATURATED * max((rate for rate, _ in rates), default=0.0)
    return min((point for rate, point in rates if rate >= enough), key=lambda point: point.load, default=None)


def search_record(found: Found) -> dict[str, Any]:
    """The content of ``search.json``."""
    search, best, beyond = found.search, found.best, found.beyond
    return {
        "axis": search.axis.name,
        "resolution": search.axis.resolution,
        "margin": search.margin,
        "levels": [
            {"level": level.name, "percentile": level.percentile, "seconds": level.seconds} for level in search.levels
        ],
        "ended": found.ended,
        "answer": None if best is None else best.load,
        "first_that_does_not_hold": None if beyond is None else beyond.load,
        "engines_opened": found.opened,
        "pareto": [point.load for point in frontier(found.points)],
        "points": [point.record for point in found.points],
    }


def csv_text(found: Found) -> str:
    """A row a load with its numbers; units in the head, what is missing is empty."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    points = sorted(found.points, key=lambda point: point.load)
    units = {n: m.unit for n in SHOWN for p in points if (m := p.metric(n)) is not None}
    shares = [f"share of {level.name}" for level in found.search.levels]
    heads = [f"{name} ({unit})" for name, unit in units.items()]
    user = "output_tokens_per_second_per_user (tokens/s)"
    writer.writerow([found.search.axis.name, "status", "holds", "reason", *shares, user, *heads, "directory"])
    for point in points:
        kept = {a.level: a.share for a in point.attained if a.n}
        attained = [kept.get(level) for level in found.search.levels]
        values = [point.value(name) for name in units]
        told = (point.load, point.status, point.holds, point.reason)
        writer.writerow([*told, *attained, point.tokens_per_user, *values, point.name])
    return file.getvalue()
