"""The runs of a sweep on a Ray cluster: each a task with its demands, its run directory an Arrow table that comes back.

Ray places the tasks, and runs one again whose node dies. What has finished is known by the run directories in the
sweep's folder on the machine that called, as of a sweep on one machine.
"""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import pyarrow as pa

from moecap.config import RunConfig
from moecap.errors import BadInputError, NotAvailableError
from moecap.files import place_stored
from moecap.result import read_result
from moecap.runner.reporter import Reporter
from moecap.sweep.folder import Outcome, finished, make_way, write_outcomes
from moecap.sweep.grid import Cell, Sweep

__all__ = ["run_on_cluster"]

PATIENCE_S = 5.0
"""After how long without an ending run it is asked whether the nodes that are left can still run the others."""

RETRIES = 3
"""How often Ray starts a run anew whose node died."""

_LAST_LINES = 2000
"""Letters of what a run said last, for one that left nothing."""


def run_on_cluster(sweep: Sweep, reporter: Reporter) -> Mapping[str, Outcome]:
    """Run every cell that has not finished on the cluster that ``RAY_ADDRESS`` names, or on one started here.

    Args:
        sweep: The sweep, whose folder is held.
        reporter: Hears how far it is.

    Returns:
        The outcome of each cell by its name; after an interruption those that did not end are not among them.

    Raises:
        NotAvailableError: If Ray is not installed or its cluster cannot be reached.
        BadInputError: If no node of the cluster will ever meet a cell's demands.
    """
    outcomes = {cell.name: done for cell in sweep.cells if (done := finished(sweep, cell)) is not None}
    write_outcomes(sweep, outcomes)
    todo = [cell for cell in sweep.cells if cell.name not in outcomes]
    if not todo:
        return outcomes
    with _connected() as ray:
        _refuse_unmet(ray, todo)
        remote = ray.remote(max_retries=RETRIES)(run_in_process)
        cells = {remote.options(**_options(cell)).remote(_asked(cell.config)): cell for cell in todo}
        waiting = list(cells)
        try:
            while waiting:
                ready, waiting = ray.wait(waiting, timeout=PATIENCE_S)
                ended = {task: _received(ray, task, sweep, cells[task]) for task in ready}
                if not ready:
                    ended = _hopeless(ray, {task: cells[task] for task in waiting})
                    waiting = [task for task in waiting if task not in ended]
                for number, (task, outcome) in enumerate(ended.items(), len(todo) - len(waiting) - len(ended) + 1):
                    cell = cells[task]
                    outcomes[cell.name] = outcome
                    write_outcomes(sweep, outcomes)
                    told = outcome.status + (f": {outcome.reason}" if outcome.reason else "")
                    reporter.say(f"run {number} of {len(todo)}: {cell.name}: {told}")
        except KeyboardInterrupt:
            for task in waiting:
                ray.cancel(task, force=True)
            outcomes[cells[waiting[0]].name] = Outcome("interrupted", "interrupted by the user or by a signal")
    return outcomes


def run_in_process(asked: str) -> tuple[int, str, pa.Table]:
    """Run a configuration in a process of its own, on the node where this is called.

    Args:
        asked: The configuration as JSON.

    Returns:
        The exit status, the last of what was said, and the files of the run directory: ``name`` and ``content``.
    """
    with tempfile.TemporaryDirectory(prefix="moecap-run-") as folder:
        config, place = Path(folder) / "run.yaml", Path(folder) / "run"
        config.write_text(asked, encoding="utf-8")
        command = [sys.executable, "-m", "moecap", "run", "--config", str(config), "--output", str(place), "--json"]
        ended = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        place_stored(place)  # which a run that was killed may not have done
        files = sorted(path for path in place.glob("*") if path.is_file()) if place.is_dir() else []
        table = pa.table(
            {
                "name": pa.array([path.name for path in files], pa.string()),
                "content": pa.array([path.read_bytes() for path in files], pa.large_binary()),
            }
        )
        return ended.returncode, ended.stderr.decode("utf-8", "replace")[-_LAST_LINES:], table


