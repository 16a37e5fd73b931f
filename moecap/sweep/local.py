"""The runs of a sweep on this machine, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from moecap.errors import MoecapError
from moecap.report.page import write_report
from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.sweep.folder import Outcome, finished, make_way, write_outcomes
from moecap.sweep.grid import Cell, Sweep
from moecap.sweep.shared_engine import SharedEngine, engine_part

__all__ = ["run_sweep"]


def run_sweep(sweep: Sweep, reporter: Reporter) -> Mapping[str, Outcome]:
    """Run every cell that has not finished; one that fails does not end the others.

    Cells that ask for the same engine run one after the other on one engine.

    Args:
        sweep: The sweep, whose folder is held.
        reporter: Hears how far it is.

    Returns:
        The outcome of each cell by its name; after an interruption those that did not run are not among them.
    """
    outcomes = {cell.name: done for cell in sweep.cells if (done := finished(sweep, cell)) is not None}
    write_outcomes(sweep, outcomes)
    todo = _by_engine([cell for cell in sweep.cells if cell.name not in outcomes])
    engine = SharedEngine([cell.config for cell in todo])
    try:
        for place, cell in enumerate(todo, 1):
            reporter.say(f"run {place} of {len(todo)}: {cell.name}")
            outcome = _run(sweep, cell, reporter, engine)
            outcomes[cell.name] = outcome
            write_outcomes(sweep, outcomes)
            if outcome.status == "interrupted":
                break
            if outcome.reason:
                reporter.say(f"{cell.name}: {outcome.status}: {outcome.reason}")
    finally:
        engine.close()
    return outcomes


def _run(sweep: Sweep, cell: Cell, reporter: Reporter, engine: SharedEngine) -> Outcome:
    try:
        place = make_way(sweep, cell)
        made = run(cell.config.model_copy(update={"output": place}), reporter, engine)
        write_report(made.directory)
    except KeyboardInterrupt:
        return Outcome("interrupted", "interrupted before anything was started")
    except MoecapError as error:
        return Outcome("refused", str(error))
    return Outcome(made.result.status, made.problem or "", made.result)


def _by_engine(cells: Sequence[Cell]) -> list[Cell]:
    """The cells with those side by side that may share an engine, else in their order."""
    first: dict[object, int] = {}
    for cell in cells:
        first.setdefault(engine_part(cell.config), len(first))
    return sorted(cells, key=lambda cell: first[engine_part(cell.config)])
