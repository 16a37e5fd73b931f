"""The page of the CAP radar: up to six rows over each other, on axes by choice, with a picture to take away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moecap.report.cap import cap_rule
from moecap.report.markup import Child, Html, element, join, paragraph
from moecap_leaderboard.pages.context import PageContext
from moecap_leaderboard.pages.form import Choice, answered, chips, form, form_block, select
from moecap_leaderboard.pages.look import html_block, page_head
from moecap_leaderboard.pages.naming import configuration_name, engine_name, load_name, placed_hardware, plural
from moecap_leaderboard.pages.picture import PICTURE_SCRIPT, picture_buttons
from moecap_leaderboard.pages.radar_rows import MOST, radar_block, telling_axes
from moecap_leaderboard.pages.row_sets import ModelRows, rows_by_id
from moecap_leaderboard.pages.url_state import Query

__all__ = ["IN_NAVIGATION", "PATH", "TITLE", "build", "row_choices"]

TITLE = "Radar"
PATH = "/radar"
IN_NAVIGATION = True

_LEAST = 3
"""Axes that a radar needs."""

_CHOICES = 400
"""Rows of a model that its list names."""


def build(context: PageContext) -> None:
    """Build it inside its route."""
    html_block(
        page_head(
            "CAP radar",
            "Cost, accuracy and performance of up to six rows over each other. Outer is better, and the bounds are "
            "declared and never depend on what is shown.",
        )
    )
    controls = form_block()
    figure = html_block(id="radar", js=PICTURE_SCRIPT)
    answered(context, controls, [controls, figure], lambda query: _answer(context, query))


def _answer(context: PageContext, query: Query) -> Sequence[str]:
    options, read = context.options(), ModelRows(context)
    asked = list(dict.fromkeys([*query.every("row"), *query.every("add")]))
    items, missing = rows_by_id(context, asked[:MOST])
    model = query.first("model")
    if model not in options.model:
        model = items[-1]["model"]["id"] if items else next(iter(options.model), "")
    if not asked and model:
        items = _first_rows(read.of(model))
    axes = [axis for axis in cap_rule().axes if axis.key in query.every("axis")]
    before = [item for item in items if item["id"] in query.every("row")]
    chosen = len(axes) >= _LEAST and axes != list(telling_axes(before))
    shown = axes if chosen else list(telling_axes(items))
    controls = form(
        chips("row", "Rows on the radar", [(item["id"], _chip(number, item)) for number, item in enumerate(items)]),
        select("model", "Model", [Choice(m, f"{m} ({count})") for m, count in options.model.items()], model),
        _adding(read.of(model), items),
        _axes_field([axis.key for axis in shown]),
        defaults={"axis": [axis.key for axis in telling_axes(items)]},
        label="Rows and axes of the radar",
    )
    remarks = [paragraph(f"Left out: {text}.", class_="alarm") for text in missing]
    if len(asked) > MOST:
        remarks.append(paragraph(f"A radar holds {MOST} rows; the others are left out.", class_="alarm"))
    if axes and len(axes) < _LEAST:
        remarks.append(paragraph(f"A radar needs {_LEAST} axes; choose more.", class_="alarm"))
    if not items:
        return str(controls), str(join(*remarks, _empty(bool(options.model))))
    return str(controls), str(join(*remarks, radar_block(items, {}, shown), picture_buttons("cap-radar")))


def _chip(number: int, item: dict[str, Any]) -> Html:
    text = f"{item['model']['name']}: {configuration_name(item)}"
    return join(element("span", class_=f"key s{number}", aria_hidden="true"), element("span", text))


def _first_rows(items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a radar shows before anybody has chosen: newest rows of three configurations, ranked and measured first."""
    kinds = ("measured", "imported", "projected")
    ordered = sorted(items, key=lambda item: (not item["ranked"], kinds.index(item["kind"])))
    found: dict[str, dict[str, Any]] = {}
    for item in ordered:
        found.setdefault(configuration_name(item), item)
    return list(found.values())[:3]


def _adding(of_model: Sequence[dict[str, Any]], items: Sequence[dict[str, Any]]) -> Html | None:
    if len(items) >= MOST:
        return paragraph(f"{MOST} rows are shown; take one away to add another.", class_="missing")
    taken = {item["id"] for item in items}
    rows = [item for item in of_model if item["id"] not in taken]
    return select("add", "Add a row", [Choice("", f"choose of {plural(len(rows), 'row')}"), *row_choices(rows)], "")


def row_choices(items: Sequence[dict[str, Any]]) -> list[Choice]:
    """Rows of one model as choices, in groups by configuration; measured rows first."""
    kinds = ("measured", "imported", "projected")
    ordered = sorted(
        items,
        key=lambda item: (
            kinds.index(item["kind"]),
            configuration_name(item),
            *(item["workload"][key] or 0 for key in ("input_len", "output_len", "concurrency")),
        ),
    )
    return [
        Choice(item["id"], _row_label(item), f"{item['kind']}: {configuration_name(item)}")
        for item in ordered[:_CHOICES]
    ]


def _row_label(item: dict[str, Any]) -> str:
    """A row of a known model, what tells it apart first."""
    precision = item["precision"].split(" (")[0]
    return f"{engine_name(item['engine']['name'])} {precision}; {load_name(item)}; {placed_hardware(item)}"


def _axes_field(shown: Sequence[str]) -> Html:
    boxes: list[Child] = [
        element(
            "label",
            element("input", type="checkbox", name="axis", value=axis.key, checked=axis.key in shown, data_field=True),
            element("span", axis.name),
        )
        for axis in cap_rule().axes
    ]
    return element("fieldset", element("legend", "Axes"), *boxes)


def _empty(any_row: bool) -> Html:
    text = "Choose a row above." if any_row else "The board has no row yet."
    return element("div", element("h2", "Nothing to draw"), paragraph(text), class_="empty")
