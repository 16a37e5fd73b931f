"""Service levels of a search as a user writes them: ``ttft=2s,tpot.p90=80ms``, or MLPerf's by name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from moecap.errors import BadInputError, UnknownNameError
from moecap.projection.service_level import read_seconds

__all__ = ["BOUNDED", "MLPERF", "Level", "mlperf_levels", "read_levels"]

BOUNDED = ("ttft", "tpot", "e2e")
"""Times of a request that a level can bound: to its first token, for each further one, to its last."""

PERCENTILE = 99.0
"""Of a level that names none."""

MLPERF = "mlperf:"


@dataclass(frozen=True, slots=True)
class Level:
    """The most that a time may be.

    Attributes:
        name: One of :data:`BOUNDED`.
        percentile: Per cent of the requests for which it has to hold.
        seconds: The most seconds.
    """

    name: str
    percentile: float
    seconds: float

    @property
    def words(self) -> str:
        """``TTFT p99 ≤ 2 s``."""
        time = f"{self.seconds:g} s" if self.seconds >= 1 else f"{self.seconds * 1e3:g} ms"
        return f"{self.name.upper()} p{self.percentile:g} ≤ {time}"

    @property
    def share(self) -> float:
        """The share of the requests for which it has to hold."""
        return self.percentile / 100


def read_levels(text: str) -> tuple[Level, ...]:
    """The levels that a text names.

    Args:
        text: ``NAME=TIME`` or ``NAME.pN=TIME`` joined by commas, with the unit s, ms or us; or ``mlperf:NAME``.

    Raises:
        UnknownNameError: If a name is no time that can be bounded, or no level of MLPerf.
        BadInputError: If a part is not of that form, a time comes twice, or there is none.
    """
    if text.strip().startswith(MLPERF):
        return mlperf_levels(text.strip().removeprefix(MLPERF))
    levels: dict[str, Level] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, _, value = part.partition("=")
        name, dot, percentile = key.strip().partition(".")
        if name not in BOUNDED:
            raise UnknownNameError("service level", name, BOUNDED, f"or {MLPERF}NAME for those of MLPerf")
        if name in levels:
            raise BadInputError(f"service level {name} is given twice; give it once")
        levels[name] = Level(
            name, _percentile(part, percentile) if dot else PERCENTILE, read_seconds(part, name, value)
        )
    if not levels:
        raise BadInputError(f"--slo {text!r}: it bounds nothing; give levels such as ttft=2s,tpot=80ms")
    return tuple(levels.values())


def mlperf_levels(name: str) -> tuple[Level, ...]:
    """The levels of a benchmark of MLPerf Inference (``mlperf.yaml``).

    Raises:
        UnknownNameError: If it has none of that name.
    """
    table = _mlperf()
    found = table["levels"].get(name)
    if found is None:
        raise UnknownNameError("MLPerf level", name, table["levels"])
    return tuple(Level(time, float(table["percentile"]), float(seconds)) for time, seconds in found.items())


@cache
def _mlperf() -> dict[str, Any]:
    import yaml

    text = files("moecap.search").joinpath("mlperf.yaml").read_text(encoding="utf-8")
    table: dict[str, Any] = yaml.safe_load(text)
    return table


def _percentile(part: str, text: str) -> float:
    found = re.fullmatch(r"p(\d{1,3}(?:\.\d+)?)", text)
    if found is None or not 0 < float(found[1]) <= 100:
        raise BadInputError(f"service level {part!r}: give a percentile from above 0 to 100, such as ttft.p99=2s")
    return float(found[1])
