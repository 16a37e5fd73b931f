"""Rows over each other on the report's CAP radar: their places, the figure, its legend and its numbers as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moecap.report.cap import Axis, Label, Place, cap_label, cap_rule, place
from moecap.report.cap_section import normalisation
from moecap.report.figures import display
from moecap.report.markup import Child, Html, data_table, element, folded, join
from moecap.report.radar import radar
from moecap_leaderboard.pages.chart import explained
from moecap_leaderboard.pages.links import result_url
from moecap_leaderboard.pages.measures import axis_measure, measure, row_tasks
from moecap_leaderboard.pages.naming import configuration_name, listed, load_name
from moecap_leaderboard.pages.pricing import is_rented
from moecap_leaderboard.pages.sentences import how, kinds_sentence, radar_sentence

__all__ = ["HOW", "MOST", "legend", "radar_block", "row_label", "row_places", "telling_axes"]

MOST = 6
"""Rows that one radar can hold."""

HOW = (
    "Each outline is one row. Outer is better on every axis; the bounds are printed at the axes, are declared in "
    "cap.yaml and do not depend on what is shown. An outline has a gap where its row has no value: it is not 0. Dashed "
    "outlines were not measured with moecap. Cost is at the same prices for all rows; a throughput that follows from "
    "TTFT and TPOT is marked in the table."
)


def row_places(
    item: Mapping[str, Any], prices: Mapping[str, float], axes: Sequence[Axis] | None = None
) -> tuple[Place, ...]:
    """Where a row lies on axes of the radar, all of them by default."""
    return tuple(place(axis, axis_measure(item, axis, prices).metric) for axis in axes or cap_rule().axes)


def row_label(item: Mapping[str, Any]) -> Label:
    """The label PA, PC or CA of a row by its places on this radar, so at the price at which rows are compared."""
    wanted = cap_rule().label.axes.values()
    return cap_label(row_places(item, {}, [axis for axis in cap_rule().axes if axis.key in wanted]))


def telling_axes(items: Sequence[Mapping[str, Any]]) -> tuple[Axis, ...]:
    """Cost, accuracy and performance, and every axis on which one of the rows has a value."""
    found = [row_places(item, {}) for item in items]
    return tuple(
        axis
        for number, axis in enumerate(cap_rule().axes)
        if axis.key in cap_rule().label.axes.values() or any(places[number].share is not None for places in found)
    )


def radar_block(
    items: Sequence[dict[str, Any]], prices: Mapping[str, float], axes: Sequence[Axis] | None = None
) -> Html:
    """The radar of rows with everything that explains it.

    Args:
        items: One row to :data:`MOST`.
        prices: Dollars an hour of one device by id of the hardware, in place of what is known.
        axes: Three axes or more; by default those that tell something.
    """
    shown = list(axes or telling_axes(items))
    places = [row_places(item, prices, shown) for item in items]
    names = [configuration_name(item) for item in items]
    figure = radar([(name, item["kind"], found) for name, item, found in zip(names, items, places, strict=True)])
    aside, caution = _incomparable(items, shown, prices)
    sentence = f"{radar_sentence(names, places, aside)}{kinds_sentence(items)}{caution}"
    return element(
        "figure",
        element("div", figure, legend(items), class_="radar-pair"),
        explained(sentence, how(HOW, ("S-MBU", "S-MFU", "TTFT"))),
        folded("The numbers of this radar", _table(items, prices, shown, places), class_="how"),
        normalisation(),
        class_="radar-figure",
    )


def _incomparable(
    items: Sequence[Mapping[str, Any]], axes: Sequence[Axis], prices: Mapping[str, float]
) -> tuple[frozenset[str], str]:
    """Keys of axes on which rows with values do not compare, and in words why."""
    aside, said = set(), ""
    tasks = {row_tasks(item) for item in items if row_tasks(item)}
    if len(tasks) > 1:
        aside.add("accuracy")
        said += " The rows ran different accuracy tasks and do not compare on that axis."
    unchecked = [axis for axis in axes if any(axis_measure(item, axis, prices).unchecked for item in items)]
    if unchecked:
        aside |= {axis.key for axis in unchecked}
        said += f" Not every value of {listed([axis.name for axis in unchecked])} was recomputed, so none leads there."
    rented = {is_rented(item, prices) for item in items if measure(item, "cost", prices).value is not None}
    if len(rented) > 1:
        aside.add("cost")
        said += " A cost at what an operator pays does not compare with one at a rent."
    return frozenset(aside), said


def legend(items: Sequence[dict[str, Any]]) -> Html:
    """Names of the rows in the colours of their outlines, each with a link to its result."""
    lines = [
        element(
            "li",
            element("span", class_=f"key s{number}", aria_hidden="true"),
            element(
                "div",
                element("a", configuration_name(item), href=result_url(item["id"])),
                " ",
                element("span", item["kind"], class_=f"badge {item['kind']}"),
                None if item["ranked"] else element("span", "not in the main ranking", class_="badge unranked"),
                element("small", f"{item['model']['name']}; {load_name(item)}"),
            ),
        )
        for number, item in enumerate(items)
    ]
    return element("ol", *lines, class_="legend")


def _table(
    items: Sequence[dict[str, Any]],
    prices: Mapping[str, float],
    axes: Sequence[Axis],
    places: Sequence[tuple[Place, ...]],
) -> Html:
    rows: list[tuple[Child, ...]] = []
    for number, axis in enumerate(axes):
        cells: list[Child] = []
        for item, found in zip(items, places, strict=True):
            here, said = found[number], axis_measure(item, axis, prices)
            if here.share is None:
                cells.append(element("span", "no value", element("small", here.metric.reason), class_="none"))
                continue
            beyond = ", beyond the bounds" if here.beyond else ""
            words = "; ".join(part for part in (f"place {here.share:.2f}{beyond}", said.name, said.how) if part)
            cells.append(join(display(here.metric), element("small", words)))
        bounds = f"{axis.from_text} \N{RIGHTWARDS ARROW} {axis.to_text}, {axis.scale}"
        rows.append((join(axis.name, element("small", bounds)), *cells))
    heads = [
        join(element("span", class_=f"key s{number}", aria_hidden="true"), configuration_name(item))
        for number, item in enumerate(items)
    ]
    caption = "Value on each axis, and its place from 0 at the centre to 1 at the rim"
    return data_table(caption, ("Axis, from the centre to the rim", *heads), rows, numeric=range(1, len(items) + 1))
