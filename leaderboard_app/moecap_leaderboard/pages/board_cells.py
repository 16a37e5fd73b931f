"""The cells of the leaderboard's table: numbers with their intervals, and words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from moecap.metrics.value import Metric
from moecap.report.figures import NO_VALUE, TIMES, significant
from moecap.report.markup import Html, element, join
from moecap_leaderboard.pages.board_columns import Column, value_of
from moecap_leaderboard.pages.context import Item
from moecap_leaderboard.pages.look import engine_mark
from moecap_leaderboard.pages.measures import interval_kind
from moecap_leaderboard.pages.pricing import has_own_price
from moecap_leaderboard.pages.radar_rows import row_label
from moecap_leaderboard.prices import COSTS
from moecap_leaderboard.states import TIER_TEXTS

__all__ = ["Scale", "age", "metric_cell", "scale_of", "word_cell"]

_SMALLEST = 1e-4
"""From here up three significant figures need no exponent."""

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0


@dataclass(frozen=True, slots=True)
class Scale:
    """What the cells of a column share on one page.

    Attributes:
        low: The least end of an interval.
        high: The greatest one.
        decimals: Characters after the integer part of the longest number, the point included.
    """

    low: float
    high: float
    decimals: int


def scale_of(column: Column, items: Iterable[Item]) -> Scale:
    """What the cells of a column share."""
    found = [metric for item in items if (metric := value_of(column, item)) and metric["value"] is not None]
    ends = [column.shown(end) for metric in found for end in (metric["low"], metric["high"]) if end is not None]
    values = [column.shown(metric["value"]) for metric in found]
    longest = max((len(_halves(value)[1]) for value in values), default=0)
    return Scale(min(ends + values, default=0.0), max(ends + values, default=0.0), longest)


def metric_cell(column: Column, metric: Mapping[str, Any] | None, item: Item, scale: Scale, best: float | None) -> Html:
    """A number with its interval as a bar, or a dash with the reason why there is none.

    Args:
        column: The column.
        metric: The metric of the row.
        item: The row.
        scale: What the cells of the column share.
        best: The best value of the metric among all ranked rows, in its own unit; null where none is marked.
    """
    if metric is None or metric["value"] is None:
        reason = metric["reason"] if metric else f"this result has no {column.metric}"
        return element("td", element("span", NO_VALUE, title=reason, class_="missing"), class_="number")
    apart = _apart(column, item)
    is_best = best is not None and metric["value"] == best and not apart and not item["unranked_because"]
    shown = join(_number(column.shown(metric["value"])), _mark(apart), _bar(column, metric, scale))
    if is_best:
        shown = join(element("strong", shown), element("span", " best", class_="sr"))
    return element("td", shown, class_=f"number d{min(scale.decimals, 6)}", title=_basis(column, metric, item))


def _halves(value: float) -> tuple[str, str]:
    """A number before its point, and from its point on."""
    text = f"{value:#.3g}".rstrip(".") if _SMALLEST <= abs(value) < 100 else significant(value)
    whole, point, fraction = text.partition(".")
    return whole, point + fraction


def _number(value: float) -> Html:
    whole, fraction = _halves(value)
    return join(whole, element("i", fraction))


def _bar(column: Column, metric: Mapping[str, Any], scale: Scale) -> Html | None:
    """The interval on the scale of the column."""
    if metric["low"] is None or metric["high"] is None or scale.high <= scale.low:
        return None
    ends = sorted(column.shown(metric[end]) for end in ("low", "high"))
    start, stop, at = (
        (value - scale.low) / (scale.high - scale.low) * 100 for value in (*ends, column.shown(metric["value"]))
    )
    style = f"--a:{start:.1f}%;--w:{stop - start:.1f}%;--v:{at:.1f}%"
    return element("span", class_="bar", style=style, aria_hidden="true")


def _basis(column: Column, metric: Mapping[str, Any], item: Item) -> str | None:
    """The interval and the n of a number, in words."""
    words = []
    kind = interval_kind(item, column.metric or "", Metric.model_validate(metric))
    if kind is not None:
        low, high = sorted(column.shown(metric[end]) for end in ("low", "high"))
        words.append(f"{_ENDS[kind]} {significant(low)} to {significant(high)} {column.unit}")
    if metric["n"]:
        words.append(f"n = {metric['n']:,}")
    return ", ".join(words) or None


_ENDS = {
    "confidence": "95 % interval",
    "prediction": "80 % prediction interval",
    "bounds": "estimated, between the bounds",
    "stated": "as its source states it,",
}


def _apart(column: Column, item: Item) -> str:
    """Why a number is shown and not compared; empty where it is compared."""
    if column.metric in COSTS and has_own_price(item):
        return "at the submitter's own price; not compared"
    return "as stated and not recomputed; not compared" if column.metric in item["not_recomputed"] else ""


def _mark(apart: str) -> Html | None:
    return element("sup", "\N{DAGGER}", title=apart) if apart else None


def word_cell(key: str, item: Item, now: datetime) -> Html:
    """A cell without a number of its own.

    Args:
        key: The column.
        item: The row.
        now: The time from which ages are counted.
    """
    return _WORDS[key](item, now)


def _hardware(item: Item, now: datetime) -> Html:
    hardware = item["hardware"]
    count = join(f"{hardware['count']}\N{NO-BREAK SPACE}{TIMES}\N{NO-BREAK SPACE}") if hardware["count"] > 1 else None
    return element("td", element("span", count, hardware["name"], class_="clip", title=hardware["name"]))


def _engine(item: Item, now: datetime) -> Html:
    engine = item["engine"]
    version = element("small", engine["version"], class_="clip", title=engine["version"])
    return element("td", element("span", engine_mark(engine["name"]), engine["name"], class_="engine"), version)


def _load(item: Item, now: datetime) -> Html:
    load = item["workload"]
    words = []
    if load["concurrency"]:
        words.append(f"{load['concurrency']:,} at once")
    elif load["rate"]:
        words.append(f"{significant(load['rate'])}/s")
    if load["input_len"] and load["output_len"]:
        words.append(f"{load['input_len']:,}\N{RIGHTWARDS ARROW}{load['output_len']:,}")
    if not words:
        return element("td", element("span", NO_VALUE, class_="missing"))
    return element("td", element("span", words[0]), element("small", *words[1:]) if words[1:] else None)


def _scores(item: Item, now: datetime) -> Html:
    found = {
        name.removeprefix("accuracy."): metric
        for name, metric in item["metrics"].items()
        if name.startswith("accuracy.") and metric["value"] is not None
    }
    tasks = [name for name in item["workload"]["tasks"] if name in found] or list(found)
    scores = [(name, found[name]) for name in tasks]
    if not scores:
        return element("td", element("span", NO_VALUE, title="no task was scored", class_="missing"), class_="number")
    unit = Scale(0.0, 100.0, 3)
    lines = []
    for name, metric in scores:
        column = Column(name, "", name, "%", "", f"accuracy.{name}", 100.0)
        number = join(_number(column.shown(metric["value"])), _mark(_apart(column, item)), _bar(column, metric, unit))
        lines.append(
            element("span", element("small", name), number, class_="score", title=_basis(column, metric, item))
        )
    return element("td", *lines, class_="number d3")


def _cap(item: Item, now: datetime) -> Html:
    label = row_label(item)
    if label.text is None:
        return element("td", element("span", NO_VALUE, title=label.reason, class_="missing"))
    return element("td", element("span", label.text, class_="badge cap", title=label.reason))


def _trust(item: Item, now: datetime) -> Html:
    words = item["tier"].replace("_", "-")
    by = f" by {item['reproduced_by']}" if item["tier"] == "reproduced" else ""
    signed = element("small", "signed") if item["signed"] else None
    badge = element("span", f"{words}{by}", class_=f"badge {item['tier']}", title=TIER_TEXTS[item["tier"]])
    return element("td", badge, signed)


def _age(item: Item, now: datetime) -> Html:
    published = item["published"]
    return element("td", element("time", age(published, now), datetime=published, title=published), class_="number")


def age(published: str, now: datetime) -> str:
    """The time since a row was published, to one unit: ``5 min``, ``3 h``, ``12 d``, ``2 y``."""
    seconds = max(0.0, (now - datetime.fromisoformat(published)).total_seconds())
    if seconds < _HOUR:
        return f"{seconds // _MINUTE:.0f} min"
    if seconds < 2 * _DAY:
        return f"{seconds // _HOUR:.0f} h"
    days = seconds // _DAY
    return f"{days:.0f} d" if days < 730 else f"{days / 365.25:.0f} y"


_WORDS = {
    "hardware": _hardware,
    "engine": _engine,
    "load": _load,
    "score": _scores,
    "cap": _cap,
    "trust": _trust,
    "age": _age,
}
