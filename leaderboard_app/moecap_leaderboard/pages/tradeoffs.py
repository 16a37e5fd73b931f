"""The page of trade-offs: any two quantities, the frontier, and prices that move everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain, islice
from typing import Any, Literal

from moecap.report.figures import display_value
from moecap.report.markup import Child, Html, data_table, element, folded, join, paragraph
from moecap_leaderboard.listing import Filters, all_items
from moecap_leaderboard.pages.chart import explained, plot, shown_plot
from moecap_leaderboard.pages.context import PageContext
from moecap_leaderboard.pages.form import Choice, answered, form, form_block, select, slider
from moecap_leaderboard.pages.links import page_url, result_url
from moecap_leaderboard.pages.look import html_block, page_head
from moecap_leaderboard.pages.measures import QUANTITIES
from moecap_leaderboard.pages.naming import configuration_name, hardware_name, load_name, plural
from moecap_leaderboard.pages.pareto import Scatter, scatter
from moecap_leaderboard.pages.pricing import FORMULA, row_rent
from moecap_leaderboard.pages.question import ANY, EVIDENCE, SHAPES, in_scope, read_question
from moecap_leaderboard.pages.row_sets import MOST_ROWS
from moecap_leaderboard.pages.sentences import how, kinds_sentence, pareto_sentence
from moecap_leaderboard.pages.tradeoffs_chart import tradeoffs_chart
from moecap_leaderboard.pages.url_state import Query

__all__ = ["IN_NAVIGATION", "PATH", "TITLE", "build"]

TITLE = "Trade-offs"
PATH = "/tradeoffs"
IN_NAVIGATION = True

_PAIRS = (("latency", "cost"), ("energy", "cost"), ("accuracy", "cost"), ("speed", "cost"))
"""Of these the first that at least two rows have is drawn where none is asked for."""

Kind = Literal["measured", "imported", "projected"]
_KINDS: dict[str, tuple[Kind, ...]] = {
    "observed": ("measured", "imported"),
    "measured": ("measured",),
    "projected": ("projected",),
}
_USD = "usd."
"""Begins the parameter of a price, before the id of the hardware."""
_STEP = 0.01
_MOST_USD = 10_000.0
_LISTED = 200

HOW = (
    "A point is a row; its colour is its engine, and its shape says whether it was measured with moecap (circle), "
    "published by others (open circle) or projected (open diamond). Rows on the frontier, which no other row beats in "
    "both quantities, are joined by a line; all others are faded. Rows of different loads stand side by side: choose "
    "lengths to compare like with like. A row that states no throughput has that of its requests in flight (Little's "
    "law). A price that is moved computes every cost anew: "
)


def build(context: PageContext) -> None:
    """Build it inside its route."""
    html_block(page_head("Trade-offs", "What one quantity costs in another, and who gives the most for it."))
    controls = form_block()
    chart = plot(label="Rows in two quantities, with the frontier", id="tradeoffs-chart")
    below = html_block(id="tradeoffs")
    answered(context, controls, [controls, chart, below], lambda query: _answer(context, query))


def read_prices(query: Query, known: Mapping[str, float]) -> dict[str, float]:
    """Prices by id of the hardware from ``usd.ID=USD``; what is none, or what is known anyway, is left out."""
    found = {}
    for name in query:
        hardware = name.removeprefix(_USD)
        try:
            usd = float(query.first(name)) if hardware != name else 0.0
        except ValueError:
            continue
        if 0 < usd < _MOST_USD and usd != known.get(hardware):
            found[hardware] = usd
    return found


def _known(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The price of each hardware, that of most rows first, to the step of the slider, so that it can be set again."""
    rents: dict[str, float] = {}
    for item in rows:
        name = item["hardware"]["id"]
        if name not in rents and (rent := row_rent(item, {})) is not None:
            rents[name] = round(rent.usd_per_hour, 2)
    counts = Counter(item["hardware"]["id"] for item in rows)
    return {name: rents[name] for name, _ in counts.most_common() if name in rents}


def _answer(context: PageContext, query: Query) -> Sequence[Any]:
    models = context.options().model
    first = next(iter(models), ANY)
    given = {name: query.first(name) for name in ("shape", "by", "model")}
    asked = read_question(given, [*models, ANY])
    model = asked.model
    every = _rows(context, model, asked.by)
    rows = in_scope(every, asked)
    default = _telling(rows)
    x, y = _axis(query.first("x"), default[0]), _axis(query.first("y"), default[1])
    if x == y:
        y = next(key for key in QUANTITIES if key != x)
    known = _known(rows)
    prices = read_prices(query, known)
    found = scatter(rows, x, y, prices)
    controls = form(
        select("x", "Across", [Choice(key, q.name) for key, q in QUANTITIES.items()], x),
        select("y", "Up", [Choice(key, q.name) for key, q in QUANTITIES.items() if key != x], y),
        select(
            "model",
            "Model",
            [Choice(ANY, "all models"), *(Choice(m, f"{m} ({count})") for m, count in models.items())],
            model,
        ),
        select("shape", "Lengths", [Choice(key, text) for key, text in SHAPES.items()], asked.shape),
        select("by", "Rows that are", [Choice(key, text) for key, text in EVIDENCE.items()], asked.by),
        *_price_controls(known, query.first("hw"), prices),
        defaults={
            "x": [default[0]],
            "y": [default[1]],
            "model": [first],
            "shape": [ANY],
            "by": ["observed"],
            "hw": list(known)[:1],
            **{f"{_USD}{name}": [f"{usd:g}"] for name, usd in known.items()},
        },
        label="Quantities, rows and prices",
    )
    return str(controls), shown_plot(tradeoffs_chart(found, x, y)), str(_below(found, x, y, prices, len(every)))


