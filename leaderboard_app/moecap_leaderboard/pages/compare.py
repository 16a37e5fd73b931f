"""The page that lays two rows side by side, with the interval of every difference that has one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moecap.report.figures import NO_VALUE
from moecap.report.markup import Child, Html, data_table, element, folded, join, paragraph
from moecap_leaderboard.comparison import compared
from moecap_leaderboard.metrics import HEADLINES
from moecap_leaderboard.pages.contest import contests
from moecap_leaderboard.pages.context import PageContext
from moecap_leaderboard.pages.differences import METHOD, Line, lines, summary
from moecap_leaderboard.pages.form import Choice, answered, form, form_block, select
from moecap_leaderboard.pages.links import result_url
from moecap_leaderboard.pages.look import html_block, page_head
from moecap_leaderboard.pages.naming import configuration_name, load_name
from moecap_leaderboard.pages.radar_page import row_choices
from moecap_leaderboard.pages.radar_rows import radar_block
from moecap_leaderboard.pages.row_sets import ModelRows, rows_by_id
from moecap_leaderboard.pages.sentences import how, kinds_sentence
from moecap_leaderboard.pages.url_state import Query
from moecap_leaderboard.pages.verdict import shown

__all__ = ["IN_NAVIGATION", "PATH", "TITLE", "build"]

TITLE = "Compare"
PATH = "/compare"
IN_NAVIGATION = True

_SIDES = ("a", "b")
_TEXTS = {headline.name: headline.text for headline in HEADLINES}


def build(context: PageContext) -> None:
    """Build it inside its route."""
    html_block(page_head("Compare two rows", "Every metric of both, and which differences are more than noise."))
    controls = form_block()
    body = html_block(id="compare")
    answered(context, controls, [controls, body], lambda query: _answer(context, query))


def _answer(context: PageContext, query: Query) -> Sequence[str]:
    models, read = context.options().model, ModelRows(context)
    begun = _begun(context, read.of(next(iter(models), "")))
    chosen: list[dict[str, Any] | None] = []
    remarks: list[Html] = []
    fields: list[Html] = []
    for side in _SIDES:
        found, missing = rows_by_id(context, query.every(side)[:1])
        remarks += [paragraph(f"Row {side.upper()}: {text}.", class_="alarm") for text in missing]
        asked = query.first(f"model_{side}")
        asked = asked if asked in models else ""
        row = found[0] if found else None
        if not any(query.every(one) for one in _SIDES) and not query.first("model_a"):
            row = begun.get(side)
        if row is not None and asked and row["model"]["id"] != asked:
            row = None  # another model was chosen since
        model = asked or (row["model"]["id"] if row else next(iter(models), ""))
        rows = read.of(model)
        if row is None and not missing:
            row = _suggested(rows, [item for item in chosen if item])
        chosen.append(row)
        fields += _side(side, model, models, rows, row)
    controls = form(*fields, defaults={}, label="The two rows")
    first, second = chosen
    if first is None or second is None:
        text = "Choose a row for A and one for B." if models else "The board has no row yet."
        empty = element("div", element("h2", "Nothing to compare"), paragraph(text), class_="empty")
        return str(controls), str(join(*remarks, empty))
    return str(controls), str(join(*remarks, _body(first, second)))


def _begun(context: PageContext, rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What is compared before anybody has chosen: two engines at the same load, where the board has such rows."""
    pairs = contests([item for item in rows if item["kind"] != "projected" and item["ranked"]])
    if not pairs:
        return {}
    found, _ = rows_by_id(context, pairs[0].pairs[0])
    return dict(zip(_SIDES, found, strict=True))


