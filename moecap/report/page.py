"""The self-contained page of one run, and the page that lays several side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

from moecap import __version__
from moecap.errors import BadInputError
from moecap.files import write_text
from moecap.report.accuracy import accuracy_section
from moecap.report.cap_section import cap_section
from moecap.report.comparison import comparison_header, comparison_sections
from moecap.report.cost import cost_section
from moecap.report.experts import experts_section
from moecap.report.headline import headline, validity
from moecap.report.latency import latency_section
from moecap.report.markup import Html, element, join, json_script
from moecap.report.methods import methods_section
from moecap.report.projection import projection_section
from moecap.report.provenance import provenance_section
from moecap.report.repeats import repeats_section
from moecap.report.reported_run import ReportedRun, read_run
from moecap.report.roofline import roofline_section
from moecap.report.section import Section, marked
from moecap.report.server import server_section
from moecap.report.sessions import sessions_section
from moecap.report.timeline import timeline_section
from moecap.report.utilisation import utilisation_section

__all__ = ["REPORT_FILE", "comparison_page", "page", "run_page", "write_comparison", "write_report"]

REPORT_FILE = "report.html"
SECTIONS: tuple[Callable[[ReportedRun], Section | None], ...] = (
    cap_section,
    utilisation_section,
    roofline_section,
    experts_section,
    latency_section,
    timeline_section,
    repeats_section,
    sessions_section,
    server_section,
    accuracy_section,
    methods_section,
    cost_section,
    projection_section,
    provenance_section,
)
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
"""Nothing may be loaded from anywhere: the browser itself enforces that the page is self-contained."""


def write_report(directory: Path, target: Path | None = None) -> Path:
    """Write the report of a run.

    Args:
        directory: The run directory, or the result file in it.
        target: Where to write; ``report.html`` in the run directory by default.

    Returns:
        The file that was written.

    Raises:
        BadInputError: If there is no readable result, or the file cannot be written.
    """
    run = read_run(directory)
    return write_page(target or run.directory / REPORT_FILE, run_page(run))


def write_comparison(runs: Sequence[ReportedRun], target: Path) -> Path:
    """Write one page for several runs.

    Raises:
        BadInputError: If the file cannot be written.
    """
    return write_page(target, comparison_page(runs))


def run_page(run: ReportedRun) -> str:
    """The page of one run."""
    remarks = element(
        "section", element("h2", "Validity"), validity(run.result.flags), id="validity", aria_label="Validity"
    )
    sections = [drawn for section in SECTIONS if (drawn := section(run)) is not None]
    return page(run.title, join(headline(run), remarks), sections, run.result.id, run.result.kind)


def comparison_page(runs: Sequence[ReportedRun]) -> str:
    """The page of several runs."""
    title = f"{len(runs)} runs side by side"
    return page(title, comparison_header(runs, title), comparison_sections(runs), None)


def write_page(target: Path, text: str) -> Path:
    """Write a page.

    Raises:
        BadInputError: If the file cannot be written.
    """
    try:
        write_text(target, text)
    except OSError as error:
        remedy = "name another place"
        raise BadInputError(f"{target}: the report cannot be written ({error.strerror}); {remedy}") from None
    return target


def page(title: str, top: Html, sections: Sequence[Section], id: str | None, kind: str = "measured") -> str:
    """A whole page in one file.

    Args:
        title: Its title.
        top: What stands before the sections.
        sections: Its sections, each with a link in the navigation.
        id: Id of the result that it is of; ``None`` for one of several.
        kind: Kind of the result; charts of what was not measured say so.
    """
    from plotly.offline import get_plotlyjs

    charts: dict[str, dict[str, object]] = {
        chart.id: {"data": chart.data, "layout": {**marked(chart.layout, kind), "height": chart.height}}
        for section in sections
        for chart in section.charts
    }
    links = [element("a", section.heading.split(":")[0], href=f"#{section.id}") for section in sections]
    navigation = element(
        "nav",
        element("a", "moecap", href="#top", class_="wordmark"),
        element("div", *links, class_="links"),
        element("button", "Dark", type="button", id="theme", aria_label="Switch between light and dark"),
        aria_label="Sections",
    )
    body = [
        element(
            "section",
            element("h2", section.heading, id=f"{section.id}-heading"),
            section.body,
            id=section.id,
            aria_labelledby=f"{section.id}-heading",
        )
        for section in sections
    ]
    identity = f", result {id[:16]}" if id else ""
    footer = element("footer", f"Made by moecap {__version__}{identity}. One file; it loads nothing from any network.")
    no_script = element("noscript", element("p", "The charts need JavaScript; tables, radar and sentences do not."))
    document = element(
        "html",
        element(
            "head",
            element("meta", charset="utf-8"),
            element("meta", http_equiv="Content-Security-Policy", content=POLICY),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="color-scheme", content="light dark"),
            element("link", rel="icon", href="data:,"),
            element("title", f"{title} · moecap"),
            Html(f"<style>{_asset('report.css')}{_asset('radar.css')}</style>"),
        ),
        element(
            "body",
            navigation,
            element("main", top, no_script, *body),
            footer,
            json_script("charts", charts),
            Html(f"<script>{get_plotlyjs()}</script>") if charts else None,
            Html(f"<script>{_asset('report.js')}</script>"),
            class_=f"of-{kind}",
        ),
        lang="en",
    )
    return f"<!doctype html>\n{document}\n"


def _asset(name: str) -> str:
    return files("moecap.report").joinpath(name).read_text(encoding="utf-8")