def _telling(rows: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """The two quantities that are shown where none are asked for: the first pair that at least two rows have."""
    return next((pair for pair in _PAIRS if len(scatter(rows, *pair, {}).points) > 1), _PAIRS[0])


def _axis(asked: str, default: str) -> str:
    return asked if asked in QUANTITIES else default


def _rows(context: PageContext, model: str, by: str) -> list[dict[str, Any]]:
    models = () if model == ANY else (model,)
    kinds: tuple[Kind, ...] = _KINDS[by]
    parts = (Filters(kind=kind, ranked="true", model=models) for kind in kinds)
    found = (all_items(context.service.database, filters, "-published") for filters in parts)
    return list(islice(chain.from_iterable(found), MOST_ROWS))


def _price_controls(known: Mapping[str, float], asked: str, prices: Mapping[str, float]) -> list[Html]:
    hardware = asked if asked in known else next(iter(known), "")
    if not hardware:
        return []
    usd = prices.get(hardware, known[hardware])
    high = max(10.0, 2 * known[hardware], usd)
    held = [(name, value) for name, value in prices.items() if name != hardware]
    choices = [Choice(key, hardware_name(key, key)) for key in known]
    return [
        select("hw", "Move the price of", choices, hardware),
        slider(f"{_USD}{hardware}", "USD per device-hour", usd, _STEP, high, _STEP, f"${usd:.2f} an hour"),
        *(
            element("input", type="hidden", name=f"{_USD}{name}", value=f"{value:g}", data_field=True)
            for name, value in held
        ),
        *([element("a", "Known prices again", href=PATH)] if prices else []),
    ]


def _below(found: Scatter, x: str, y: str, prices: Mapping[str, float], rows: int) -> Html:
    if not found.points and not found.missing:
        return element(
            "div",
            element("h2", "Nothing to draw"),
            paragraph("The board has no such row. Choose another model, or rows that are published or projected."),
            class_="empty",
        )
    front = found.front
    names = [f"{p.item['model']['name']} on {configuration_name(p.item)}" for p in front]
    sentence = pareto_sentence(QUANTITIES[x].name, QUANTITIES[y].name, len(found.points), names, found.missing)
    given = "; ".join(f"{hardware_name(k, k)} at ${v:.2f} per device-hour" for k, v in prices.items())
    priced = f" Priced by you: {given}." if given else ""
    kinds = kinds_sentence([p.item for p in found.points])
    estimated = sum(p.x.estimated or p.y.estimated for p in found.points)
    follows = f" The throughput of {plural(estimated, 'row')} follows from TTFT and TPOT." if estimated else ""
    capped = f" Of all rows the newest {MOST_ROWS:,} are looked at." if rows >= MOST_ROWS else ""
    return join(
        explained(
            f"{sentence}{kinds}{_aside(found)}{follows}{priced}{capped}",
            how(f"{HOW}{FORMULA}.", ("TTFT", "TPOT", "ITL")),
        ),
        folded("The rows as a table, those on the frontier first", _table(found, x, y), class_="how")
        if front
        else None,
    )


def _aside(found: Scatter) -> str:
    """Which rows are not compared, in words; empty where all are."""
    text = f" Scores are of {found.tasks}." if found.tasks else ""
    if found.other_tasks:
        text += f" {plural(found.other_tasks, 'row has scores', 'rows have scores')} of other tasks, left out."
    if found.unrented:
        priced = f"{plural(found.unrented, 'row is', 'rows are')} priced at what an operator pays and no rent"
        mixed = found.unrented < len(found.points)
        text += f" {priced}{', drawn but not compared with the others' if mixed else ''}."
    return text


def _table(found: Scatter, x: str, y: str) -> Html:
    rows: list[tuple[Child, ...]] = []
    for placed in [*found.front, *(p for p in found.points if not p.on_front)][:_LISTED]:
        cells: list[Child] = []
        for measure in (placed.x, placed.y):
            metric = measure.metric
            text = display_value(metric.value or 0.0, metric.unit)
            cells.append(join(text, element("small", "; ".join(filter(None, (measure.name, measure.how))))))
        item = placed.item
        link = element("a", f"{item['model']['name']}, {configuration_name(item)}", href=result_url(item["id"]))
        mark = "on the frontier" if placed.on_front else ""
        rows.append((join(link, element("small", item["kind"])), load_name(item), *cells, mark))
    heads = ("Row", "Load", QUANTITIES[x].name, QUANTITIES[y].name, "Frontier")
    ids = [placed.item["id"] for placed in found.front]
    caption = f"{plural(len(rows), 'row')} of the n = {len(found.points):,} that are drawn"
    table = data_table(caption, heads, rows, numeric=(2, 3))
    if len(ids) < 2:
        return table
    return join(table, paragraph(element("a", "The first of them on the radar", href=page_url("/radar", row=ids[:6]))))
