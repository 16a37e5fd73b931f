"""What a load that was tried gave: whether its service levels hold, and its place between speed and efficiency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moecap.metrics.repeats import whole_repeats
from moecap.metrics.value import Metric
from moecap.observations.reader import read_observations
from moecap.observations.repeats import repeat_numbers
from moecap.result import Result
from moecap.search.asked import Search
from moecap.search.attainment import Attainment, attainments, over_saturated

__all__ = ["SHOWN", "Point", "frontier", "judged", "missed"]

SHOWN = (
    "ttft.p50",
    "ttft.p99",
    "tpot.p50",
    "tpot.p99",
    "e2e.p50",
    "e2e.p99",
    "output_tokens_per_second",
    "output_tokens_per_second_per_device",
    "requests_per_second",
    "failed_requests",
    "decode.s_mbu",
    "decode.s_mfu",
    "cost_per_million_output_tokens",
)
"""Metrics of a point in the table of a search."""


@dataclass(frozen=True, slots=True)
class Point:
    """A load that was tried.

    Attributes:
        load: Requests in flight, or requests a second.
        name: Its run directory in the folder of the search.
        status: ``complete``, ``failed``, ``interrupted``, or ``refused`` where nothing was started.
        holds: Whether all service levels hold.
        reason: Why they do not.
        attained: How each level was kept; empty where the run is not complete.
        over_saturated: Whether the requests of an open loop came faster than they were answered.
        result: The result, where there is one.
    """

    load: float
    name: str
    status: str
    holds: bool
    reason: str = ""
    attained: tuple[Attainment, ...] = ()
    over_saturated: bool = False
    result: Result | None = None

    def metric(self, name: str) -> Metric | None:
        """A metric of its result."""
        return None if self.result is None else self.result.metrics.get(name)

    def value(self, name: str) -> float | None:
        """The value of a metric."""
        metric = self.metric(name)
        return None if metric is None else metric.value

    @property
    def counts(self) -> bool:
        """Whether its numbers are those of a whole load in a steady state that the client could follow."""
        flags = () if self.result is None else self.result.flags
        return self.status == "complete" and not self.over_saturated and all(f.level != "invalid" for f in flags)

    @property
    def tokens_per_user(self) -> float | None:
        """Output tokens a second that one user sees: one over the median TPOT."""
        tpot = self.value("tpot.p50")
        return 1 / tpot if tpot else None

    @property
    def record(self) -> dict[str, Any]:
        """The point as ``search.json`` has it."""
        result = self.result
        told = {
            "load": self.load,
            "name": self.name,
            "status": self.status,
            "holds": self.holds,
            "reason": self.reason,
            "over_saturated": self.over_saturated,
            "attainment": [_attained(found, measured=self._measured) for found in self.attained],
            "output_tokens_per_second_per_user": self.tokens_per_user,
        }
        if result is None:
            return told | {"kind": None, "metrics": {}}
        metrics = {n: result.metrics[n].model_dump(mode="json") for n in SHOWN if n in result.metrics}
        return told | {
            "kind": result.kind,
            "id": result.id,
            "flags": [f.name for f in result.flags],
            "metrics": metrics,
        }

    @property
    def _measured(self) -> bool:
        return self.result is not None and self.result.kind == "measured"


def _attained(found: Attainment, *, measured: bool) -> dict[str, Any]:
    level = found.level
    return {
        "level": level.name,
        "percentile": level.percentile,
        "seconds": level.seconds,
        "within": found.within,
        "n": found.n,
        "share": found.share if found.n else None,
        "low": found.low if measured and found.n else None,
        "high": found.high if measured and found.n else None,
    }


def judged(search: Search, load: float, name: str, result: Result) -> Point:
    """Whether the levels of a search hold in a complete run.

    Args:
        search: The search.
        load: The load that was tried.
        name: The run directory.
        result: Its result.

    Raises:
        BadInputError: If its observations cannot be read.
    """
    observations = read_observations(search.folder / name)
    requests = observations.requests[observations.requests["stage"] == "load"]
    number = repeat_numbers(requests)
    counting = whole_repeats(requests, result.workload.num_requests)
    open_loop = search.axis.name == "rate"
    requests, number = requests[np.isin(number, counting)], number[np.isin(number, counting)]
    found = attainments(requests, observations.chunks, search.levels, open_loop=open_loop)
    saturated = open_loop and any(over_saturated(requests[number == n]) for n in counting)
    invalid = next((flag.text for flag in result.flags if flag.level == "invalid"), "")
    missed_levels = [a for a in found if not a.holds(margin=search.margin)]
    reason = invalid
    if not reason and saturated:
        reason = "over-saturated: the requests came faster than they were answered"
    if not reason and missed_levels:
        reason = "; ".join(_words(a, margin=search.margin) for a in missed_levels)
    return Point(load, name, "complete", not reason, reason, tuple(found), saturated, result)


def _words(found: Attainment, *, margin: bool) -> str:
    if found.problem:
        return found.problem
    if not found.n:
        return f"{found.level.words}: no request has this time"
    share = f"{found.level.words} is kept by {found.share:.1%} of {found.n}"
    return f"{share}, by {found.low:.1%} at least" if margin and found.share >= found.level.share else share


def missed(load: float, name: str, status: str, reason: str, result: Result | None = None) -> Point:
    """A load that gave no complete run."""
    return Point(load, name, status, False, reason, result=result)


def frontier(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats in tokens a second for one user and for a device, by rising speed for the user.

    Between two of them nothing was measured: up to the speed of a point its throughput can be had, so the curve is a
    step.

    Args:
        points: Points in any order; those without both numbers, and those that do not count, are left out.
    """
    places = [(p.tokens_per_user, p.value("output_tokens_per_second_per_device"), p) for p in points]
    known = [(x, y, p) for x, y, p in places if x is not None and y is not None and p.counts]
    best, kept = -1.0, []
    for _, y, point in sorted(known, key=lambda place: (-place[0], -place[1])):
        if y > best:
            best = y
            kept.append(point)
    return kept[::-1]
