"""The answer to the question of the first page as markup: verdict, configurations, radar, engines and projection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moecap.report.figures import display_value
from moecap.report.markup import Child, Html, data_table, element, folded, join, paragraph
from moecap_leaderboard.pages.contest import Contest, contests, middle, ordered, told
from moecap_leaderboard.pages.links import page_url, result_url
from moecap_leaderboard.pages.look import engine_mark
from moecap_leaderboard.pages.measures import QUANTITIES
from moecap_leaderboard.pages.naming import configuration_name, engine_name, engine_version, load_name, plural
from moecap_leaderboard.pages.pricing import FORMULA
from moecap_leaderboard.pages.projections import Projection, offer_name, projected
from moecap_leaderboard.pages.question import ANY, BOUNDS, Question, in_scope
from moecap_leaderboard.pages.radar_rows import radar_block
from moecap_leaderboard.pages.verdict import Candidate, Verdict, judged, shown

__all__ = ["answer_block"]

_CONTESTS = 12
_OFFERS = 6


def answer_block(
    items: Sequence[dict[str, Any]], question: Question, prices: Mapping[str, float] | None = None
) -> Html:
    """Everything below the question.

    Args:
        items: Rows of the question's model, of every kind.
        question: What is asked.
        prices: Dollars an hour of one device by id of the hardware, in place of what is known.
    """
    given = prices or {}
    verdict, found = judged(items, question, given), projected(question)
    return join(
        _verdict(verdict, question),
        _configurations(verdict, question, given),
        _engines(items, question, any_offer=bool(found.offers)),
        _projection(found, question),
    )


def _verdict(verdict: Verdict, question: Question) -> Html:
    mark = {"measured": "measured", "imported": "imported", "projected": "projected"}
    kinds = dict.fromkeys(mark[c.item["kind"]] for c in verdict.best)
    badges = [element("span", kind, class_=f"badge {kind}") for kind in kinds]
    basis = [element("li", line) for line in verdict.basis]
    cost = element("li", f"Cost: {FORMULA}.") if question.care == "cost" else None
    return element(
        "section",
        element("h2", "Answer ", *badges),
        element("p", verdict.sentence, class_="verdict", role="status"),
        folded("What this rests on", element("ul", *basis, cost), class_="how", open=True),
        class_="answer",
        aria_label="Answer",
    )


def _configurations(verdict: Verdict, question: Question, prices: Mapping[str, float]) -> Html | None:
    if not verdict.best:
        return None
    cards = [_card(number, candidate, question) for number, candidate in enumerate(verdict.best)]
    ids = [candidate.item["id"] for candidate in verdict.best]
    more: list[Child] = [
        element("a", "This radar with other rows and axes", href=page_url("/radar", row=ids)),
        element("a", "All rows of this model", href=page_url("/board", model=question.model, kind="all")),
        element("a", "Trade-offs", href=page_url("/tradeoffs", model=question.model)),
    ]
    if len(ids) > 1:
        more.insert(0, element("a", "Compare the first two", href=page_url("/compare", a=ids[0], b=ids[1])))
    return element(
        "section",
        element("h2", "The best configurations" if len(cards) > 1 else "The configuration"),
        element("ol", *cards, class_="cards"),
        element("p", *(join(link, " ") for link in more), class_="onward"),
        element("h2", "On the CAP radar"),
        radar_block([candidate.item for candidate in verdict.best], prices),
        aria_label="The best configurations",
    )


def _card(number: int, candidate: Candidate, question: Question) -> Html:
    item = candidate.item
    keys = dict.fromkeys((question.care, question.then or question.care, "cost", "speed", "latency"))
    figures = []
    for key in keys:
        found = candidate.measures[key]
        if found.value is None:
            text: Child = element("span", "not stated", class_="missing", title=found.metric.reason)
        else:
            text = join("\N{ALMOST EQUAL TO} " if found.estimated else "", shown(found))
        unit = {"cost": QUANTITIES["cost"].unit, "speed": "per device"}.get(key)
        name = join(QUANTITIES[key].name, element("small", unit) if unit else None)
        figures.append(element("div", element("dt", name), element("dd", text)))
    return element(
        "li",
        element(
            "h3",
            element("span", class_=f"key s{number}", aria_hidden="true"),
            element("a", configuration_name(item), href=result_url(item["id"])),
        ),
        element(
            "p",
            engine_mark(item["engine"]["name"]),
            f"{engine_version(item)}; {load_name(item)} ",
            element("span", item["kind"], class_=f"badge {item['kind']}"),
            class_="faint",
        ),
        element("dl", *figures),
    )


def _engines(items: Sequence[dict[str, Any]], question: Question, *, any_offer: bool) -> Html:
    """Engines against each other at the same load, or why there is nothing to compare."""
    scope = in_scope([item for item in items if item["ranked"]], question, engines_only=True)
    found = contests([item for item in scope if item["kind"] != "projected"])
    if found:
        body = join(paragraph(told(found[0])), _contest_table(found) if len(found) > 1 else None)
    else:
        engines = {item["engine"]["name"] for item in scope if item["kind"] != "projected"}
        why = "no row in question" if not engines else f"rows of {plural(len(engines), 'engine')}, none at one load"
        if len(engines) > 1:
            why = f"rows of {len(engines)} engines, but never at the same hardware, number format and load"
        text = f"Too little data: the board has {why}, so it cannot say which engine is faster here."
        body = paragraph(text, " What moecap projects stands below." if any_offer else None, class_="missing")
    return element("section", element("h2", "Which engine is faster, at the same load"), body, aria_label="Engines")


def _contest_table(found: Sequence[Contest]) -> Html:
    heads = (
        "Devices and number format",
        "Faster, in the median",
        "Against",
        "Times",
        "From",
        "To",
        "Loads",
        "Faster in",
    )
    rows: list[tuple[Child, ...]] = []
    for contest in found[:_CONTESTS]:
        ahead, behind, times = ordered(contest)
        rows.append(
            (
                join(contest.place, element("small", contest.kind)),
                join(engine_mark(ahead), engine_name(ahead)),
                engine_name(behind),
                *(f"{value:.2f}" for value in (middle(times), times[0], times[-1])),
                f"{len(times):,}",
                f"{sum(value > 1 for value in times):,}",
            )
        )
    caption = (
        "Throughput of one engine over that of another at the same load; the range is over loads, and of several rows "
        "of an engine at one load the fastest counts"
    )
    return data_table(caption, heads, rows, numeric=range(3, 8))


def _projection(found: Projection, question: Question) -> Html:
    bound = f" within {BOUNDS[question.tpot]} a token" if question.tpot else ""
    heading = join("Projected", bound, " ", element("span", "projected", class_="badge projected"))
    if not found.offers:
        return element(
            "section",
            element("h2", heading),
            paragraph(f"Nothing is projected: {found.reason}.", class_="missing"),
            aria_label="Projected",
        )
    best = found.offers[0]
    text = (
        f"Nothing here was measured. For {found.lengths[0]:,} tokens in and {found.lengths[1]:,} out the "
        f"cheapest{bound} is projected to be {offer_name(best)}: ${_usd(best.usd_per_million)} per million "
        f"output tokens (80 % of predictions ${_usd(best.low)} to ${_usd(best.high)}) at "
        f"{plural(best.concurrency, 'request')} at once and {display_value(best.tpot, 's')} a token."
    )
    return element(
        "section",
        element("h2", heading),
        paragraph(text, _rival(found, question)),
        _offer_table(found),
        paragraph("The same on your machine: ", element("code", found.command), class_="faint"),
        class_="projection",
        aria_label="Projected",
    )


def _rival(found: Projection, question: Question) -> str:
    """The best offer of the next engine on the same devices, where hardware is asked for."""
    if question.hw == ANY:
        return ""
    best = found.offers[0]
    same = [o for o in found.offers if o.devices == best.devices and o.hardware == best.hardware]
    rival = next((o for o in same if o.engine not in (best.engine, "offload")), None)
    if rival is None:
        return ""
    times = best.output_throughput / rival.output_throughput
    meet = rival.low <= best.high
    order = "so the order may be the other way round" if meet else "so the order holds within them"
    return (
        f" {offer_name(rival)} follows at ${_usd(rival.usd_per_million)} (${_usd(rival.low)} to ${_usd(rival.high)}): "
        f"each at its cheapest load, the first gives {times:.2f} times the tokens a second; the intervals "
        f"{'meet' if meet else 'do not meet'}, {order}."
    )


def _offer_table(found: Projection) -> Html:
    heads = (
        "Configuration",
        "USD per million output tokens",
        "80 % of predictions",
        "Requests at once",
        "TTFT, mean",
        "TPOT, mean",
        "Output tokens/s",
        "Price",
    )
    rows: list[tuple[Child, ...]] = [
        (
            join(engine_mark(offer.engine), offer_name(offer)),
            _usd(offer.usd_per_million),
            f"{_usd(offer.low)} to {_usd(offer.high)}",
            f"{offer.concurrency:,}",
            display_value(offer.ttft, "s"),
            display_value(offer.tpot, "s"),
            f"{offer.output_throughput:,.0f}",
            offer.priced if offer.rented else f"{offer.priced}; what an operator pays, no rent",
        )
        for offer in found.offers[:_OFFERS]
    ]
    caption = f"Projected, the cheapest {len(rows)} of {plural(len(found.offers), 'configuration')}"
    return data_table(caption, heads, rows, numeric=range(1, 7))


def _usd(value: float) -> str:
    """Dollars with three significant figures, so that a column of them stands aligned; thousands in full."""
    return f"{value:#.3g}".rstrip(".") if value < 999.5 else f"{value:,.0f}"
