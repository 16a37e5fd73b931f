"""What the steps of a run took from each memory of a declared layout, against the peak of each.

The layout says where the tensors live and how often an expert is found in a nearer memory; it is the user's word, and
nothing here observes it. Bytes of a tier follow from it and from the bytes of the steps (:mod:`moecap.metrics.tiers`);
steps that feed prompts have the shares of ``prefill``, where the layout gives some. The tiers can work at once, so that
the steps of a phase take at least as long as the tier that needs the most time for their bytes: the binding one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moecap.hardware.profile import HardwareProfile
from moecap.metrics.memory_layout import TIERS, Layout, TierName
from moecap.metrics.steps import StepWork
from moecap.metrics.tiers import placed_bytes, tier_peak
from moecap.metrics.utilisation import ROUTING_UNKNOWN
from moecap.metrics.value import Metric, absent, measured
from moecap.observations.reader import Steps

__all__ = ["COMPUTED_BY_HOST", "SPREAD", "TIER_PHASES", "PlacedPhase", "binding_tier", "placed_phase", "tier_metrics"]

SPREAD = (
    "the layout spreads the model over several memories, and the accelerator's peak is not that of all bytes: see "
    "tier.*.utilisation of each"
)
COMPUTED_BY_HOST = (
    "the layout lets the host's processors compute experts, whose peak it does not give: the accelerator's is not that "
    "of all FLOPs"
)
TIER_PHASES = ("prefill", "decode", "mixed", "all")
"""Phases of the load, each with its own bytes a tier; what scores answers has no metric of a tier."""


@dataclass(frozen=True, slots=True)
class PlacedPhase:
    """The steps of a phase in a layout.

    Attributes:
        bytes: Bytes that they take from each tier, all together.
        peaks: Peak of each tier, bytes/s; ``None`` where it is not known.
        steps: Number of steps.
        time: Their measured time together, seconds.
    """

    bytes: dict[TierName, float]
    peaks: dict[TierName, float | None]
    steps: int
    time: float

    def seconds(self, name: TierName) -> float | None:
        """The least time that a tier needs for all of them; ``None`` where its peak is not known."""
        peak = self.peaks[name]
        return None if peak is None else self.bytes[name] / peak

    @property
    def least_seconds(self) -> float | None:
        """The least time of all of them; ``None`` where a tier that they use has no known peak."""
        times = [self.seconds(name) for name in TIERS if self.bytes[name]]
        known = [time for time in times if time is not None]
        return max(known) if known and len(known) == len(times) else None


def placed_phase(
    work: StepWork, steps: Steps, mask: npt.NDArray[np.bool_], layout: Layout, profile: HardwareProfile
) -> PlacedPhase | None:
    """The masked steps in a layout; ``None`` where there are none or their bytes are not known.

    Args:
        work: Bytes and FLOPs of each step.
        steps: The step records, for their times.
        mask: Which steps count, [steps].
        layout: Where the tensors live.
        profile: The accelerator, for the peak of its memory where the layout leaves it out.
    """
    if work.bytes is None or not mask.any():
        return None
    taken: dict[TierName, float] = dict.fromkeys(TIERS, 0.0)
    for shares, part in ((layout, mask & work.decode), (layout.in_prefill, mask & ~work.decode)):
        sums = work.bytes.sums(part)
        experts, cache = sums.pop("experts"), sums.pop("kv")
        amounts = placed_bytes(shares, weights=sum(sums.values()), experts=experts, cache=cache)
        taken = {name: taken[name] + amounts[name] for name in TIERS}
    peaks = {name: tier_peak(name, layout, profile)[0] for name in TIERS}
    return PlacedPhase(taken, peaks, int(mask.sum()), float(steps.duration_ns[mask].sum()) * 1e-9)


def tier_metrics(
    prefix: str, work: StepWork, steps: Steps, mask: npt.NDArray[np.bool_], layout: Layout, profile: HardwareProfile
) -> dict[str, Metric]:
    """The metrics of the masked steps; all arguments but the first are those of :func:`placed_phase`.

    Args:
        prefix: Name of the phase.
        work: Bytes and FLOPs of each step.
        steps: The step records, for their times.
        mask: Which steps count, [steps].
        layout: Where the tensors live.
        profile: The accelerator.

    Returns:
        For each tier ``PREFIX.tier.NAME.bytes_per_step`` (mean) and ``.utilisation``, its bytes over what its peak
        moves in the measured time of the steps; ``PREFIX.least_step_time``, seconds that the binding tier needs for the
        bytes of a mean step.
    """
    phase = placed_phase(work, steps, mask, layout, profile)
    n = int(mask.sum())
    missing = ROUTING_UNKNOWN if n else f"no {prefix} step in the window"
    found: dict[str, Metric] = {}
    for name in TIERS:
        amount, share = absent("B", missing, n), absent("1", missing, n)
        if phase is not None:
            amount = measured(phase.bytes[name] / n, "B", n)
            seconds = phase.seconds(name)
            share = (
                absent("1", f"the peak of {name} is not known: neither the layout nor the hardware gives one", n)
                if seconds is None
                else measured(seconds / phase.time, "1", n)
            )
        found |= {f"{prefix}.tier.{name}.bytes_per_step": amount, f"{prefix}.tier.{name}.utilisation": share}
    least = None if phase is None else phase.least_seconds
    if least is not None:
        found[f"{prefix}.least_step_time"] = measured(least / n, "s", n)
    else:
        reason = missing if phase is None else "the peak of a tier that is used is not known"
        found[f"{prefix}.least_step_time"] = absent("s", reason, n)
    return found


def binding_tier(prefix: str, metrics: dict[str, Metric]) -> TierName | None:
    """The tier that needs the most time in a phase; ``None`` where that is not known.

    Args:
        prefix: Name of the phase.
        metrics: The metrics of a run.
    """
    least = metrics.get(f"{prefix}.least_step_time")
    if least is None or least.value is None:
        return None
    return max(TIERS, key=lambda name: metrics[f"{prefix}.tier.{name}.utilisation"].value or 0.0)