@contextmanager
def _connected() -> Iterator[Any]:
    try:
        import ray
    except ImportError:
        raise NotAvailableError('Ray is not installed; run pip install "moecap[ray]"') from None
    with redirect_stdout(sys.stderr):  # Ray says on stdout that a node died; that is for answers alone
        yield from _session(ray)


def _session(ray: Any) -> Iterator[Any]:
    """Connect, and let go at the end.

    Raises:
        NotAvailableError: If the cluster cannot be reached.
    """
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise NotAvailableError(f"the Ray cluster cannot be reached ({reason}); see RAY_ADDRESS") from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _options(cell: Cell) -> dict[str, Any]:
    """What Ray is told of a cell: its demands, and as many accelerators as its configuration names."""
    given = cell.demands
    asked = {"num_cpus": given.get("cpus", 1), "num_gpus": given.get("gpus", cell.config.num_gpus or 0)}
    return asked | ({"resources": given["resources"]} if given.get("resources") else {})


def _refuse_unmet(ray: Any, cells: Iterable[Cell]) -> None:
    """Refuse what would wait for ever.

    Raises:
        BadInputError: If no node that is there now has what a cell demands.
    """
    nodes = _nodes(ray)
    for cell in cells:
        if problem := _unmet(cell, nodes):
            raise BadInputError(f"run {cell.number} {problem}; add one")


def _hopeless(ray: Any, cells: Mapping[Any, Cell]) -> dict[Any, Outcome]:
    """The tasks that no node can run any more, since one has gone."""
    nodes = _nodes(ray)
    ended = {task: Outcome("refused", problem) for task, cell in cells.items() if (problem := _unmet(cell, nodes))}
    for task in ended:
        ray.cancel(task, force=True)
    return ended


def _nodes(ray: Any) -> list[dict[str, float]]:
    """What each living node of the cluster has in all."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _unmet(cell: Cell, nodes: Sequence[Mapping[str, float]]) -> str:
    """Why no node will ever run a cell; empty where one can."""
    options = _options(cell)
    wanted = {"CPU": options["num_cpus"], "GPU": options["num_gpus"], **options.get("resources", {})}
    if any(all(node.get(name, 0) >= number for name, number in wanted.items()) for node in nodes):
        return ""
    demands = ", ".join(f"{number} {name}" for name, number in wanted.items() if number)
    return f"demands {demands} and no node of the cluster has that"


def _asked(config: RunConfig) -> str:
    """A configuration without defaults, for --config."""
    return json.dumps(config.model_dump(mode="json", exclude_unset=True, exclude={"output"}))


def _received(ray: Any, task: Any, sweep: Sweep, cell: Cell) -> Outcome:
    """Store what a task sent back, whole or not at all."""
    try:
        status, said, files = ray.get(task)
    except ray.exceptions.RayError as error:
        return Outcome("failed", f"its node or its process died ({type(error).__name__}), {RETRIES + 1} times")
    if not files.num_rows:
        return Outcome("refused", _last_line(said) or f"moecap run ended with status {status}")
    place = make_way(sweep, cell)
    arriving = place.with_name(f".{place.name}.arriving")
    shutil.rmtree(arriving, ignore_errors=True)
    arriving.mkdir()
    for name, content in zip(files["name"].to_pylist(), files["content"], strict=True):
        (arriving / Path(name).name).write_bytes(content.as_buffer())
    arriving.rename(place)
    result = read_result(place)
    return Outcome(result.status, result.reason or "", result)


def _last_line(said: str) -> str:
    """The last line that moecap said of itself."""
    lines = [line.removeprefix("moecap: ") for line in said.splitlines() if line.startswith("moecap: ")]
    return lines[-1] if lines else ""
