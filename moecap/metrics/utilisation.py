"""S-MBU, S-MFU and their dense counterparts: ratios of sums over a set of steps (MoE-CAP, arXiv 2412.07067, eq. 6)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moecap.metrics.steps import StepWork
from moecap.metrics.value import Metric, absent, measured
from moecap.observations.reader import Steps

__all__ = ["Peaks", "utilisation"]

ROUTING_UNKNOWN = "the experts that the model selected were not captured"
NO_BANDWIDTH = "the hardware's memory bandwidth is not known"


@dataclass(frozen=True, slots=True)
class Peaks:
    """What the devices of a run could do at most.

    Attributes:
        bandwidth: Memory bandwidth of all devices together, bytes/s.
        bandwidth_source: ``datasheet`` or ``probed``.
        probed_bandwidth: The measured one, bytes/s, where this machine was probed.
        flops: Dense peak of all devices for the compute format, FLOP/s; ``None`` where the chip lacks the format.
        flops_source: ``datasheet`` or ``probed``.
        dtype: The compute format.
    """

    bandwidth: float | None
    bandwidth_source: str
    probed_bandwidth: float | None
    flops: float | None
    flops_source: str
    dtype: str


def no_rate(dtype: str) -> str:
    """Why there is no peak for a number format."""
    return f"this hardware has no native rate for {dtype}"


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

    total = work.bytes.total() if known and work.bytes is not None else None
    paper = work.paper_bytes if known else None
    no_flops = no_rate(peaks.dtype)
    return {
        f"{prefix}.s_mbu": ratio(total, peaks.bandwidth, NO_BANDWIDTH),
        f"{prefix}.s_mbu_paper": ratio(paper, peaks.bandwidth, NO_BANDWIDTH),
        f"{prefix}.s_mbu_probed": ratio(total, peaks.probed_bandwidth, "this hardware was not probed"),
        f"{prefix}.mbu": ratio(work.dense_bytes, peaks.bandwidth, NO_BANDWIDTH),
        f"{prefix}.s_mfu": ratio(work.flops, peaks.flops, no_flops),
        f"{prefix}.mfu": ratio(work.dense_flops, peaks.flops, no_flops),
        f"{prefix}.time": measured(seconds, "s", n) if n else absent("s", f"no {prefix} step in the window"),
    }
