"""``moecap report``: the page, the picture and the table of one or more runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

__all__ = ["report"]

SEVERAL = "comparison.html"


def report(
    *runs: Annotated[Path, Parameter(name="run")],
    html: Path | None = None,
    png: Path | None = None,
    svg: Path | None = None,
    csv: Path | None = None,
    json: bool = False,
) -> None:
    """Make the report of a run as one HTML file that needs no network; several runs are laid side by side.

    Args:
        runs: Run directories that `moecap run` made.
        html: Where to write the page: report.html in the run directory by default, comparison.html here for several.
        png: Also draw the page's CAP radar into this picture; needs a Chromium.
        svg: Also write every chart into this folder, an SVG file each; needs a Chromium.
        csv: Also write every metric to this file, one row a metric.
        json: Print the written files as JSON.
    """
    from moecap.cli.output import print_json, print_line
    from moecap.errors import BadInputError
    from moecap.importing.page import write_imported_report
    from moecap.importing.record import is_imported
    from moecap.report.metric_table import write_csv
    from moecap.report.page import REPORT_FILE, write_comparison, write_report
    from moecap.report.picture import find_chromium, write_drawings, write_picture
    from moecap.report.reported_run import read_run

    if not runs:
        raise BadInputError("moecap report needs a run directory, such as runs/20260101T000000Z-...")
    if png is not None or svg is not None:
        find_chromium()  # refused before anything is written
    if any(is_imported(path) for path in runs):
        if len(runs) > 1 or any(of is not None for of in (png, svg, csv)):
            raise BadInputError("an imported result has a page of its own; moecap compare lays two side by side")
        page = write_imported_report(runs[0], html)
        print_json({"html": str(page)}) if json else print_line(f"html    {page}")
        return
    read = [read_run(path) for path in runs]
    if len(read) == 1:
        page = write_report(runs[0], html or read[0].directory / REPORT_FILE)
    else:
        page = write_comparison(read, html or Path(SEVERAL))
    written = {"html": str(page)}
    if csv is not None:
        write_csv([run.result for run in read], csv)
        written["csv"] = str(csv)
    if png is not None:
        written["png"] = str(write_picture(page, png))
    if svg is not None:
        write_drawings(page, svg)
        written["svg"] = str(svg)
    if json:
        print_json(written)
    else:
        for kind, path in written.items():
            print_line(f"{kind:6}  {path}")