def _suggested(rows: Sequence[dict[str, Any]], taken: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """A row to begin with: of another engine under the load of the one that is there, else the first other one."""
    ids = {item["id"] for item in taken}
    free = [item for item in rows if item["id"] not in ids]
    for other in taken:
        same = [
            item
            for item in free
            if item["workload"] == other["workload"]
            and item["ranked"]
            and item["kind"] == other["kind"]
            and item["engine"]["name"] != other["engine"]["name"]
            and item["hardware"] == other["hardware"]
        ]
        if same:
            return same[0]
    return min(free, key=lambda item: not item["ranked"], default=None)


def _side(
    side: str, model: str, models: dict[str, int], rows: Sequence[dict[str, Any]], row: dict[str, Any] | None
) -> list[Html]:
    name = side.upper()
    known = [Choice(m, f"{m} ({count})") for m, count in models.items()]
    choices = row_choices(rows) if row else [Choice("", "choose a row"), *row_choices(rows)]
    if row is not None and row["id"] not in (choice.value for choice in choices):
        choices.append(Choice(row["id"], f"{load_name(row)} · {configuration_name(row)}"))
    return [
        select(f"model_{side}", f"Model of {name}", known, model),
        select(side, f"Row {name}", choices, row["id"] if row else ""),
        element("span", class_="break", aria_hidden="true"),
    ]


def _body(a: dict[str, Any], b: dict[str, Any]) -> Html:
    found = lines(a, b, {})
    heads = [
        join(
            element("span", class_=f"key s{number}", aria_hidden="true"),
            element("a", f"{name}: {item['model']['name']}", href=result_url(item["id"])),
            element("small", f"{configuration_name(item)}; {load_name(item)}"),
            element("span", item["kind"], class_=f"badge {item['kind']}"),
            None if item["ranked"] else element("span", "not in the main ranking", class_="badge unranked"),
        )
        for number, (name, item) in enumerate((("A", a), ("B", b)))
    ]
    table = data_table(
        "Metrics of both rows; the best of two values that are told apart is marked",
        ("Metric", *heads, "B against A", "More than noise?"),
        [_row(line) for line in found],
        numeric=(1, 2, 3),
        class_="compared",
    )
    return join(
        element("p", f"{summary(found)}{_unlike(a, b)}{kinds_sentence([a, b])}", class_="verdict", role="status"),
        folded("How the difference is judged", how(METHOD), class_="how"),
        table,
        element("h2", "On the CAP radar"),
        radar_block([a, b], {}),
    )


def _unlike(a: dict[str, Any], b: dict[str, Any]) -> str:
    """What makes the two unlike, beside what is to be compared."""
    differing = compared([a, b])["differing"]
    workloads = differing.pop("workload", None)
    said = []
    if workloads:
        unlike = [key for key in workloads[0] if workloads[0][key] != workloads[1][key]]
        said.append(f"the load ({', '.join(key.replace('_', ' ') for key in unlike)})")
    said += [name for name in ("model", "hardware", "engine", "precision") if name in differing]
    if not said:
        return " Model, hardware, engine, number format and load are the same."
    caution = " Part of each difference is the load's." if workloads else ""
    return f" The two differ in {', '.join(said)}.{caution}"


def _row(line: Line) -> tuple[Child, ...]:
    name = join(line.name, element("small", _TEXTS[line.name]) if line.name in _TEXTS else None)
    return (name, *(_value(line, side) for side in _SIDES), _apart(line), _judged(line))


def _value(line: Line, side: str) -> Child:
    here = line.a if side == "a" else line.b
    if here.value is None:
        return element("span", "no value", element("small", here.metric.reason), class_="none")
    kind = "" if here.name in (line.name, here.metric.unit) else here.name
    words = "; ".join(part for part in (kind, here.how, f"n = {here.metric.n:,}" if here.metric.n else "") if part)
    text: Child = shown(here)
    if line.clear and line.apart is not None and line.better != "neither":
        ahead = line.apart > (0 if line.is_score else 1)
        if ((side == "b") == ahead) == (line.better == "higher"):
            text = element("strong", text, class_="best")
    return join(text, element("small", words) if words else None)


def _apart(line: Line) -> Child:
    if line.apart is None:
        return NO_VALUE
    if line.is_score:
        text = f"{line.apart:+.3f}"
        ends = f"{line.interval.low:+.3f} to {line.interval.high:+.3f}" if line.interval else ""
    else:
        text = f"\N{MULTIPLICATION SIGN} {line.apart:.3g}"
        ends = f"{line.interval.low:.3g} to {line.interval.high:.3g}" if line.interval else ""
    return join(text, element("small", f"95 % interval {ends}") if ends else None)


def _judged(line: Line) -> Child:
    if line.clear is None:
        return element("span", f"not said: {line.why}", class_="missing")
    return "yes" if line.clear else "no"
