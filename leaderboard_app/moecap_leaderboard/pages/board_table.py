"""The leaderboard's table as markup: one row a result, numbers aligned on the point, the best of a column marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby

from moecap.metrics.direction import better_of
from moecap.report.markup import Child, Html, element
from moecap_leaderboard.pages.board_cells import Scale, metric_cell, scale_of, word_cell
from moecap_leaderboard.pages.board_columns import Column, value_of
from moecap_leaderboard.pages.board_query import BoardQuery
from moecap_leaderboard.pages.context import Item

__all__ = ["results_table"]


def results_table(
    query: BoardQuery,
    columns: Sequence[Column],
    items: Sequence[Item],
    best: Mapping[str, float],
    caption: Child,
    now: datetime | None = None,
) -> Html:
    """The table of one page of rows.

    Args:
        query: What was asked for.
        columns: The columns after the model.
        items: The rows.
        best: The best value of each metric among all rows that match.
        caption: What the table holds.
        now: The time from which ages are counted; the present by default.
    """
    scales = {column.key: scale_of(column, items) for column in columns if column.metric}
    at = now or datetime.now(UTC)
    body = [_row(item, columns, scales, best, at) for item in items]
    table = element(
        "table",
        element("caption", caption),
        element("thead", *_heads(query, columns)),
        element("tbody", *body),
        class_="board",
    )
    return element("div", table, class_="scroll board-scroll", tabindex=0, role="region", aria_label="Results")


def _heads(query: BoardQuery, columns: Sequence[Column]) -> list[Html]:
    """Two rows of heads: what neighbours share, and each with its unit."""
    upper: list[Html] = [element("th", "Model", scope="col", rowspan=2, class_="model")]
    lower: list[Html] = []
    for group, members in groupby(columns, key=lambda column: column.group):
        found = list(members)
        if not group:
            upper += [_head(query, column, rowspan=2) for column in found]
            continue
        upper.append(element("th", group, scope="colgroup", colspan=len(found), class_="group"))
        lower += [_head(query, column) for column in found]
    return [element("tr", *upper), element("tr", *lower)]


def _head(query: BoardQuery, column: Column, rowspan: int | None = None) -> Html:
    metric = "published" if column.key == "age" else column.metric
    unit = element("small", column.unit) if column.unit else None
    number = "number" if column.unit or column.key == "age" else None
    if metric is None:
        return element("th", column.head, unit, scope="col", rowspan=rowspan, class_=number, title=column.text)
    now = query.asked.sort
    first = "-published" if column.key == "age" else column.best_first
    other = first.removeprefix("-") if first.startswith("-") else f"-{first}"
    sorted_by = now.removeprefix("-") == metric
    falling = now.startswith("-") != column.inverse  # a quotient falls as its divisor rises
    direction = ("descending" if falling else "ascending") if sorted_by else None
    arrow = element("span", "\N{DOWNWARDS ARROW}" if falling else "\N{UPWARDS ARROW}", aria_hidden="true")
    link = element(
        "a",
        column.head,
        arrow if sorted_by else None,
        href=query.link({"sort": other if now == first else first}),
        data_state=True,
        title=f"{column.text}; sort by it",
    )
    return element("th", link, unit, scope="col", rowspan=rowspan, class_=number, aria_sort=direction)


def _row(
    item: Item, columns: Sequence[Column], scales: Mapping[str, Scale], best: Mapping[str, float], now: datetime
) -> Html:
    cells: list[Html] = []
    for column in columns:
        if column.metric is None:
            cells.append(word_cell(column.key, item, now))
        else:
            mark = best.get(column.metric) if better_of(column.metric) != "neither" else None
            cells.append(metric_cell(column, value_of(column, item), item, scales[column.key], mark))
    return element("tr", _model(item), *cells, class_=item["kind"])


def _model(item: Item) -> Html:
    """The head of a row: the model, and what keeps it out of the main ranking."""
    model = item["model"]
    warnings = [flag["text"] for flag in item["flags"] if flag["level"] in ("warning", "invalid")]
    barred = item["unranked_because"]
    remark = None
    if barred or warnings:
        text = f"not ranked: {', '.join(barred)}" if barred else f"{len(warnings)} remarks"
        remark = element("small", text, class_="barred" if barred else "remarks", title="\n".join(warnings) or None)
    link = element("a", model["name"], href=f"/result?id={item['id']}", title=model["id"])
    precision = str(item["precision"])
    mark = f"badge {item['kind']}" if item["kind"] != "measured" else None
    kind = element("span", item["kind"], class_=mark, title=item["source"])
    below = element("small", element("span", precision.partition(" ")[0], title=precision), " ", kind)
    return element("th", link, below, remark, scope="row", class_="model")
