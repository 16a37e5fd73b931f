"""A page of charts that a row's run gives: the row is chosen, its charts are drawn from its observations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moecap.errors import MoecapError
from moecap.report.markup import Html, element, folded, join, paragraph
from moecap.report.section import Drawn, marked
from moecap_leaderboard.drawn_charts import RunCharts, StoredCharts, Subject
from moecap_leaderboard.listing import Filters, all_items
from moecap_leaderboard.pages.chart import explained, plot, shown_plot, styled
from moecap_leaderboard.pages.chart_table import chart_table
from moecap_leaderboard.pages.context import PageContext
from moecap_leaderboard.pages.form import Choice, answered, form, form_block, select
from moecap_leaderboard.pages.links import result_url
from moecap_leaderboard.pages.look import html_block, loading, page_head
from moecap_leaderboard.pages.naming import configuration_name, load_name
from moecap_leaderboard.pages.row_sets import rows_by_id
from moecap_leaderboard.pages.sentences import how
from moecap_leaderboard.pages.url_state import Query
from moecap_leaderboard.problems import ProblemError

__all__ = ["build_run_charts"]

_CHOICES = 300
_COLOURS = {
    "--blue": "#0072b2",
    "--orange": "#c8780a",
    "--green": "#00946b",
    "--purple": "#b0608a",
    "--red": "#c8500a",
    "--grey": "#7f8790",
    "--muted": "#7f8790",
    "--ink": "#7f8790",
    "--low": "#0072b2",
    "--middle": "rgba(127, 135, 144, 0.1)",
    "--high": "#c8780a",
}
"""The report's colours by their names, each readable on the light and on the dark paper."""


def build_run_charts(context: PageContext, subject: Subject, title: str, lead: str, charts: int) -> None:
    """Build a page of charts.

    Args:
        context: The service.
        subject: What the charts are of.
        title: Of the page.
        lead: What it shows.
        charts: How many charts there are at most.
    """
    stored = StoredCharts(context.service)
    html_block(page_head(title, lead))
    controls = form_block()
    places: list[Any] = []
    for number in range(charts):
        places += [
            html_block(loading("Drawing") if number == 0 else ""),
            plot(label=f"{title}, chart {number + 1}", id=f"{subject}-{number}"),
            html_block(),
        ]
    places.append(html_block(id=f"{subject}-table"))
    answered(context, controls, [controls], lambda query: [_controls(context, query)])
    answered(None, controls, places, lambda query: _answer(context, stored, subject, charts, query))


def _controls(context: PageContext, query: Query) -> str:
    """The choice of the row."""
    known = _with_runs(context)
    asked = _asked(known, query)
    choices = [_choice(item) for item in known]
    if asked and asked not in (choice.value for choice in choices):
        choices += [_choice(item) for item in rows_by_id(context, [asked])[0]]
    controls = form(
        select("id", "Row", choices or [Choice("", "no row with observations yet")], asked),
        element("a", "This row's result", href=result_url(asked)) if asked else None,
        defaults={"id": [known[0]["id"] if known else ""]},
        label="The row",
    )
    return str(controls)


def _answer(context: PageContext, stored: StoredCharts, subject: Subject, charts: int, query: Query) -> Sequence[Any]:
    """Heading, figure and explanation of every chart, and the table below them."""
    asked = _asked(_with_runs(context), query)
    nothing = ("", shown_plot(None), "")
    if not asked:
        text = "The board has no row with observations yet."
        return [*(nothing * charts), str(_empty("Nothing to draw", text))]
    try:
        _, missing = rows_by_id(context, [asked])
        if missing:
            raise ProblemError("not-found", missing[0])
        found = stored.of(asked, subject)
    except (ProblemError, MoecapError) as error:
        text = f"No chart: {error}. Charts need the observations of a run; choose a row that was measured with moecap."
        return [*(nothing * charts), str(_empty("Nothing to draw for this row", text))]
    parts: list[Any] = []
    for number in range(charts):
        parts += _place(found.charts[number], found) if number < len(found.charts) else nothing
    return [*parts, str(found.table or "")]


def _asked(known: Sequence[dict[str, Any]], query: Query) -> str:
    """The row that is asked for, else the newest with a run."""
    return query.first("id") or (known[0]["id"] if known else "")


def _empty(heading: str, text: str) -> Html:
    return element("div", element("h2", heading), paragraph(text), class_="empty")


def _with_runs(context: PageContext) -> list[dict[str, Any]]:
    """Rows that a run came with, the newest first."""
    found = []
    for item in all_items(context.service.database, Filters(kind="measured"), "-published"):
        found.append(item)
        if len(found) == _CHOICES:
            break
    return found


def _choice(item: dict[str, Any]) -> Choice:
    text = f"{item['model']['name']}: {configuration_name(item)}; {load_name(item)}"
    return Choice(item["id"], text, item["kind"])


def _place(drawn: Drawn, found: RunCharts) -> tuple[str, Any, str]:
    """Heading, figure and explanation of one chart."""
    if drawn.chart is None:
        reason = paragraph(f"{drawn.title}: no chart, since {drawn.sentence}.", class_="missing")
        return str(reason), shown_plot(None), ""
    import plotly.graph_objects as go

    layout = {**marked(drawn.chart.layout, found.kind), "height": drawn.chart.height}
    figure = styled(go.Figure({"data": _coloured(drawn.chart.data), "layout": _coloured(layout)}))
    kind = element("span", found.kind, class_=f"badge {found.kind}")
    heading = element("h2", f"{drawn.title} ", kind)
    below: Html = explained(drawn.sentence, how(drawn.how, drawn.terms))
    table = chart_table(drawn.chart)
    return (
        str(heading),
        figure,
        str(join(below, folded("The chart as a table", table, class_="how") if table else None)),
    )


def _coloured(value: Any) -> Any:
    """A chart of the report with its colours in place of their names."""
    if isinstance(value, str):
        return _COLOURS.get(value, value)
    if isinstance(value, list):
        return [_coloured(inner) for inner in value]
    if isinstance(value, dict):
        return {key: _coloured(inner) for key, inner in value.items()}
    return value
