"""The spread of a load's metrics within one run, by resampling blocks of its time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd

from moecap.metrics.block_bootstrap import Cells, TooShortError
from moecap.metrics.difference import Spread
from moecap.metrics.latency import PERCENTILES, timed_latencies
from moecap.metrics.value import Metric

__all__ = ["LoadInTime", "Sums", "joined", "spreads"]

FloatArray = npt.NDArray[np.float64]
NO_INTERVAL = "no interval of this metric follows from one run"


@dataclass(frozen=True, slots=True)
class Sums:
    """A ratio of two sums over time, such as bytes of steps over their durations.

    Attributes:
        above_ns: When each part of the first sum was, monotonic ns, [n].
        above: The parts, [n].
        below_ns: When each part of the second sum was, [m].
        below: The parts, [m].
    """

    above_ns: npt.NDArray[np.int64]
    above: FloatArray
    below_ns: npt.NDArray[np.int64]
    below: FloatArray


@dataclass(frozen=True, slots=True)
class LoadInTime:
    """What a load gave, with the times at which it did.

    Attributes:
        requests: Its requests.
        chunks: Received chunks.
        window: The steady state, monotonic ns, or ``None``.
        sums: Metrics that are ratios of sums over the steady state, by name.
    """

    requests: pd.DataFrame
    chunks: pd.DataFrame
    window: tuple[int, int] | None
    sums: Mapping[str, Sums] = field(default_factory=dict)


def spreads(load: LoadInTime, metrics: Mapping[str, Metric]) -> dict[str, Spread | str]:
    """Standard errors of the metrics that are of the load, each with its value, in its unit.

    Args:
        load: One load; of several repeats one.
        metrics: The metrics of it, whose values are kept.

    Returns:
        By name of each metric that has a value, a spread or why there is none.
    """
    done = load.requests[load.requests["status"] == "completed"]
    if done.empty or load.requests["ended_ns"].isna().all():
        return {}
    flight = float((done["ended_ns"] - done["sent_ns"]).mean())
    whole = (int(load.requests["sent_ns"].min()), int(load.requests["ended_ns"].max()))
    found: dict[str, Spread | str] = {}

    def add(name: str, make: Callable[[], Spread]) -> None:
        metric = metrics.get(name)
        if metric is None or metric.value is None:
            return
        try:
            relative = make()
            found[name] = Spread(metric.value, relative.error * abs(metric.value), relative.freedom)
            if not math.isfinite(relative.error):
                found[name] = NO_INTERVAL
        except TooShortError as error:
            found[name] = str(error)

    over = Cells(*whole, flight)
    for name, (times, values) in timed_latencies(load.requests, load.chunks).items():
        if len(values) and (values > 0).all():
            for p in PERCENTILES:
                add(f"{name}.p{p}", partial(over.percentile, times, values, p))
    for suffix, span in (("", load.window), ("_whole_run", whole)):
        if span is None or span[1] <= span[0]:
            continue
        cells = Cells(*span, flight)
        for name, counted in _counted(done, load.chunks).items():
            add(f"{name}{suffix}", partial(_rate, cells, counted))
        if not suffix:
            for name, sums in load.sums.items():
                add(name, partial(_of_sums, cells, sums))
    return found | _following(found, metrics)


def _rate(cells: Cells, counted: tuple[npt.NDArray[np.int64], FloatArray]) -> Spread:
    return cells.ratio(cells.sums(*counted), cells.seconds)


def _of_sums(cells: Cells, sums: Sums) -> Spread:
    return cells.ratio(cells.sums(sums.above_ns, sums.above), cells.sums(sums.below_ns, sums.below))


def _counted(done: pd.DataFrame, chunks: pd.DataFrame) -> dict[str, tuple[npt.NDArray[np.int64], FloatArray]]:
    """What is counted a second: when, and how much of it."""
    bearing = chunks[chunks["kind"].isin(("content", "reasoning")) & chunks["request"].isin(done["request"])]
    bearing = bearing.sort_values(["request", "time_ns"], kind="stable")
    gained = bearing["tokens"] - bearing.groupby("request")["tokens"].shift(fill_value=0)
    first = done.dropna(subset=["first_token_ns", "input_tokens"])
    counted = {
        "requests_per_second": (done["ended_ns"], pd.Series(1.0, done.index)),
        "input_tokens_per_second": (first["first_token_ns"], first["input_tokens"]),
        "output_tokens_per_second": (bearing["time_ns"], gained),
    }
    if bearing["tokens"].isna().any():
        counted["output_tokens_per_second"] = (done["ended_ns"], done["output_tokens"].fillna(0))
    return {name: (t.to_numpy(np.int64), v.to_numpy(np.float64)) for name, (t, v) in counted.items() if len(t)}


_FOLLOWS = {
    "output_tokens_per_second_per_device": "output_tokens_per_second",
    "output_tokens_per_second_per_device_whole_run": "output_tokens_per_second_whole_run",
    "cost_per_million_output_tokens": "output_tokens_per_second",
    "cost_per_million_output_tokens_at_utilisation": "output_tokens_per_second",
    "energy_per_output_token_estimated": "output_tokens_per_second",
}
"""Metrics that are a constant times another one, or a constant over it: their relative errors are the same."""


def _following(found: Mapping[str, Spread | str], metrics: Mapping[str, Metric]) -> dict[str, Spread | str]:
    follows: dict[str, Spread | str] = {}
    for name, of in _FOLLOWS.items():
        metric, base = metrics.get(name), found.get(of)
        if metric is None or metric.value is None or base is None:
            continue
        if isinstance(base, Spread):
            follows[name] = Spread(metric.value, base.error / base.value * abs(metric.value), base.freedom)
        else:
            follows[name] = base
    return follows


def joined(each: Sequence[Mapping[str, Spread | str]]) -> dict[str, Spread | str]:
    """The spread of the mean of several repeats, which are too few to have one by themselves.

    Args:
        each: The spreads within each repeat.
    """
    found: dict[str, Spread | str] = {}
    for name in each[0]:
        of = [spreads.get(name, NO_INTERVAL) for spreads in each]
        known = [one for one in of if isinstance(one, Spread)]
        if len(known) < len(of):
            found[name] = next(one for one in of if isinstance(one, str))
            continue
        mean = math.fsum(one.value for one in known) / len(known)
        error = math.sqrt(math.fsum(one.error**2 for one in known)) / len(known)
        found[name] = Spread(mean, error, sum(one.freedom for one in known))
    return found
