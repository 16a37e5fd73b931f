"""Repeats of a load: what each observed, and one metric of all from those of each.

A run with ``repeats`` above 1 sends its load that often to one engine, each time with prompts, lengths and times of
arrival that another seed drew. Every metric of the load is computed of each repeat by itself, with a steady state of
its own. Repeats are what a number varies over when the same is measured again, so three or more give an interval that
the requests of one repeat, which share batches, cannot give.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from moecap.metrics.routing_source import SeenSteps
from moecap.metrics.student import mean_interval
from moecap.metrics.value import Metric, absent, measured
from moecap.observations.reader import Ragged
from moecap.observations.repeats import repeat_numbers, repeat_of_looks

__all__ = [
    "COUNTS",
    "INTERVAL_FROM",
    "counted",
    "of_repeats",
    "over_repeats",
    "repeat_values",
    "split",
    "whole_repeats",
    "worst_value",
]

INTERVAL_FROM = 3
"""Repeats from which on their mean has an interval."""

COUNTS = ("failed_requests", "server.prompt_tokens", "server.generated_tokens", "server.preemptions")
"""Metrics that count what happened, of which all repeats together have the sum."""


def repeat_values(metrics: Mapping[str, Metric], name: str) -> tuple[float, ...]:
    """The values of a metric in the whole repeats of a load, in their order.

    ``repeat_values(result.metrics, "tpot.p50")`` gives ``(0.0121, 0.0119, 0.0124)`` for a result of three repeats. Two
    results of three or more each can be compared by these values alone.

    Args:
        metrics: The metrics of a result.
        name: Which of them.

    Returns:
        Nothing where the load was measured once, the metric is of the whole run (an accuracy, a price), or it has no
        value.
    """
    metric = metrics.get(name)
    return () if metric is None or metric.repeats is None else metric.repeats


def worst_value(metrics: Mapping[str, Metric], name: str) -> float:
    """The largest value of a metric in any repeat, or its only one; 0 where it has none.

    A repeat that was disturbed counts as much as the others, so what speaks against one speaks against their mean.

    Args:
        metrics: The metrics of a result.
        name: Which of them.
    """
    return max(repeat_values(metrics, name), default=metrics[name].value or 0.0)


def whole_repeats(requests: pd.DataFrame, num_requests: int) -> tuple[int, ...]:
    """Numbers of the repeats of which every request was sent and none was in flight when the run ended.

    Args:
        requests: All requests of a run.
        num_requests: Requests of one repeat.
    """
    load = requests[requests["stage"] == "load"]
    of = pd.Series(repeat_numbers(load), load.index)
    sent, open_still = of.value_counts(), of[load["status"] == "unfinished"].unique()
    numbers = sent.index[(sent == num_requests) & ~sent.index.isin(open_still)]
    return tuple(sorted(numbers.tolist()))


def split(seen: SeenSteps, repeats: int, num_requests: int) -> list[SeenSteps]:
    """What was observed of each repeat that counts: the whole ones, and the first where none is whole.

    Args:
        seen: What was observed, with the steps of the load.
        repeats: How often the load was to be measured.
        num_requests: Requests of one repeat.
    """
    if repeats == 1:
        return [seen]
    whole = whole_repeats(seen.observations.requests, num_requests)
    return [of_repeats(seen, [number]) for number in whole or (0,)]


def counted(seen: SeenSteps, repeats: int, num_requests: int) -> SeenSteps:
    """The same of all repeats that count together; the arguments are those of :func:`split`."""
    return seen if repeats == 1 else of_repeats(seen, whole_repeats(seen.observations.requests, num_requests) or (0,))


def of_repeats(seen: SeenSteps, numbers: Collection[int]) -> SeenSteps:
    """What was observed of some repeats, beside what was before, between and after all of them.

    Args:
        seen: What was observed, with the steps of the load.
        numbers: Which repeats.
    """
    observations = seen.observations
    requests, chunks, steps, looks = (
        observations.requests,
        observations.chunks,
        observations.steps,
        observations.server_metrics,
    )
    kept = (requests["stage"] != "load") | np.isin(repeat_numbers(requests), list(numbers))
    gone = requests.loc[~kept, "request"].to_numpy()
    firsts = steps.seq_request.values[steps.seq_request.offsets[:-1]]
    told = ~((steps.stage == "load") & np.isin(firsts, gone))
    routing = observations.routing
    if routing is not None:
        token = told[routing.token_step]
        step = (np.cumsum(told) - 1)[routing.token_step[token]].astype(np.int32)
        routing = replace(routing, experts=routing.experts[token], token_step=step)
    part = replace(
        observations,
        requests=requests[kept],
        chunks=chunks[~chunks["request"].isin(gone)],
        steps=steps.where(told),
        routing=routing,
        server_metrics=looks[np.isin(repeat_of_looks(looks, requests), list(numbers))],
    )
    estimate = seen.estimate
    if estimate is not None:
        ends: dict[str, Ragged] = {end: getattr(estimate, end).where(told) for end in ("fewest", "uniform", "most")}
        estimate = replace(estimate, **ends)
    return replace(seen, observations=part, estimate=estimate)


def over_repeats(each: Sequence[Mapping[str, Metric]]) -> dict[str, Metric]:
    """The metrics of all repeats together.

    A metric that is the same in all of them is one of the whole run and stays as it is. Of the others the value is the
    mean, of counts the sum; three or more repeats give Student's interval of the mean. Bounds that are no interval (of
    experts that are estimated) are the means of the bounds. n is that of all repeats together.

    Args:
        each: The metrics of each repeat, at least one.
    """
    names = dict.fromkeys(name for metrics in each for name in metrics)
    return {name: _joined(name, [metrics[name] for metrics in each]) for name in names}


def _joined(name: str, found: Sequence[Metric]) -> Metric:
    first, n = found[0], sum(metric.n or 0 for metric in found)
    values = [metric.value for metric in found if metric.value is not None]
    if len(values) < len(found):
        return _absent(found, n)
    if name in COUNTS:
        return measured(math.fsum(values), first.unit, n).model_copy(update={"repeats": tuple(values)})
    if all(metric == first for metric in found):
        return first
    lows, highs = ([getattr(metric, end) for metric in found] for end in ("low", "high"))
    low = high = None
    if None not in (*lows, *highs):
        low, high = _mean(lows), _mean(highs)
    elif len(values) >= INTERVAL_FROM:
        low, high = mean_interval(values)
    return measured(_mean(values), first.unit, n, low, high).model_copy(update={"repeats": tuple(values)})


def _absent(found: Sequence[Metric], n: int) -> Metric:
    """No value, since one of the repeats has none."""
    reasons = {metric.reason for metric in found}
    first = next(place for place, metric in enumerate(found) if metric.value is None)
    reason = str(found[first].reason)
    return absent(found[0].unit, reason if len(reasons) == 1 else f"repeat {first + 1} has none: {reason}", n)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
