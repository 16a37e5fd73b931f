"""Two simpler projections of the same published rows, beside this package's: what its detail buys.

    python benchmarks/projection_baselines.py POINTS.json

- *flat roofline*: a step takes its bytes over the memory's peak or its FLOPs over the dense peak, whichever is longer,
  divided by one efficiency, which is fitted on the rows marked ``calibration`` (the median of the ratios);
- *per layer and sequence*: the same roofline at efficiency 1, and 0.100 ms a layer and 0.065 ms a sequence for what it
  leaves out (``ITL_ms = SOL + 0.100 layers + 0.065 B``), constants as published, nothing fitted.

Both take the bytes and FLOPs of the projection's own work model with experts chosen evenly and no message between
devices, the same batch and the same mixture of prefill and decode, so that only the time of a step differs. Printed:
median and 90th percentile of |projected / published - 1| of TPOT, ITL and output throughput, calibration and validation
rows apart, on the rows where all three give a number. ``--aiconfigurator FILE`` adds the answers of that tool, which
``aiconfigurator_answers.py`` writes, on the rows that it answers.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from moecap.projection.coefficients import calibrated
from moecap.projection.evaluation import Group, group_points, projected_values
from moecap.projection.points import METRICS as METRIC_UNITS
from moecap.projection.points import Point, read_points, resolve
from moecap.projection.routing import UNIFORM
from moecap.projection.steady import STEPS
from moecap.projection.work import StepWork

Floats = npt.NDArray[np.float64]

METRICS = ("tpot", "itl_median", "output_throughput")
LAYER_SECONDS, SEQUENCE_SECONDS = 0.100e-3, 0.065e-3


def roofline(work: StepWork) -> Floats:
    """Seconds of steps at the peaks, float64 [steps]: all bytes over the bandwidth or all products, the longer."""
    reading = np.asarray(sum(work.bytes.values()), np.float64) / work.bandwidth
    computing = np.asarray(sum(work.compute.values()), np.float64)
    return np.maximum(reading, computing)


def step_seconds(group: Group) -> tuple[Floats, Floats]:
    """Mean seconds of a step of each load at the peaks, and sequences that decode, float64 [n] each."""
    plan = group.plan
    kinds = dict(zip(STEPS, roofline(plan.steps).reshape(len(STEPS), -1), strict=True))
    return kinds["decode"] + plan.mixed_share * (kinds["mixed"] - kinds["decode"]), plan.running


def values_of(points: Sequence[Point], seconds: Floats, running: Floats) -> list[float]:
    """What steps of so many seconds mean for each point's metric."""
    rate = running / seconds
    return [float(rate[i] if p.metric == "output_throughput" else seconds[i]) for i, p in enumerate(points)]


def layers_of(point: Point) -> int:
    """Layers of the point's model."""
    return len(point.deployment.spec.layers)


def errors(values: Floats, published: Floats) -> tuple[float, float]:
    """Median and 90th percentile of |projected / published - 1|."""
    error = np.abs(values / published - 1.0)
    return float(np.median(error)), float(np.percentile(error, 90))


def main() -> None:
    """Project three times and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("points", type=Path)
    parser.add_argument("--aiconfigurator", type=Path, help="answers of aiconfigurator_answers.py")
    asked = parser.parse_args()
    resolved = [point for point in map(resolve, read_points(asked.points)) if isinstance(point, Point)]
    served = [point for point in resolved if point.metric in METRICS and point.deployment.placement is None]
    groups = group_points(served)
    points = [point for group in groups for point in group.points]
    flat: list[float] = []
    layered: list[float] = []
    for group in group_points(_evenly(served)):
        seconds, running = step_seconds(group)
        added = layers_of(group.points[0]) * LAYER_SECONDS + SEQUENCE_SECONDS * running
        flat += values_of(group.points, seconds, running)
        layered += values_of(group.points, seconds + added, running)
    published = np.array([point.value for point in points])
    times = np.array([point.metric != "output_throughput" for point in points])
    fitted = np.array([point.split == "calibration" for point in points])
    roof = np.array(flat)
    ratio = np.where(times, roof / published, published / roof)
    efficiency = float(np.nanmedian(ratio[fitted]))
    found = {
        "flat roofline": np.where(times, roof / efficiency, roof * efficiency),
        "per layer and sequence": np.array(layered),
        "moecap": projected_values(groups, calibrated()),
    }
    print(f"the flat roofline's efficiency: {efficiency:.3f}")
    metrics = np.array([point.metric for point in points])
    everywhere = np.all([np.isfinite(values) for values in found.values()], axis=0)
    for split, mask in (("calibration", fitted), ("validation", ~fitted)):
        for metric in METRICS:
            rows = mask & (metrics == metric) & everywhere
            for name, values in found.items():
                median, high = errors(values[rows], published[rows])
                print(f"{split:12} {metric:18} n {rows.sum():4}  {name:24} median {median:.1%}  p90 {high:.1%}")
    if asked.aiconfigurator is not None:
        _beside(json.loads(asked.aiconfigurator.read_text(encoding="utf-8")), resolved)


def _beside(answers: dict[str, float], resolved: Sequence[Point]) -> None:
    """Print the errors of AIConfigurator's answers, by row in the row's unit, and of this package's on them."""
    groups = group_points(point for point in resolved if point.id in answers)
    points = [point for group in groups for point in group.points]
    published = np.array([point.value for point in points])
    values = {
        "AIConfigurator": np.array([answers[point.id] * METRIC_UNITS[point.metric] for point in points]),
        "moecap": projected_values(groups, calibrated()),
    }
    keys = [(point.split, point.metric) for point in points]
    for split, metric in sorted(set(keys)):
        rows = np.array([key == (split, metric) for key in keys])
        for name, found in values.items():
            median, high = errors(found[rows], published[rows])
            print(f"{split:12} {metric:18} n {rows.sum():4}  {name:24} median {median:.1%}  p90 {high:.1%}")


def _evenly(points: Sequence[Point]) -> list[Point]:
    """The points with experts chosen evenly, one deployment for all that share one."""
    even = {id(point.deployment): point.deployment for point in points}
    chosen = {key: replace(deployment, popularity=UNIFORM) for key, deployment in even.items()}
    return [replace(point, deployment=chosen[id(point.deployment)]) for point in points]


if __name__ == "__main__":
    main()
