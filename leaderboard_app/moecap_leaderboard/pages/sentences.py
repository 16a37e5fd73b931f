"""One sentence under every chart, computed from the data that it shows, and how to read the chart."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from moecap.report.cap import Place
from moecap.report.markup import Html, element, join, paragraph
from moecap.report.section import glossary
from moecap_leaderboard.pages.naming import listed, plural

__all__ = ["TOO_LITTLE", "how", "kinds_sentence", "pareto_sentence", "radar_sentence"]

TOO_LITTLE = "Too little data"


def how(text: str, terms: Sequence[str] = ()) -> Html:
    """How a chart is read, with what its terms mean (the report's glossary)."""
    entries = [join(element("dt", term), element("dd", glossary()[term])) for term in terms]
    return join(paragraph(text), element("dl", *entries) if entries else None)


def kinds_sentence(items: Sequence[dict[str, Any]]) -> str:
    """Which of the rows were not measured here; empty where all were."""
    words = {"imported": "published by others and not checked here", "projected": "projected and not measured"}
    found = [
        f"{plural(count, 'row is', 'rows are')} {text}"
        for kind, text in words.items()
        if (count := sum(item["kind"] == kind for item in items))
    ]
    if not found:
        return ""
    text = listed(found)
    return f" {text[0].upper()}{text[1:]}."


def radar_sentence(
    names: Sequence[str], places: Sequence[tuple[Place, ...]], aside: Collection[str] = frozenset()
) -> str:
    """Which row stands outermost on most of the axes that at least two rows have a value on.

    Args:
        names: Of the rows.
        places: Of each row, on the same axes.
        aside: Keys of axes on which these rows do not compare.
    """
    rows = plural(len(names), "row")
    axes = list(zip(*places, strict=True))
    if len(names) < 2:
        known = [place.axis.name for (place,) in axes if place.share is not None]
        return f"n = {rows}; it has a value on {len(known)} of {len(axes)} axes ({listed(known) or 'none'})."
    leads: dict[int, list[str]] = {}
    compared = 0
    for column in axes:
        shares = [(place.share, number) for number, place in enumerate(column) if place.share is not None]
        if len(shares) < 2 or column[0].axis.key in aside:
            continue
        compared += 1
        most = max(share for share, _ in shares)
        ahead = [number for share, number in shares if share == most]
        if len(ahead) == 1:
            leads.setdefault(ahead[0], []).append(column[0].axis.name)
    if not compared:
        return f"{TOO_LITTLE}: on none of the {len(axes)} axes have two of the {rows} values that compare."
    if not leads:
        return f"n = {rows}; on the {plural(compared, 'axis', 'axes')} on which two compare none stands ahead."
    best = max(leads, key=lambda number: len(leads[number]))
    return (
        f"n = {rows}; {names[best]} stands outermost on {listed(leads[best])}, {len(leads[best])} of the "
        f"{plural(compared, 'axis', 'axes')} on which at least two rows compare."
    )


def pareto_sentence(x: str, y: str, points: int, front: Sequence[str], missing: int) -> str:
    """What the frontier of two quantities holds.

    Args:
        x: Name of the first quantity.
        y: Name of the second.
        points: Rows that have both.
        front: Names of the rows on the frontier, one each.
        missing: Rows that lack one of them.
    """
    lacks = plural(missing, "row lacks", "rows lack")
    lacking = f" {lacks} one of the two, or it was not recomputed, and cannot be drawn." if missing else ""
    if points < 2:
        return f"{TOO_LITTLE}: {plural(points, 'row has', 'rows have')} both {x} and {y}.{lacking}"
    named = listed(list(dict.fromkeys(front))[:3])
    more = len(set(front)) - 3
    others = f" and {plural(more, 'more configuration')}" if more > 0 else ""
    return (
        f"Of n = {points:,} rows {len(front):,} stand on the frontier: no other row beats them in both {x} and {y}. "
        f"They are of {named}{others}.{lacking}"
    )
