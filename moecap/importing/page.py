"""The report of an imported result: its numbers, each marked as recomputed or as stated, and where they come from."""

from __future__ import annotations

from pathlib import Path

from moecap.importing.record import ImportedResult, read_imported
from moecap.report.figures import display
from moecap.report.headline import badge, validity
from moecap.report.markup import Child, Html, data_table, element, paragraph
from moecap.report.page import REPORT_FILE, page, write_page
from moecap.report.section import Section, metric_value

__all__ = ["imported_page", "write_imported_report"]


def write_imported_report(path: Path, target: Path | None = None) -> Path:
    """Write the report of an import.

    Args:
        path: The run directory, or the result file in it.
        target: Where to write; ``report.html`` in the run directory by default.

    Raises:
        BadInputError: If there is no readable result, or the file cannot be written.
    """
    directory = path if path.is_dir() else path.parent
    return write_page(target or directory / REPORT_FILE, imported_page(read_imported(path)))


def imported_page(result: ImportedResult) -> str:
    """The page."""
    source = result.source
    top = element(
        "header",
        element("div", badge("imported", "kind imported"), class_="badges"),
        element("h1", result.title),
        paragraph(f"Imported from {source.file}: {result.engine}.", class_="lead"),
        paragraph("These numbers were not measured by moecap.", class_="alarm"),
        element("section", element("h2", "Validity"), validity(result.flags), aria_label="Validity"),
        id="top",
    )
    sections = [Section("numbers", "Numbers", _numbers(result)), Section("about", "What is known", _about(result))]
    return page(result.title, top, sections, result.id, "imported")


def _numbers(result: ImportedResult) -> Html:
    rows: list[tuple[Child, ...]] = []
    for name, metric in result.metrics.items():
        if metric.value is None:
            continue
        how = "recomputed" if name in result.recomputed else "as stated"
        stated = result.stated.get(name)
        theirs = display(stated) if stated is not None and how == "recomputed" else ""
        rows.append((name, metric_value(name, metric), how, theirs, f"{metric.n:,}" if metric.n else ""))
    heads = ("Metric", "Value", "How", f"By {result.source.tool}", "n")
    return data_table("Every number", heads, rows, numeric=(1, 3, 4))


def _about(result: ImportedResult) -> Html:
    parts = {"source": result.source, "model": result.model, "hardware": result.hardware, "engine": result.backend}
    parts["workload"] = result.workload
    rows: list[tuple[Child, ...]] = []
    for part, record in parts.items():
        for name, value in record.model_dump(mode="json").items():
            key = f"{'backend' if part == 'engine' else part}.{name}"
            if value is None:
                said: Child = element("span", result.missing.get(key, "not stated"), class_="missing")
            else:
                said = f"{value} (given by whoever imported)" if key in result.given else str(value)
            rows.append((f"{part}: {name.replace('_', ' ')}", said))
    return data_table("What the source says", ("", ""), rows)
