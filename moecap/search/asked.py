"""What a search is asked for, and the configuration of each load that it tries."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import rfc8785

from moecap.config import RunConfig
from moecap.errors import BadInputError
from moecap.search.bisection import Axis
from moecap.search.levels import Level, read_levels
from moecap.settings import merged_settings, with_settings
from moecap.sweep.grid import Cell, Sweep, make_cell

__all__ = ["DEFAULTS", "Search", "make_search"]

DEFAULTS: dict[str, tuple[float, float]] = {"concurrency": (1.0, 256.0), "rate": (1.0, 1024.0)}
"""First and largest load of each axis, where the user gives none."""

ROOM = 256
"""Requests in flight for which the engine of a search for a rate is opened."""


@dataclass(frozen=True, slots=True)
class Search:
    """What a search is asked for.

    Attributes:
        levels: The service levels.
        axis: What is searched along.
        values: Keys of the configuration of all its runs, without the load.
        per_slot: Least requests for each one in flight, of concurrencies.
        seconds: Least length of a load, of rates.
        margin: Whether the lower end of the interval of the attainment has to be enough.
        folder: Where its runs go.
    """

    levels: tuple[Level, ...]
    axis: Axis
    values: Mapping[str, Any]
    per_slot: int
    seconds: float
    margin: bool
    folder: Path

    def config(self, load: float) -> RunConfig:
        """The configuration of the run that tries a load.

        Raises:
            BadInputError: If there is no such run.
        """
        if self.axis.name == "concurrency":
            concurrency = int(load)
            asked: dict[str, Any] = {"concurrency": concurrency}
            least = self.per_slot * concurrency
            if (processes := _whole(self.values, "client_processes")) is not None:
                asked["client_processes"] = min(processes, concurrency)
        else:
            asked, least = {"rate": load}, math.ceil(load * self.seconds)
        if (count := _whole(self.values, "num_requests")) is not None:
            asked["num_requests"] = max(count, least * (_whole(self.values, "turns") or 1))
        return with_settings(dict(self.values) | asked, ())

    def cell(self, load: float) -> Cell:
        """The run that tries a load, with its folder's name."""
        shown: Any = int(load) if self.axis.name == "concurrency" else load
        return make_cell(0, {self.axis.name: shown}, self.config(load))

    @property
    def sweep(self) -> Sweep:
        """The folder as the folder of a sweep, whose runs are not known yet."""
        return Sweep(self.folder, (self.axis.name,), ())

    @property
    def coming(self) -> RunConfig:
        """A run as large as any of the search, for which its engine is opened."""
        room = int(self.axis.most) if self.axis.name == "concurrency" else ROOM
        return self.config(self.axis.start).model_copy(update={"concurrency": room})


def make_search(
    slo: str,
    over: Literal["concurrency", "rate"],
    values: Mapping[str, Any],
    settings: tuple[str, ...],
    *,
    start: float | None,
    most: float | None,
    resolution: float,
    per_slot: int,
    seconds: float,
    margin: bool,
) -> Search:
    """A search, checked.

    Args:
        slo: The service levels as they were written.
        over: What is searched along.
        values: Options of all its runs.
        settings: ``KEY=VALUE`` settings of all its runs.
        start: The first load.
        most: The largest load.
        resolution: How far the answer may be from the next load that does not hold, as a share.
        per_slot: Least requests for each one in flight.
        seconds: Least length of the load of a rate.
        margin: Whether the lower end of the interval of the attainment has to be enough.

    Raises:
        UsageError: If something of it is none, or does not fit the rest.
    """
    levels = read_levels(slo)
    shared = {"task": ("none",), **merged_settings(values, settings)}
    for key in {"concurrency": ("concurrency", "rate"), "rate": ("rate",)}[over]:
        if key in shared:
            raise BadInputError(f"--{key}: the search sets it; say --over {key} and --start, or leave it out")
    first, last = DEFAULTS[over]
    axis = Axis(over, first if start is None else start, last if most is None else most, resolution)
    if axis.name == "concurrency" and not (axis.start.is_integer() and axis.most.is_integer()):
        raise BadInputError("--start and --most: a concurrency is a whole number; give one")
    for name, number in (("start", axis.start), ("seconds", seconds), ("per_slot", float(per_slot))):
        if not 0 < number < math.inf:
            raise BadInputError(f"--{name.replace('_', '-')} {number:g}: give a number above 0")
    if not axis.start <= axis.most < math.inf:
        raise BadInputError(f"--most {axis.most:g}: it is below the start, {axis.start:g}; raise it")
    if not 0 <= resolution < 1:
        raise BadInputError(f"--resolution {resolution:g}: give a share from 0 to below 1, such as 0.05")
    folder = shared.pop("output", None)
    search = Search(levels, axis, shared, per_slot, seconds, margin, Path(folder) if folder else Path())
    config = search.config(axis.start)
    return search if folder else _placed(search, config)


def _whole(values: Mapping[str, Any], key: str) -> int | None:
    """A whole number among the keys, or its default; ``None`` for what is none, which the configuration refuses."""
    value = values.get(key, RunConfig.model_fields[key].default)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _placed(search: Search, config: RunConfig) -> Search:
    """The search with a folder of its own, which the same search finds again."""
    levels = [[level.name, level.percentile, level.seconds] for level in search.levels]
    told: list[Any] = [levels, search.axis.name, search.axis.start, search.per_slot, search.seconds, search.margin]
    digest = hashlib.sha256(rfc8785.dumps([told, config.model_dump(mode="json")])).hexdigest()[:8]
    name = config.model.rstrip("/").rsplit("/", maxsplit=1)[-1].removesuffix(".json")
    folder = Path("runs") / f"search-{name}-{search.axis.name}-{digest}"
    return replace(search, folder=folder)
