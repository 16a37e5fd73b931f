"""``moecap search``: the largest load at which service levels hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from moecap.search.options import SearchOptions

if TYPE_CHECKING:
    from moecap.search.asked import Search
    from moecap.search.local import Found

__all__ = ["search"]


def search(
    *,
    slo: str,
    over: Literal["concurrency", "rate"] = "concurrency",
    start: float | None = None,
    most: float | None = None,
    resolution: float = 0.05,
    requests_per_slot: int = 10,
    seconds: float = 30.0,
    margin: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    config: Path | None = None,
    set_: Annotated[tuple[str, ...], Parameter(name="--set")] = (),
    layout: Path | None = None,
    json: bool = False,
    options: Annotated[SearchOptions | None, Parameter(name="*")] = None,
) -> int:
    """Find the largest concurrency or rate at which service levels hold (docs/search.md).

    Loads are doubled until one does not hold, then the gap is halved. Each is a run directory under --output; one
    engine serves all of them; search.json, search.csv and search.html say what came out. Every option of moecap run
    can be given; no task is run unless you name one. Exit status 1 if no load holds.

    Args:
        slo: Service levels: ttft, tpot or e2e, such as ttft=2s,tpot.p90=80ms (p99 unless you say), or mlperf:NAME.
        over: Search for requests in flight (closed loop), or for requests a second (open loop).
        start: The first load, 1 by default.
        most: The largest load that is tried; 256 in flight or 1024 a second by default.
        resolution: End where the next load that does not hold is at most this share above the answer.
        requests_per_slot: Least requests for each one in flight, of a concurrency.
        seconds: Least length of the load of a rate, in seconds.
        margin: A level holds only if the lower end of the 95 % interval of its share is enough, not the share alone.
        resume: Continue a search without repeating finished runs.
        dry_run: Show what would be tried first, with its estimated time and cost, and run nothing.
        config: YAML file with any options of moecap run as keys; options on the command line override it.
        set_: Any key of the run configuration as KEY=VALUE; may be repeated.
        layout: A YAML file that says which memory holds what, for an engine that offloads (docs/engines.md).
        json: Print JSON: the plan of a dry run, else the content of search.json.
        options: The run configuration.
    """
    from moecap.cli.asked import asked_values
    from moecap.cli.output import print_json, remark
    from moecap.report.search_page import write_search
    from moecap.runner.reporter import Reporter
    from moecap.search.asked import make_search
    from moecap.search.local import run_search
    from moecap.search.record import search_record
    from moecap.sweep.folder import taken

    values = asked_values(config, options, layout)
    asked = make_search(
        slo,
        over,
        values,
        set_,
        start=start,
        most=most,
        resolution=resolution,
        per_slot=requests_per_slot,
        seconds=seconds,
        margin=margin,
    )
    reporter = Reporter()
    if dry_run:
        _show_plan(asked, reporter, json=json)
        return 0
    with taken(asked.sweep, resume=resume):
        found = run_search(asked, reporter)
        page = write_search(found)
    if json:
        print_json(search_record(found))
    else:
        _print_found(found)
    remark(f"table  {asked.folder / 'search.csv'}")
    remark(f"report  {page}")
    if found.interrupted:
        remark("moecap: interrupted; the same command with --resume goes on")
        return 130
    return 0 if found.best is not None else 1


def _show_plan(asked: Search, reporter: Any, *, json: bool) -> None:
    """The loads that doubling tries if all hold, with what is known of each."""
    from dataclasses import asdict

    from moecap.cli.amounts import time_words, usd_words
    from moecap.cli.output import print_json, print_line, print_table
    from moecap.search.bisection import next_load
    from moecap.sweep.estimate import estimate

    loads: dict[float, bool] = {}
    while (load := next_load(asked.axis, loads)) is not None:
        loads[load] = True
    cells = [asked.cell(load) for load in loads]
    known = [estimate(cell, reporter.say) for cell in cells]
    levels = [level.words for level in asked.levels]
    if json:
        rows = [
            {"load": load, "num_requests": cell.config.num_requests, **asdict(told)}
            for load, cell, told in zip(loads, cells, known, strict=True)
        ]
        print_json({"output": str(asked.folder), "axis": asked.axis.name, "levels": levels, "doubling": rows})
        return
    print_line(f"levels: {'; '.join(levels)}")
    print_line(f"into {asked.folder}; doubled until one does not hold, then halved:")
    rows_shown = [
        (
            f"{load:g}",
            str(cell.config.num_requests),
            told.kind,
            told.reason if told.kind == "refused" else told.backend,
            told.hardware,
            time_words(told.seconds),
            "" if told.kind == "projected" else usd_words(told.usd),
        )
        for load, cell, told in zip(loads, cells, known, strict=True)
    ]
    columns = (asked.axis.name, "requests", "kind", "engine", "hardware", "time", "rent")
    print_table(columns, rows_shown, right=(asked.axis.name, "requests", "time", "rent"))


def _print_found(found: Found) -> None:
    from moecap.cli.output import print_line, print_table
    from moecap.search.record import COLUMNS, search_rows, verdict

    rows = [[cell for cell, _ in row] for row in search_rows(found)]
    heads = [found.search.axis.name, *COLUMNS, *(level.words for level in found.search.levels)]
    print_table(heads, rows, right=[head for head in heads if head != "holds"])
    for point in sorted(found.points, key=lambda point: point.load):
        if not point.holds:
            print_line(f"{found.search.axis.name} {point.load:g}: {point.reason}")
    for line in verdict(found):
        print_line(line)
