"""The papers' methods that a run followed: of each its own figure, from its tables and metrics."""

from __future__ import annotations

from collections.abc import Iterator

from moecap.errors import MoecapError
from moecap.report.markup import Html, element, join, paragraph
from moecap.report.reported_run import ReportedRun
from moecap.report.section import Chart, Section
from moecap.tasks.method import method_tables

__all__ = ["methods_section"]


def methods_section(run: ReportedRun) -> Section | None:
    """The parts of all methods that left tables; ``None`` where none did."""
    if run.evidence is None or not run.evidence.observations.tables:
        return None
    parts: list[Html] = []
    charts: list[Chart] = []
    try:
        for section in _sections(run):
            parts.append(element("div", element("h3", section.heading), section.body, id=section.id))
            charts += section.charts
    except MoecapError as error:
        parts.append(paragraph(f"No figure: {error}.", class_="missing"))
    return Section("methods", "Methods of papers", join(*parts), tuple(charts)) if parts else None


def _sections(run: ReportedRun) -> Iterator[Section]:
    assert run.evidence is not None
    for method, tables in method_tables(run.evidence.observations.tables):
        begin = f"task.{method.name}_"
        own = {name.removeprefix(begin): m for name, m in run.result.metrics.items() if name.startswith(begin)}
        if section := method.section(tables, own):
            yield section
