"""The leaderboard: one row a result, filtered, sorted and cut on the server; its address is its whole state."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from importlib.resources import files

import gradio as gr

from moecap.report.markup import Html, element, join
from moecap_leaderboard.facets import Spread, best_values
from moecap_leaderboard.listing import Filters
from moecap_leaderboard.pages.board_columns import Column, default_columns
from moecap_leaderboard.pages.board_controls import chips, controls, counts_of
from moecap_leaderboard.pages.board_query import BOARD, BoardQuery
from moecap_leaderboard.pages.board_table import results_table
from moecap_leaderboard.pages.context import Item, PageContext
from moecap_leaderboard.pages.events import on, on_open
from moecap_leaderboard.pages.look import html_block, loading, page_head
from moecap_leaderboard.pages.url_state import Query, query_from
from moecap_leaderboard.problems import ProblemError

__all__ = ["IN_NAVIGATION", "PATH", "TITLE", "board_parts", "build"]

TITLE = "Leaderboard"
PATH = BOARD
IN_NAVIGATION = True

_LEAD = (
    "One row a result. Measured numbers are recomputed here from the observations of their run; imported and projected "
    "ones stand apart unless you ask for them."
)


def build(context: PageContext) -> None:
    """The page."""
    html_block(page_head(TITLE, _LEAD))
    script = files("moecap_leaderboard.pages").joinpath("board_form.js").read_text(encoding="utf-8")
    form = html_block(id="board-controls", js=script)
    results = html_block(loading("Loading the results"), id="board-results")

    def opened(request: gr.Request) -> tuple[str, str]:
        query = query_from(request)
        return context.opened((PATH, query.pairs), lambda: board_parts(context, query))

    def changed(request: gr.Request) -> str:
        return str(_found(context, query_from(request))[2])

    on_open(opened, None, [form, results])
    on(form.submit, changed, None, results)


def board_parts(context: PageContext, address: Query) -> tuple[Html, Html]:
    """The form and the results of an address.

    Args:
        context: Where rows are.
        address: The parameters of the page's address.
    """
    query, counts, results = _found(context, address)
    known = context.spreads(Filters(kind="all"))
    form = controls(query, known, counts, context.service.columns.hardware_names(known["hardware"]))
    return form, results


def _found(context: PageContext, address: Query) -> tuple[BoardQuery, Spread, Html]:
    """What an address asks for, the counts of its filters, and the results."""
    try:
        query = BoardQuery.of(address)
        counts = context.spreads(query.asked.filters())
        results = _results(context, query, counts["kind"])
    except ProblemError as problem:
        query, results = BoardQuery.of(Query({})), _refusal(str(problem))
        counts = context.spreads(query.asked.filters())
    return query, counts, join(_numbers(query, counts), results)


def _numbers(query: BoardQuery, counts: Spread) -> Html:
    """What the script writes into the form: the numbers beside its values, and which columns are the usual ones.

    A number that is another each time lets the script tell an answer from the one before that reads the same.
    """
    return element(
        "div",
        hidden=True,
        data_counts=json.dumps(counts_of(counts)),
        data_usual=json.dumps(default_columns(query.asked.kind)),
        data_answer=time.monotonic_ns(),
    )


def _results(context: PageContext, query: BoardQuery, kinds: Mapping[str, int]) -> Html:
    filters = query.asked.filters()
    found = context.page(query.asked)
    count = sum(kinds.values()) if filters.kind == "all" else kinds.get(filters.kind, 0)
    metrics = tuple(dict.fromkeys(column.metric for column in query.shown if column.metric))
    best = best_values(context.service.columns, filters, metrics)
    last = query.first + len(found.items)
    shown = f"{query.first + 1:,}\N{EN DASH}{last:,} of {count:,}" if found.items else "none"
    line = element(
        "div",
        element("p", element("strong", shown), f" {_plural(query.asked.kind, count)}", role="status"),
        _downloads(query),
        class_="result-line",
    )
    if not found.items:
        return join(chips(query), _nothing(query, kinds))
    caption = _caption(query)
    table = results_table(query, _filled(query, found.items, best), found.items, best, caption)
    following = None if found.next is None else query.link({"cursor": found.next, "from": str(last)})
    return join(chips(query), line, table, _pager(query, following))


def _filled(query: BoardQuery, items: Sequence[Item], best: Mapping[str, float]) -> list[Column]:
    """The columns: those that were chosen, or the usual ones without those that no row fills.

    Of measured rows all the usual ones stay: that a number is missing there says something.
    """
    if query.asked.kind == "measured" or query.columns != default_columns(query.asked.kind):
        return query.shown
    filled = {name for item in items for name, metric in item["metrics"].items() if metric["value"] is not None}
    return [
        column for column in query.shown if column.metric is None or column.metric in filled or column.metric in best
    ]


def _plural(kind: str, count: int) -> str:
    words = "results" if count != 1 else "result"
    return words if kind == "all" else f"{kind} {words}"


def _caption(query: BoardQuery) -> Html:
    name = query.asked.sort.removeprefix("-")
    falling = query.asked.sort.startswith("-")
    if name == "published":
        order = "the newest first" if falling else "the oldest first"
    else:
        order = f"by {name}, the {'largest' if falling else 'smallest'} first; rows without it come last"
    kind = query.asked.kind
    aside = ", projections aside," if kind == "all" else ""
    if kind == "projected":
        bars = "Bars are 80 % prediction intervals."
    elif kind == "all":
        bars = "Bars are 95 % intervals; of projected rows 80 % prediction intervals."
    else:
        bars = "Bars are 95 % intervals; of S-MBU the bounds of an estimate, where the routing was not seen."
    best = f"The best value of a column among all ranked rows that match{aside} is bold."
    return element("span", f"Results, {order}. {best} {bars}")


def _downloads(query: BoardQuery) -> Html:
    links = [
        element("a", name, href=query.export(form), download=True)
        for form, name in (("csv", "CSV"), ("parquet", "Parquet"), ("json", "JSON"))
    ]
    return element("p", "Download all rows that match: ", *_spaced(links), class_="downloads")


def _spaced(links: list[Html]) -> list[Html | str]:
    return [part for link in links for part in (link, " ")][:-1]


def _pager(query: BoardQuery, following: str | None) -> Html | None:
    first = element("a", "First page", href=query.link(), data_state=True) if query.asked.cursor else None
    more = element("a", "Next page", href=following, data_state=True, rel="next") if following else None
    return element("nav", first, more, class_="pager", aria_label="Pages of results") if first or more else None


def _nothing(query: BoardQuery, kinds: Mapping[str, int]) -> Html:
    """What stands in place of a table without rows, with the ways on."""
    others = [
        element("a", f"{count:,} {kind}", href=query.link({"kind": kind}), data_state=True)
        for kind, count in kinds.items()
        if count and kind != query.asked.kind
    ]
    filtered = query.cleared() != query.link()
    ways: list[Html] = []
    if others:
        ways.append(element("p", "The same filters match other kinds of rows: ", *_spaced(others), "."))
    if filtered:
        ways.append(element("p", element("a", "Clear all filters", href=query.cleared(), data_state=True), "."))
    if not ways:
        ways.append(element("p", "Be the first: ", element("code", "moecap submit RUN --url URL --token KEY"), "."))
    words = f"No {query.asked.kind} result matches" if query.asked.kind != "all" else "No result matches"
    return element(
        "div", element("h2", words if filtered else words.replace(" matches", " yet")), *ways, class_="empty"
    )


def _refusal(problem: str) -> Html:
    """What stands where the address asks for what cannot be."""
    again = element("a", "Open the leaderboard without filters", href=BOARD)
    return element(
        "div",
        element("h2", "This address asks for what there is not"),
        element("p", problem),
        again,
        class_="empty",
        role="alert",
    )
