"""The page of a search: where the levels hold, and the trade between one user's speed and a device's throughput."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from moecap.errors import BadInputError
from moecap.files import write_text
from moecap.report.figures import TIMES, display_value
from moecap.report.headline import load_sentence, long_date
from moecap.report.markup import Child, Html, data_table, element, join, paragraph
from moecap.report.page import page
from moecap.report.section import Chart, Drawn, Section, drawn_figure
from moecap.result import Result
from moecap.search.local import Found
from moecap.search.points import Point, frontier
from moecap.search.record import COLUMNS, search_rows, verdict

__all__ = ["PAGE_FILE", "search_page", "write_search"]

PAGE_FILE = "search.html"
COLOURS = ("--blue", "--orange", "--purple")
MARKS = ({"size": 8}, {"size": 13, "symbol": "circle-open"}, {"size": 13, "symbol": "diamond-open"})
"""Marks of levels that are seen where they lie on each other."""
UNIT = "tokens/s"
APART = 0.1
"""Least share of a logarithmic axis between two of its labels."""

LEVELS_HOW = (
    "Each point is one run: the share of its requests that kept a level, failed requests counting as not. Bars are "
    "Wilson's 95 % interval of the share, which knows how few requests there were and nothing else; a projection has "
    "none. The dashed line of a colour is the share that is needed: a load holds where all points of it are on or "
    "above theirs."
)
PARETO_HOW = (
    "To the right a single user reads faster, upwards a device gives more. A user's speed is one over the median time "
    "per output token; a device's throughput is that of the steady state over the number of devices. The line joins "
    "what no other point beats, as steps: up to the speed of a point its throughput was had, and nothing is known "
    "between two points, so nothing is drawn there. Open marks are loads that do not hold. Crosses do not count and "
    "are in no curve: loads that came faster than they were answered, that did not end, or that are invalid."
)


def write_search(found: Found) -> Path:
    """Write the page into the folder of the search.

    Raises:
        BadInputError: If it cannot be written.
    """
    target = found.search.folder / PAGE_FILE
    try:
        write_text(target, search_page(found))
    except OSError as error:
        raise BadInputError(f"{target}: the report cannot be written ({error.strerror}); make some room") from None
    return target


def search_page(found: Found) -> str:
    """The page as HTML."""
    results = [point.result for point in found.points if point.result is not None]
    kind = results[0].kind if results else "measured"
    name = results[0].model.name if results else str(found.search.values.get("model", "the default model"))
    title = f"The largest {found.search.axis.name} for {name}"
    sections = [_levels(found, measured=kind == "measured"), _pareto(found), _runs(found)]
    return page(title, _top(found, title, results), sections, None, kind)


def _top(found: Found, title: str, results: list[Result]) -> Html:
    lines = list(verdict(found))
    lead, more = lines[0], [paragraph(f"{line[0].upper()}{line[1:]}.") for line in lines[1:]]
    about = None
    if results:
        one = results[0]
        count = f"{one.hardware.count} {TIMES} " if one.hardware.count > 1 else ""
        of = f"{one.model.name} on {count}{one.hardware.name}, {one.engine}, {one.model.weight_dtype}"
        first = f"{long_date(one.provenance.started)}; the first load: {load_sentence(one)}"
        about = paragraph(f"{len(found.points)} loads of {of}; {first}.", class_="lead")
    marked = None
    if results and results[0].kind == "projected":
        marked = paragraph(element("strong", "Every number on this page is a projection."), class_="alarm")
    answer = paragraph(element("strong", f"{lead[0].upper()}{lead[1:]}."))
    return element("header", element("h1", title), about, marked, answer, *more, id="top")


def _levels(found: Found, *, measured: bool) -> Section:
    points = sorted((p for p in found.points if p.attained), key=lambda point: point.load)
    drawn = Drawn("Share of requests that kept each level", "no run is complete")
    if points:
        chart = _levels_chart(found, points, measured=measured)
        said = "; ".join(
            f"{level.words} needs {level.share:.1%} of the requests of a load" for level in found.search.levels
        )
        drawn = Drawn(drawn.title, f"{said}.", chart, LEVELS_HOW, tuple(_terms(found)))
    heads = (found.search.axis.name, *COLUMNS, *(level.words for level in found.search.levels))
    rows = [[cell for cell, _ in row] for row in search_rows(found)]
    table = data_table("Loads that were tried", heads, rows, numeric=range(2, len(heads)))
    return Section("levels", "Service levels", join(drawn_figure(drawn), table), _charts(drawn))


def _levels_chart(found: Found, points: list[Point], *, measured: bool) -> Chart:
    traces: list[dict[str, Any]] = []
    shapes: list[dict[str, Any]] = []
    for place, level in enumerate(found.search.levels):
        colour = COLOURS[place]
        kept = [(p.load, a) for p in points for a in p.attained if a.level == level and a.n]
        shares = [a.share for _, a in kept]
        trace: dict[str, Any] = {
            "type": "scatter",
            "mode": "markers",
            "name": level.words,
            "x": [load for load, _ in kept],
            "y": shares,
            "marker": {"color": colour, **MARKS[place]},
            "text": [f"{a.within} of {a.n}" for _, a in kept],
            "hovertemplate": f"{found.search.axis.name} %{{x}}: %{{y:.1%}}, %{{text}}<extra>{level.words}</extra>",
        }
        if measured:
            above, below = ([a.high - a.share for _, a in kept], [a.share - a.low for _, a in kept])
            trace["error_y"] = {"type": "data", "array": above, "arrayminus": below, "color": colour, "thickness": 1.2}
        traces.append(trace)
        line = {"color": colour, "width": 1, "dash": "dash"}
        y = level.share
        shapes.append({"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": y, "y1": y, "line": line})
    layout = {
        "xaxis": {"title": {"text": found.search.axis.name}, "type": "log", **_ticks([p.load for p in points])},
        "yaxis": {"range": [-0.03, 1.05], "tickformat": ".0%"},
        "shapes": shapes,
        "showlegend": True,
        "legend": {"orientation": "h", "y": -0.28},
        "hovermode": "closest",
    }
    return Chart("chart-levels", traces, layout, 340, "Share of requests within each service level against load")


def _ticks(loads: list[float]) -> dict[str, Any]:
    """Range and labels of a logarithmic axis: as many of the loads as have room."""
    low, high = math.log10(min(loads)), math.log10(max(loads))
    span = (high - low) or 1.0
    kept: list[float] = []
    for load in sorted(loads):
        if not kept or math.log10(load / kept[-1]) >= APART * span:
            kept.append(load)
    pad = 0.05 * span
    return {"range": [low - pad, high + pad], "tickvals": kept, "ticktext": [f"{load:g}" for load in kept]}


def _pareto(found: Found) -> Section:
    best = frontier(found.points)
    title = "Throughput of a device against speed for one user"
    drawn = Drawn(title, "no run has both numbers")
    if best:
        ends = (best[0], best[-1])
        said = " to ".join(
            f"{display_value(_device(p), UNIT)} a device at {display_value(_user(p), UNIT)} a user" for p in ends
        )
        drawn = Drawn(title, f"From {said}.", _pareto_chart(found, best), PARETO_HOW, ("TPOT",))
    rows: list[tuple[Child, ...]] = [
        (f"{p.load:g}", display_value(_user(p), UNIT), display_value(_device(p), UNIT), "yes" if p.holds else "no")
        for p in best
    ]
    heads = (found.search.axis.name, "a user", "a device", "levels hold")
    table = data_table("What no other load beats", heads, rows, numeric=(1, 2)) if rows else None
    return Section(
        "pareto", "Speed for a user, throughput of a device", join(drawn_figure(drawn), table), _charts(drawn)
    )


def _pareto_chart(found: Found, best: list[Point]) -> Chart:
    x, y = steps([(_user(p), _device(p)) for p in best])
    line = {"color": "--blue", "width": 1.6}
    traces: list[dict[str, Any]] = [
        {"type": "scatter", "mode": "lines", "name": "best so far", "x": x, "y": y, "line": line, "hoverinfo": "skip"}
    ]
    kinds = (
        ("levels hold", "circle", [p for p in found.points if p.holds]),
        ("do not hold", "circle-open", [p for p in found.points if not p.holds and p.counts]),
        ("do not count", "x", [p for p in found.points if not p.counts]),
    )
    for name, symbol, points in kinds:
        known = [p for p in points if _placed(p)]
        if known:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": name,
                    "x": [_user(p) for p in known],
                    "y": [_device(p) for p in known],
                    "text": [f"{found.search.axis.name} {p.load:g}" for p in known],
                    "marker": {"color": "--blue", "size": 9, "symbol": symbol},
                    "hovertemplate": f"%{{text}}: %{{x:.3g}} {UNIT} a user, %{{y:.4g}} a device<extra>{name}</extra>",
                }
            )
    layout = {
        "xaxis": {"title": {"text": "output tokens/s for one user"}, "rangemode": "tozero", "nticks": 6},
        "yaxis": {"title": {"text": "output tokens/s of a device"}, "rangemode": "tozero", "nticks": 6},
        "showlegend": True,
        "legend": {"orientation": "h", "y": -0.28},
        "hovermode": "closest",
    }
    return Chart("chart-pareto", traces, layout, 380, "Output tokens a second of a device against those of one user")


def steps(places: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """The corners of the curve of what was had: at each speed the throughput of the best point that is as fast.

    Args:
        places: Speed for a user and throughput of a device, by rising speed and falling throughput.

    Returns:
        The corners' speeds and throughputs, from a speed of 0 to where nothing is left.
    """
    x, y = [0.0], [places[0][1]]
    for place, (speed, throughput) in enumerate(places):
        after = places[place + 1][1] if place + 1 < len(places) else 0.0
        x += [speed, speed]
        y += [throughput, after]
    return x, y


def _runs(found: Found) -> Section:
    rows: list[tuple[Child, ...]] = []
    for point in found.points:
        link = element("a", point.name, href=f"{point.name}/report.html") if point.name else ""
        flags = ", ".join(flag.name for flag in point.result.flags) if point.result is not None else ""
        rows.append((f"{point.load:g}", point.status, point.reason or "holds", flags, link))
    heads = (found.search.axis.name, "status", "why", "remarks", "report")
    return Section("runs", "Runs", data_table("Runs in the order in which they were made", heads, rows))


def _terms(found: Found) -> list[str]:
    return [level.name.upper() for level in found.search.levels]


def _charts(drawn: Drawn) -> tuple[Chart, ...]:
    return () if drawn.chart is None else (drawn.chart,)


def _placed(point: Point) -> bool:
    return point.tokens_per_user is not None and point.value("output_tokens_per_second_per_device") is not None


def _user(point: Point) -> float:
    return point.tokens_per_user or 0.0


def _device(point: Point) -> float:
    return point.value("output_tokens_per_second_per_device") or 0.0
