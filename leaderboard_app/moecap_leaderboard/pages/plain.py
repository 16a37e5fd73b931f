"""What a client without scripts reads of the pages: what is here, how much of it, and where the API is."""

from __future__ import annotations

from moecap.report.markup import Html, element, join
from moecap_leaderboard.listing import Filters
from moecap_leaderboard.pages.context import PageContext

__all__ = ["plain_summary"]

_KINDS = {
    "measured": "measured by moecap and recomputed here from the observations",
    "imported": "published by others, each with its source; not checked here",
    "projected": "projected by a model of the hardware; nothing was measured",
}

_PATHS = {
    "/api/v1/results?kind=all&limit=20": "rows, with filters, sort and cursor",
    "/api/v1/export.csv?kind=all": "all of them; also export.parquet and export.json",
    "/api/v1/requests": "evaluations that were asked for",
    "/api/v1/schema": "schema, metrics and rules",
    "/docs": "every path",
}


def plain_summary(context: PageContext) -> Html:
    """The number of rows of each kind and the paths of the API."""
    counts = context.spreads(Filters(kind="all"))["kind"]
    rows = [
        element("tr", element("td", f"{counts.get(kind, 0):,}"), element("td", kind), element("td", text))
        for kind, text in _KINDS.items()
    ]
    paths = [element("li", element("a", path, href=path), f": {text}") for path, text in _PATHS.items()]
    return join(
        element("h1", "moecap leaderboard"),
        element("p", "Accuracy, cost and performance of Mixture-of-Experts language models on real hardware."),
        element("p", "These pages need scripts. The same data without:"),
        element("table", *rows),
        element("ul", *paths),
        element("p", "Send a run: ", element("code", "moecap submit RUN --url URL --token KEY")),
    )
