"""Where each phase lies under the roofline: useful FLOPs for each byte read, and what the hardware allows there.

Source: Williams, Waterman and Patterson, "Roofline: an insightful visual performance model", 2009; bytes and FLOPs are
those of S-MBU and S-MFU, so the model's reads from memory alone are counted and not an engine's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from moecap.metrics.steps import StepWork
from moecap.metrics.utilisation import ROUTING_UNKNOWN, Peaks, mix
from moecap.metrics.value import Metric, absent, measured
from moecap.observations.reader import Steps

__all__ = ["PhasePoint", "Roofline", "phase_point", "ridge_metric", "roofline_metrics"]


@dataclass(frozen=True, slots=True)
class Roofline:
    """The two roofs of all devices together.

    Attributes:
        bandwidth: Memory bandwidth, bytes/s.
        flops: Dense peak, FLOP/s: of the one compute format, or of the mix in which the work is in several.
    """

    bandwidth: float
    flops: float

    @classmethod
    def of(cls, peaks: Peaks, work: Mapping[str, float]) -> Roofline | None:
        """The roofs of a run's hardware for work of so many FLOPs in each format; ``None`` where one is not known."""
        flops = peaks.of_mix(work)
        if peaks.bandwidth is None or flops is None:
            return None
        return cls(peaks.bandwidth, flops)

    @property
    def ridge(self) -> float:
        """The intensity at which the roofs meet, FLOP/B."""
        return self.flops / self.bandwidth

    def attainable(self, intensity: float) -> float:
        """The lower roof at an intensity in FLOP/B, FLOP/s."""
        return min(self.bandwidth * intensity, self.flops)

    def bound(self, intensity: float) -> Literal["memory", "arithmetic"]:
        """Which roof is the lower one at an intensity in FLOP/B."""
        return "memory" if intensity < self.ridge else "arithmetic"


@dataclass(frozen=True, slots=True)
class PhasePoint:
    """What the steps of a phase did.

    Attributes:
        intensity: Useful FLOPs for each byte read, a ratio of sums, FLOP/B.
        achieved: Useful FLOPs a second of step time, FLOP/s.
        steps: Steps.
    """

    intensity: float
    achieved: float
    steps: int


def phase_point(work: StepWork, steps: Steps, mask: npt.NDArray[np.bool_]) -> PhasePoint | None:
    """Where the masked steps lie; ``None`` where there are none or their bytes are not known."""
    if work.bytes is None or not mask.any():
        return None
    flops, read = float(work.flops[mask].sum()), float(work.bytes.total()[mask].sum())
    seconds = float(steps.duration_ns[mask].sum()) * 1e-9
    return PhasePoint(flops / read, flops / seconds, int(mask.sum()))


def ridge_metric(peaks: Peaks, work: Mapping[str, float]) -> dict[str, Metric]:
    """``roofline.ridge``: the intensity from which on arithmetic binds, for work of so many FLOPs in each format."""
    roofline = Roofline.of(peaks, work)
    ridge = absent("FLOP/B", _missing(peaks, work)) if roofline is None else measured(roofline.ridge, "FLOP/B", 1)
    return {"roofline.ridge": ridge}


def roofline_metrics(
    prefix: str, work: StepWork, steps: Steps, mask: npt.NDArray[np.bool_], peaks: Peaks
) -> dict[str, Metric]:
    """The place of the masked steps.

    Args:
        prefix: Name of the phase.
        work: Bytes and FLOPs of each step.
        steps: The step records, for their times.
        mask: Which steps count, [steps].
        peaks: What the devices can do.

    Returns:
        ``PREFIX.arithmetic_intensity`` in FLOP/B; ``PREFIX.intensity_over_ridge``, below 1 where memory binds and
        above where arithmetic does; ``PREFIX.achieved_flops`` and ``PREFIX.attainable_flops`` in FLOP/s.
    """
    units = {
        "arithmetic_intensity": "FLOP/B",
        "intensity_over_ridge": "1",
        "achieved_flops": "FLOP/s",
        "attainable_flops": "FLOP/s",
    }
    flops = mix(work.flops_by_format, mask)
    point, roofline = phase_point(work, steps, mask), Roofline.of(peaks, flops)
    if point is None:
        n = int(mask.sum())
        reason = ROUTING_UNKNOWN if n else f"no {prefix} step in the window"
        return {f"{prefix}.{name}": absent(unit, reason, n) for name, unit in units.items()}
    values = {"arithmetic_intensity": point.intensity, "achieved_flops": point.achieved}
    if roofline is not None:
        values["intensity_over_ridge"] = point.intensity / roofline.ridge
        values["attainable_flops"] = roofline.attainable(point.intensity)
    return {
        f"{prefix}.{name}": measured(values[name], unit, point.steps)
        if name in values
        else absent(unit, _missing(peaks, flops), point.steps)
        for name, unit in units.items()
    }


def _missing(peaks: Peaks, work: Mapping[str, float]) -> str:
    return peaks.no_bandwidth if peaks.bandwidth is None else peaks.no_rate(work)
