"""The page of a result: its figures, what they rest on, how to repeat it, where it comes from, what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from moecap.report.headline import KINDS, badge, load_sentence
from moecap.report.markup import Child, Html, element, join, paragraph
from moecap.result import Result
from moecap_leaderboard.listing import items_of
from moecap_leaderboard.pages.context import PageContext
from moecap_leaderboard.pages.events import on_open
from moecap_leaderboard.pages.links import page_url
from moecap_leaderboard.pages.look import engine_mark, html_block, loading
from moecap_leaderboard.pages.naming import engine_name, listed, load_name, placed_hardware
from moecap_leaderboard.pages.radar_rows import row_label
from moecap_leaderboard.pages.result_evidence import figures, flags, rules, tiles, trust
from moecap_leaderboard.pages.result_record import files, history, provenance, repeating
from moecap_leaderboard.pages.url_state import query_from
from moecap_leaderboard.problems import ProblemError
from moecap_leaderboard.reports import file_sizes, result_report, row_or_tombstone
from moecap_leaderboard.reports import history as audit_lines

__all__ = ["IN_NAVIGATION", "PATH", "TITLE", "build", "result_page"]

TITLE = "Result"
PATH = "/result"
IN_NAVIGATION = False


def build(context: PageContext) -> None:
    """The page."""
    place = html_block(loading(), id="result")

    def opened(request: gr.Request) -> str:
        return result_page(context, query_from(request).first("id"), str(request.request.base_url).rstrip("/"))

    on_open(opened, None, place)


def result_page(context: PageContext, identifier: str, site: str) -> Html:
    """Everything about a result, or why there is nothing.

    Args:
        context: Where to read.
        identifier: Its id.
        site: The address of this leaderboard.
    """
    if not identifier:
        return _nothing("No result is named", "Each row of the leaderboard leads to its own page.")
    with context.service.database.reading() as session:
        try:
            row = row_or_tombstone(session, identifier)
        except ProblemError:
            said = (
                f"There is no result {identifier[:64]} here. It may be on another leaderboard, or was never accepted."
            )
            return _nothing("No such result", said)
        sizes = file_sizes(session, row)
        asked = {"reproduces": row.reproduces}
        if row.state != "published":
            stone = items_of(session, [row])[0] | {"history": audit_lines(session, row)}
            return _tombstone(stone, asked)
        found = result_report(session, context.service.blobs, row)
    return _whole(found, sizes, asked, site)


def _whole(found: Mapping[str, Any], sizes: Mapping[str, int], asked: Mapping[str, Any], site: str) -> Html:
    run = _run(found)
    return join(
        _head(found, run),
        tiles(found),
        _section("repeat", "Repeat it", repeating(found, site)),
        _section("trust", "What it rests on", trust(found), rules(found["rules"])),
        _section("validity", "Validity", flags(found["flags"])),
        _section("figures", "Figures", figures(found)),
        _charts(found, sizes),
        _section("files", "Files", files(found, sizes)),
        _section("provenance", "Provenance", provenance(found)),
        _section("history", "History", history(found, asked)),
    )


def _run(found: Mapping[str, Any]) -> Result | None:
    """The result of a run; ``None`` of figures."""
    return Result.model_validate(found["result"]) if "provenance" in found["result"] else None


def _head(found: Mapping[str, Any], run: Result | None) -> Html:
    badges: list[Html] = [
        badge(found["kind"], found["kind"], KINDS[found["kind"]]),
        badge(found["tier"].replace("_", " "), found["tier"]),
    ]
    if run is not None:
        label = row_label(found)
        badges.append(badge(label.text or "no PA/PC/CA label", "cap", label.reason))
    if not found["ranked"]:
        badges.append(badge("not in the main ranking", "unranked"))
    load = load_sentence(run) if run is not None else load_name(found)
    facts = [
        f"{engine_name(found['engine']['name'])} {found['engine']['version']}",
        found["precision"],
        load,
        f"sent by {found['owner']}" if run is not None else "",
        f"version {found['version']} of {found['versions']}",
    ]
    barred = None
    if found["unranked_because"]:
        words = listed([name.replace("_", " ") for name in found["unranked_because"]])
        barred = paragraph(f"It is kept out of the main ranking by: {words}.", class_="alarm")
    return element(
        "header",
        element("div", *badges, class_="badges"),
        element("h1", engine_mark(found["engine"]["name"]), _title(found)),
        paragraph("; ".join(filter(None, facts)), ".", class_="lead"),
        barred,
        paragraph(element("code", found["id"], class_="digest"), class_="faint"),
        class_="page-head",
    )


def _title(found: Mapping[str, Any]) -> str:
    return f"{found['model']['name']} on {placed_hardware(found)}"


def _charts(found: Mapping[str, Any], sizes: Mapping[str, int]) -> Html | None:
    """The report of the run with all its charts, and the pages that compare it with others."""
    identifier, observed = found["id"], len(sizes) > 1
    others = element(
        "p",
        element("a", "CAP radar", href=page_url("/radar", row=identifier)),
        element("a", "Roofline", href=page_url("/roofline", id=identifier)) if observed else None,
        element("a", "Experts", href=page_url("/experts", id=identifier)) if observed else None,
        element("a", "Compare with another", href=page_url("/compare", a=identifier)),
        element("a", "Trade-offs of its model", href=page_url("/tradeoffs", model=found["model"]["id"])),
        class_="onward",
    )
    if not observed:
        none = paragraph("No observations came with it, so no chart of its own can be drawn.", class_="missing")
        return _section("charts", "Charts", none, others)
    place = f"/api/v1/results/{identifier}/report.html"
    frame = element("iframe", src=place, title="Report of this run", loading="lazy", class_="report")
    said = paragraph(
        "Radar, roofline, utilisation, experts, latencies and cost of this run, drawn from its observations: ",
        element("a", "the report as a page of its own", href=place),
        ".",
    )
    shown = element("details", element("summary", "Show the report here"), frame)
    return _section("charts", "Charts", said, shown, others)


def _tombstone(found: Mapping[str, Any], asked: Mapping[str, Any]) -> Html:
    last = found["history"][-1]
    who = "its owner" if found["state"] == "withdrawn" else "a moderator"
    said = f"It was {found['state']} by {who}: {last['reason'] or 'no reason was given'}."
    return join(
        element(
            "header",
            element("div", badge(found["state"], "gone"), class_="badges"),
            element("h1", _title(found)),
            paragraph(said, class_="alarm"),
            paragraph("Its numbers are off the board; that it was there, and why it went, stays."),
            paragraph(element("code", found["id"], class_="digest"), class_="faint"),
            class_="page-head",
        ),
        _section("history", "History", history(found, asked)),
    )


def _nothing(title: str, said: str) -> Html:
    return element(
        "div",
        element("h1", title),
        paragraph(said),
        paragraph(element("a", "Open the leaderboard", href="/board"), class_="onward"),
        class_="empty",
    )


def _section(id: str, title: str, *children: Child) -> Html:
    heading = element("h2", title, id=f"{id}-heading")
    return element("section", heading, *children, id=id, aria_labelledby=f"{id}-heading")
