"""S-MBU, S-MFU and their dense counterparts: ratios of sums over a set of steps (MoE-CAP, arXiv 2412.07067, eq. 6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moecap.metrics.steps import StepWork
from moecap.metrics.value import Metric, absent, measured
from moecap.observations.reader import Steps

__all__ = ["Peaks", "mix", "utilisation"]

ROUTING_UNKNOWN = "the experts that the model selected were not captured"
NO_BANDWIDTH = "the hardware's memory bandwidth is not known"


@dataclass(frozen=True, slots=True)
class Peaks:
    """What the devices of a run could do at most.

    Attributes:
        bandwidth: Memory bandwidth of all devices together, bytes/s.
        bandwidth_source: ``datasheet`` or ``probed``.
        probed_bandwidth: The measured one, bytes/s, where this machine was probed.
        flops: Dense peak of all devices in each number format that the model is computed in, FLOP/s, the format of
            most work first; ``None`` where the chip lacks the format.
        no_bandwidth: Why the bandwidth is not known, or is not that of what a step reads.
        no_flops: Why the peaks of arithmetic are not those of what computes; empty where they are.
    """

    bandwidth: float | None
    bandwidth_source: str
    probed_bandwidth: float | None
    flops: Mapping[str, float | None]
    no_bandwidth: str = NO_BANDWIDTH
    no_flops: str = ""

    def of_mix(self, flops: Mapping[str, float]) -> float | None:
        """FLOP/s that the devices reach at most on work in several formats: all FLOPs over Σ FLOPs_f / peak_f.

        Args:
            flops: FLOPs in each format; work of none counts as work in the only format, where there is but one.

        Returns:
            The peak of the format itself for work in one; ``None`` where a format of the work has no peak.
        """
        work = self._work(flops)
        if self.no_flops or any(self.flops[name] is None for name in work) or not work:
            return None
        if len(work) == 1:
            return self.flops[next(iter(work))]
        return sum(work.values()) / sum(count / (self.flops[name] or 0) for name, count in work.items())

    def no_rate(self, flops: Mapping[str, float]) -> str:
        """Why there is no peak for work in some formats."""
        if self.no_flops:
            return self.no_flops
        work = self._work(flops)
        lacking = [name for name in work if self.flops[name] is None]
        if not work:
            return f"without a step it is not known how the work is shared between {' and '.join(self.flops)}"
        return f"this hardware has no native rate for {' and '.join(lacking)}"

    def _work(self, flops: Mapping[str, float]) -> Mapping[str, float]:
        if len(self.flops) == 1:
            return dict.fromkeys(self.flops, 1.0)
        return {name: count for name, count in flops.items() if count > 0}


def mix(by_format: Mapping[str, npt.NDArray[np.float64]], mask: npt.NDArray[np.bool_]) -> dict[str, float]:
    """FLOPs in each format over the masked steps."""
    return {name: float(flops[mask].sum()) for name, flops in by_format.items()}


def utilisation(
    prefix: str, work: StepWork, steps: Steps, mask: npt.NDArray[np.bool_], peaks: Peaks, routing_known: bool
) -> dict[str, Metric]:
    """The utilisation metrics of the masked steps.

    Args:
        prefix: Name of the phase: ``decode``, ``prefill``, ``mixed``, ``all`` or ``score``.
        work: Bytes and FLOPs of each step.
        steps: The step records, for their times.
        mask: Which steps count, [steps].
        peaks: What the devices can do.
        routing_known: Whether the selected experts were captured (or the model has none).

    Returns:
        ``PREFIX.s_mbu``, ``s_mbu_paper``, ``s_mbu_probed``, ``mbu``, ``s_mfu``, ``mfu``, ``time`` and ``steps``.
    """
    n = int(mask.sum())
    seconds = float(steps.duration_ns[mask].sum()) * 1e-9
    known = work.bytes is not None and work.paper_bytes is not None and routing_known

    def ratio(amount: npt.NDArray[np.float64] | None, peak: float | None, missing: str) -> Metric:
        if n == 0:
            return absent("1", f"no {prefix} step in the window")
        if amount is None:
            return absent("1", ROUTING_UNKNOWN, n)
        if peak is None:
            return absent("1", missing, n)
        return measured(amount[mask].sum() / (seconds * peak), "1", n)

    missing = peaks.no_bandwidth
    unprobed = "this hardware was not probed" if missing == NO_BANDWIDTH else missing
    total = work.bytes.total() if known and work.bytes is not None else None
    paper = work.paper_bytes if known else None
    used, dense = mix(work.flops_by_format, mask), mix(work.dense_flops_by_format, mask)
    return {
        f"{prefix}.s_mbu": ratio(total, peaks.bandwidth, missing),
        f"{prefix}.s_mbu_paper": ratio(paper, peaks.bandwidth, missing),
        f"{prefix}.s_mbu_probed": ratio(total, peaks.probed_bandwidth, unprobed),
        f"{prefix}.mbu": ratio(work.dense_bytes, peaks.bandwidth, missing),
        f"{prefix}.s_mfu": ratio(work.flops, peaks.of_mix(used), peaks.no_rate(used)),
        f"{prefix}.mfu": ratio(work.dense_flops, peaks.of_mix(dense), peaks.no_rate(dense)),
        f"{prefix}.time": measured(seconds, "s", n) if n else absent("s", f"no {prefix} step in the window"),
    }
