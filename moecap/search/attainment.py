"""The share of a load's requests that keep a service level, and whether they came faster than they were answered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from moecap.metrics.accuracy import wilson
from moecap.metrics.latency import token_latencies
from moecap.metrics.sessions import session_spans
from moecap.search.levels import Level

__all__ = ["Attainment", "attainments", "over_saturated"]

GROWTH, SIGMAS = 0.1, 3.0
"""How much of the arrivals of the second half has to pile up, and how many standard deviations of their number."""

HALF_NS = 0.5e-9
"""Times are whole nanoseconds: a request that took exactly as long as a level allows keeps it."""

RAMP = 0.1
"""Share of the arrivals, the first ones, whose times tell how long a request takes without a queue."""


@dataclass(frozen=True, slots=True)
class Attainment:
    """How a load kept one level.

    Attributes:
        level: The level.
        within: Requests that kept it.
        n: Requests that had to: those that have this time, and those that failed.
        low: Lower end of Wilson's 95 % interval of the share.
        high: Upper end.
        problem: Why it cannot be told; empty where it can.
    """

    level: Level
    within: int = 0
    n: int = 0
    low: float = 0.0
    high: float = 1.0
    problem: str = ""

    @property
    def share(self) -> float:
        """The share that kept it; NaN of none."""
        return self.within / self.n if self.n else math.nan

    def holds(self, *, margin: bool = False) -> bool:
        """Whether enough requests kept it.

        Args:
            margin: Whether the lower end of the interval has to be enough, and not the share alone.
        """
        return bool(self.n) and (self.low if margin else self.share) >= self.level.share - 1e-12


def attainments(
    requests: pd.DataFrame, chunks: pd.DataFrame, levels: Sequence[Level], *, open_loop: bool
) -> list[Attainment]:
    """How the requests of a load kept each level.

    A request that failed kept none. In an open loop a request's time runs from when it was to be sent.

    Args:
        requests: Rows of the load.
        chunks: Received chunks.
        levels: The levels.
        open_loop: Whether requests came at their times, whatever the server did.
    """
    times = token_latencies(requests, chunks)
    failed = int((requests["status"] != "completed").sum())
    found = []
    for level in levels:
        name = f"{level.name}_from_schedule" if open_loop and level.name != "tpot" else level.name
        values = times[name]
        if not len(values) and failed < len(requests):
            problem = f"{level.name.upper()} of no request is known: the server does not tell the tokens of its chunks"
            found.append(Attainment(level, problem=problem))
            continue
        within, n = int((values <= level.seconds + HALF_NS).sum()), len(values) + failed
        found.append(Attainment(level, within, n, *(wilson(within, n) if n else (0.0, 1.0))))
    return found


def over_saturated(requests: pd.DataFrame) -> bool:
    """Whether an open loop's requests came faster than they were answered.

    The number in flight has to be larger at the last arrival than at the middle one by a tenth of the arrivals between
    the two, and by three standard deviations of the number of Poisson arrivals, √arrivals. A load that is over before
    three times the time that its first tenth of requests took is too short to tell.

    Args:
        requests: Rows of the load.
    """
    spans = session_spans(requests).sort_values("scheduled_ns", ignore_index=True)
    if len(spans) < 2:
        return False
    due = spans["scheduled_ns"].to_numpy(np.float64)
    ended = spans["ended_ns"].fillna(np.inf).to_numpy(np.float64)
    first = max(1, round(RAMP * len(spans)))
    middle, last = len(spans) // 2, len(spans) - 1
    if due[last] - due[0] < 3 * float(np.median(ended[:first] - due[:first])):
        return False

    def in_flight(place: int) -> int:
        return place + 1 - int((ended <= due[place]).sum())

    arrivals = last - middle
    return in_flight(last) - in_flight(middle) > max(GROWTH * arrivals, SIGMAS * math.sqrt(arrivals))
