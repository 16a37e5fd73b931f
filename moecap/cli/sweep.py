"""``moecap sweep``: many runs from one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from moecap.runner.reporter import Reporter
    from moecap.sweep.estimate import Estimate
    from moecap.sweep.folder import Outcome
    from moecap.sweep.grid import Sweep

__all__ = ["sweep"]

_SHOWN = 60
"""Lines of the plan, and of the table at the end, that are printed."""

_AT_END = (
    ("ttft.p50", "TTFT p50"),
    ("tpot.p50", "TPOT p50"),
    ("output_tokens_per_second", "output"),
    ("decode.s_mbu", "decode S-MBU"),
    ("cost_per_million_output_tokens", "cost of 1M output"),
)


def sweep(
    file: Path,
    /,
    *,
    executor: Literal["local", "ray"] = "local",
    resume: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> int:
    """Run every combination of the lists in a YAML file, resumably (docs/sweep.md).

    The plan comes first, with an estimate of time and cost. Each run leaves its own run directory; sweep.json and
    sweep.csv beside them say what became of every one. Exit status 1 if one of them failed.

    Args:
        file: YAML whose lists multiply.
        executor: Where the runs happen: here, or on the Ray cluster that RAY_ADDRESS names.
        resume: Continue a sweep without repeating finished runs.
        dry_run: Show the plan with its estimated time and cost, and run nothing.
        json: Print JSON: the plan of a dry run, else what became of each run.
    """
    from moecap.cli.output import print_json, remark
    from moecap.runner.reporter import Reporter
    from moecap.sweep.estimate import estimate
    from moecap.sweep.folder import finished, taken
    from moecap.sweep.grid import read_sweep

    asked = read_sweep(file)
    reporter = Reporter()
    estimates = [estimate(cell, reporter.say, elsewhere=executor == "ray") for cell in asked.cells]
    done = [resume and finished(asked, cell) is not None for cell in asked.cells]
    if dry_run:
        if json:
            print_json(_plan(asked, estimates, done))
        else:
            _print_plan(asked, estimates, done, stderr=False)
        return 0
    with taken(asked, resume=resume):
        _print_plan(asked, estimates, done, stderr=True)
        outcomes = _run(asked, executor, reporter)
    if json:
        import json as codec

        print_json(codec.loads((asked.folder / "sweep.json").read_text(encoding="utf-8")))
    else:
        _print_outcomes(asked, outcomes)
    remark(f"table  {asked.folder / 'sweep.csv'}")
    if any(outcome.status == "interrupted" for outcome in outcomes.values()):
        remark(f"moecap: interrupted; moecap sweep {file} --resume goes on")
        return 130
    failed = [cell.name for cell in asked.cells if outcomes[cell.name].status != "complete"]
    if failed:
        remark(f"moecap: {len(failed)} of {len(asked.cells)} runs are not complete; --resume tries them again")
    return 1 if failed else 0


def _run(asked: Sweep, executor: str, reporter: Reporter) -> Mapping[str, Outcome]:
    if executor == "ray":
        from moecap.sweep.cluster import run_on_cluster

        return run_on_cluster(asked, reporter)
    from moecap.sweep.local import run_sweep

    return run_sweep(asked, reporter)


def _plan(asked: Sweep, estimates: Sequence[Estimate], done: Sequence[bool]) -> dict[str, Any]:
    from dataclasses import asdict

    rows = [
        {"run": cell.number, "name": cell.name, "settings": dict(cell.settings), "finished": ready, **asdict(known)}
        for cell, known, ready in zip(asked.cells, estimates, done, strict=True)
    ]
    return {"output": str(asked.folder), "runs": rows, **_totals(estimates, done)}


def _totals(estimates: Sequence[Estimate], done: Sequence[bool]) -> dict[str, Any]:
    """Sums over what is still to run; of runs whose time or cost is not known only their number."""
    todo = [known for known, ready in zip(estimates, done, strict=True) if not ready and known.kind != "refused"]
    return {
        "seconds": sum(known.seconds or 0.0 for known in todo),
        "usd": sum(known.usd or 0.0 for known in todo),
        "without_seconds": sum(known.seconds is None for known in todo),
        "without_usd": sum(known.usd is None for known in todo),
    }


def _print_plan(asked: Sweep, estimates: Sequence[Estimate], done: Sequence[bool], *, stderr: bool) -> None:
    from rich.console import Console

    from moecap.cli.amounts import time_words, usd_words
    from moecap.cli.output import Answers
    from moecap.cli.table import show_table

    console = Console(stderr=True, highlight=False) if stderr else Answers(200)
    columns = ("run", *asked.axes, "kind", "engine", "hardware", "time", "rent")
    rows = []
    for cell, known, ready in zip(asked.cells, estimates, done, strict=True):
        what = "finished" if ready else known.kind
        told = known.reason if known.kind == "refused" else known.backend
        settings = [_words(cell.settings[name]) for name in asked.axes]
        rent = "" if known.kind == "projected" else usd_words(known.usd)
        rows.append((str(cell.number), *settings, what, told, known.hardware, time_words(known.seconds), rent))
    console.print(f"{len(rows)} runs into {asked.folder}", highlight=False)
    show_table(console, columns, rows[:_SHOWN], ("run", "time", "rent"))
    if len(rows) > _SHOWN:
        console.print(f"and {len(rows) - _SHOWN} more (--dry-run --json shows all)")
    total = _totals(estimates, done)
    unknown = f", and {total['without_seconds']} runs of unknown time" if total["without_seconds"] else ""
    console.print(
        f"to run: about {time_words(total['seconds'])}{unknown}, rent {usd_words(total['usd'])}"
        f"{' and more' if total['without_usd'] else ''}; opening engines and asking tasks come on top"
    )


def _print_outcomes(asked: Sweep, outcomes: Mapping[str, Outcome]) -> None:
    from moecap.cli.output import print_line, print_table
    from moecap.report.figures import display

    rows = []
    for cell in asked.cells:
        outcome = outcomes.get(cell.name)
        metrics = outcome.result.metrics if outcome is not None and outcome.result is not None else {}
        values = [display(metrics[n]) if n in metrics and metrics[n].value is not None else "" for n, _ in _AT_END]
        kind = outcome.result.kind if outcome is not None and outcome.result is not None else ""
        status = "open" if outcome is None else outcome.status
        settings = [_words(cell.settings[name]) for name in asked.axes]
        rows.append((str(cell.number), *settings, kind, status, *values))
    heads = tuple(head for _, head in _AT_END)
    print_table(("run", *asked.axes, "kind", "status", *heads), rows[:_SHOWN], right=("run", *heads))
    if len(rows) > _SHOWN:
        print_line(f"and {len(rows) - _SHOWN} more, in sweep.csv")
    for cell in asked.cells:
        outcome = outcomes.get(cell.name)
        if outcome is not None and outcome.status != "complete":
            print_line(f"run {cell.number}: {outcome.status}: {outcome.reason}")


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
