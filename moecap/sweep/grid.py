"""The file of a sweep: options that all runs share, and lists that multiply to its cells.

    model: mixtral
    task: none
    output: sweeps/what-to-rent
    grid:
      hw: [a100, h100]
      concurrency: [1, 8, 32]
      input_len,output_len: [[1024, 256], [8192, 128]]
    exclude:
      - {hw: a100, concurrency: 32}

Every key outside ``grid``, ``exclude`` and ``output`` is an option of ``moecap run``. A name in ``grid`` is one, too,
with dots for nested ones (``cost.usd_per_hour``); several with commas between them change together. ``ray`` says what a
run demands of a node of a cluster: ``cpus``, ``gpus`` and ``resources``, in ``grid`` too (``ray.gpus``).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import rfc8785

from moecap.config import RunConfig
from moecap.errors import BadInputError
from moecap.options_file import read_options_file
from moecap.settings import with_settings

__all__ = ["Cell", "Sweep", "make_cell", "read_sweep"]

MOST_CELLS = 10_000
"""Runs of one sweep at most."""

_CLUSTER = "ray"

_MOST_IN_NAME = 60
"""Letters of its settings in the name of a cell's folder."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of a sweep.

    Attributes:
        number: From 1 on, in the order in which the lists multiply.
        settings: What distinguishes it: option → value.
        config: Its whole configuration, without a place for its output.
        digest: The first 8 hexadecimal digits of the SHA-256 of the configuration's canonical JSON.
        demands: What it demands of a node of a cluster: ``cpus``, ``gpus`` and ``resources`` by name.
    """

    number: int
    settings: Mapping[str, Any]
    config: RunConfig
    digest: str
    demands: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of its folder: its settings and its digest, so that it is found again in a file that has grown."""
        of_run = {key: value for key, value in self.settings.items() if key.split(".")[0] != _CLUSTER}
        words = [f"{key.rsplit('.', 1)[-1]}-{_short(value)}" for key, value in of_run.items()]
        named = re.sub(r"[^A-Za-z0-9._-]+", "-", "_".join(words))[:_MOST_IN_NAME].strip("-_.")
        return f"{named}-{self.digest}" if named else f"run-{self.digest}"


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a file asks for.

    Attributes:
        folder: Where its runs go.
        axes: Names of the options that its lists change.
        cells: Its runs.
    """

    folder: Path
    axes: tuple[str, ...]
    cells: tuple[Cell, ...]


def read_sweep(path: Path) -> Sweep:
    """Read the file of a sweep.

    Raises:
        BadInputError: If it cannot be read, its lists do not fit, or one of its runs has a setting that is none.
    """
    values = read_options_file(path, "sweep")
    grid, exclude = values.pop("grid", {}), values.pop("exclude", [])
    folder = values.pop("output", None)
    if folder is not None and not isinstance(folder, str):
        raise BadInputError(f"sweep {path}: output is {folder!r} and no folder; give a path")
    axes = _axes(path, grid)
    if (count := prod(len(points) for points in axes)) > MOST_CELLS:
        raise BadInputError(f"sweep {path}: {count:,} runs are more than {MOST_CELLS:,}; shorten its lists")
    without = _exclusions(path, exclude, [name for points in axes for name in points[0]])
    cells: list[Cell] = []
    for points in product(*axes):
        settings = {name: value for point in points for name, value in point.items()}
        if any(all(settings[name] == value for name, value in pattern.items()) for pattern in without):
            continue
        cells.append(_cell(path, len(cells) + 1, values, settings))
    if not cells:
        raise BadInputError(f"sweep {path}: its exclusions leave no run; leave one of them out")
    seen: dict[str, Cell] = {}
    for cell in cells:
        if (twin := seen.setdefault(cell.digest, cell)) is not cell:
            raise BadInputError(f"sweep {path}: {_words(cell.settings)} is in it twice (run {twin.number}, too)")
    names = tuple(name for points in axes for name in points[0])
    return Sweep(Path(folder) if folder else Path("runs") / f"sweep-{path.stem}", names, tuple(cells))


def _axes(path: Path, grid: object) -> list[list[dict[str, Any]]]:
    """The points of each axis: option → value."""
    if not isinstance(grid, dict):
        raise BadInputError(f"sweep {path}: grid is no mapping; write lines such as 'concurrency: [1, 8]' under it")
    axes: list[list[dict[str, Any]]] = []
    seen: set[str] = set()
    for key, values in grid.items():
        names = [name.strip() for name in key.split(",")]
        for name in names:
            known = (*RunConfig.model_fields, _CLUSTER)
            if name.split(".")[0] not in known or name == "output" or name in seen:
                problem = "is in it twice" if name in seen else "is no option that a list can change"
                raise BadInputError(f"sweep {path}: grid: {name!r} {problem}; see moecap schema run-config")
            seen.add(name)
        if not isinstance(values, list) or not values:
            raise BadInputError(f"sweep {path}: grid: {key} is no list of values; write [A, B]")
        if len(names) > 1 and any(not isinstance(v, list) or len(v) != len(names) for v in values):
            raise BadInputError(f"sweep {path}: grid: each entry of {key} is a list of {len(names)} values; mend it")
        axes.append([dict(zip(names, v if len(names) > 1 else [v], strict=True)) for v in values])
    return axes


def _exclusions(path: Path, exclude: object, known: Sequence[str]) -> list[dict[str, Any]]:
    patterns: list[dict[str, Any]] = []
    for pattern in exclude if isinstance(exclude, list) else [exclude]:
        if not isinstance(pattern, dict) or not pattern or not set(pattern) <= set(known):
            raise BadInputError(
                f"sweep {path}: exclude: {pattern!r} is no mapping of options of the grid "
                f"({', '.join(known) or 'which has none'})"
            )
        patterns.append(pattern)
    return patterns


def _cell(path: Path, number: int, shared: Mapping[str, Any], settings: Mapping[str, Any]) -> Cell:
    values: dict[str, Any] = dict(shared)
    for name, value in settings.items():
        node, (*parents, last) = values, name.split(".")
        for parent in parents:
            child = node.get(parent)
            node[parent] = child = dict(child) if isinstance(child, dict) else {}
            node = child
        node[last] = value
    demands = values.pop(_CLUSTER, {})
    try:
        config = with_settings(values, ())
        _check_demands(demands)
    except BadInputError as error:
        where = f" (run {number}: {_words(settings)})" if settings else ""
        raise BadInputError(f"sweep {path}{where}: {error}") from None
    return make_cell(number, settings, config, demands)


def make_cell(
    number: int, settings: Mapping[str, Any], config: RunConfig, demands: Mapping[str, Any] | None = None
) -> Cell:
    """A run with the digest of its configuration; the arguments are the fields of :class:`Cell`."""
    canonical = rfc8785.dumps(config.model_dump(mode="json"))
    return Cell(number, dict(settings), config, hashlib.sha256(canonical).hexdigest()[:8], demands or {})


def _check_demands(demands: object) -> None:
    """Refuse demands on a cluster that are none.

    Raises:
        BadInputError: If they are no numbers by known names.
    """
    if not isinstance(demands, dict):
        raise BadInputError(f"ray: {demands!r} is no mapping; write lines such as 'gpus: 1' under it")
    if unknown := set(demands) - {"cpus", "gpus", "resources"}:
        raise BadInputError(f"ray: no demand named {min(unknown)!r}; known: cpus, gpus, resources")
    named = demands.get("resources", {})
    if not isinstance(named, dict):
        raise BadInputError(f"ray: resources is {named!r} and no mapping; write lines such as 'h100: 1' under it")
    for name, number in {**demands, **named}.items():
        is_number = isinstance(number, int | float) and not isinstance(number, bool)
        if name != "resources" and not (is_number and number >= 0):
            raise BadInputError(f"ray: {name} is {number!r} and no number from 0 on")


def _words(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_short(value)}" for name, value in settings.items())


def _short(value: object) -> str:
    """A value in a few letters: of a path its last part."""
    if isinstance(value, list | tuple):
        return "+".join(map(_short, value)) or "none"
    return str(value).rstrip("/").rsplit("/", maxsplit=1)[-1]
