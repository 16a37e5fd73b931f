"""The projection held against published points: one projected value for each, with the errors and the intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from moecap.projection.capacity import LIMITS
from moecap.projection.coefficients import Coefficients
from moecap.projection.points import Point
from moecap.projection.power import activity, power_watts
from moecap.projection.steady import Load, SteadyPlan, steady_plan, steady_state
from moecap.projection.work import WorkModel

__all__ = ["Group", "errors_by", "group_points", "projected_values"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Points of one deployment with the plan of their loads."""

    points: tuple[Point, ...]
    plan: SteadyPlan


def group_points(points: Iterable[Point]) -> list[Group]:
    """Points by deployment and what its engine was given, so that the work of each is counted once."""
    together: dict[tuple[int, int, int], list[Point]] = defaultdict(list)
    for point in points:
        together[id(point.deployment), point.sequences, point.step_tokens].append(point)
    return [Group(tuple(same), _plan(same)) for same in together.values()]


def _plan(points: Sequence[Point]) -> SteadyPlan:
    load = Load.of(
        [p.concurrency for p in points],
        [p.input_tokens for p in points],
        [p.output_tokens for p in points],
        [p.burst for p in points],
        [p.together for p in points],
    )
    deployment = points[0].deployment
    limits = LIMITS.get(deployment.engine, LIMITS["default"])
    sequences, tokens = points[0].sequences or limits.sequences, points[0].step_tokens or limits.step_tokens
    given = replace(limits, sequences=sequences, step_tokens=tokens)
    return steady_plan(WorkModel(deployment), load, given)


def projected_values(groups: Sequence[Group], coefficients: Coefficients) -> Floats:
    """The projected value of every point, in the order of the groups, float64; not a number where it does not fit."""
    values: list[float] = []
    for group in groups:
        deployment = group.points[0].deployment
        state = steady_state(group.plan, coefficients, deployment.engine)
        watts = power_watts(activity(group.plan, state), deployment, coefficients.power)
        columns = {
            "ttft": state.ttft,
            "tpot": state.tpot,
            "itl_median": state.itl,
            "output_throughput": state.output_throughput,
            "prefill_speed": group.plan.load.input_tokens / state.ttft,
            "decode_speed": 1.0 / state.tpot,
            "gpu_power_avg_sum": watts,
            "energy_per_output_token": watts / state.output_throughput,
        }
        values += [float(columns[point.metric][row]) for row, point in enumerate(group.points)]
    return np.array(values, np.float64)


def errors_by(
    keys: Sequence[str], published: Floats, projected: Floats, low: Floats, high: Floats
) -> dict[str, dict[str, float | int]]:
    """Median and 90th percentile of |projected / published - 1|, and the share inside the intervals, by key.

    Args:
        keys: The key of each point.
        published: Published values, float64 [n].
        projected: Projected values, float64 [n].
        low: Lower ends of the intervals, float64 [n].
        high: Upper ends, float64 [n].
    """
    table: dict[str, dict[str, float | int]] = {}
    names = np.array(keys)
    for key in sorted(set(keys)):
        of = names == key
        error = np.abs(projected[of] / published[of] - 1.0)
        table[key] = {
            "n": int(of.sum()),
            "median_abs_error": float(np.median(error)),
            "p90_abs_error": float(np.percentile(error, 90)),
            "interval_coverage": float(np.mean((published[of] >= low[of]) & (published[of] <= high[of]))),
        }
    return table
