"""The conditions of a host measurement: who else used its processors, and how its memory bandwidth stood."""

from __future__ import annotations

import pandas as pd

from moecap.hardware.profile import HardwareProfile
from moecap.metrics.value import Metric, absent, measured
from moecap.observations.reader import Observations
from moecap.observations.schema import MOMENTS

__all__ = ["condition_metrics"]

SPANNED = 0.8
"""Least share of the window between the first and the last sample of the processor time that speaks for it."""


def condition_metrics(
    observations: Observations, profile: HardwareProfile, window: tuple[int, int] | None, *, attached: bool
) -> dict[str, Metric]:
    """The conditions under which a host's speed was measured.

    Args:
        observations: What the run observed.
        profile: The hardware.
        window: Start and end of the steady state, monotonic ns.
        attached: Whether the engine is a server that somebody else started, whose processor time is not known.

    Returns:
        ``others_cpu_share``, and for each moment beside the load ``peak_bandwidth_before`` and ``_after`` (B/s) with
        ``peak_change_before`` and ``_after``: that rate over the probe's figure of the same kernel, less one.
    """
    metrics = {"others_cpu_share": _others(observations.telemetry, profile, window)}
    if attached:
        metrics["others_cpu_share"] = absent("1", "the server that was measured is one of the other processes")
    for moment in MOMENTS:
        metrics |= _peak(observations.peaks, profile, moment)
    return metrics


def _others(telemetry: pd.DataFrame, profile: HardwareProfile, window: tuple[int, int] | None) -> Metric:
    """Share of the usable processors that others left too little of, during the steady state.

    Others are all processes but this one with those that it started, and the hypervisor. Where n processors may be used
    and a quota allows q of them at once, what others take of the n - q that would stay idle anyway takes nothing:
    max(0, others - (n - q)) / q, and others / n without a quota. The counters advance in steps of 10 ms a processor, so
    over a window of 0.1 s the share is known within 0.1, over a second within 0.01.
    """
    if profile.kind != "host":
        return absent("1", "the device is not this host's processor")
    if window is None:
        return absent("1", "the target concurrency was never reached")
    samples = _around(telemetry, window)
    if len(samples) < 2 or _span(samples) < max(1.0, SPANNED * (window[1] - window[0])):
        return absent("1", f"the samples of the processor time span less than {SPANNED:.0%} of the steady state")
    columns = ["time_ns", "cpu_seconds", "processors_busy_seconds", "processors_steal_seconds"]
    if samples[columns].isna().any(axis=None):
        return absent("1", "the time of each processor was not observed: the kernel does not list it")
    ns, own, busy, stolen = (samples[columns].iloc[-1] - samples[columns].iloc[0]).tolist()
    if busy <= 0:
        return absent("1", "the kernel's counters of processor time did not advance")
    there, usable = samples[["processors", "usable_processors"]].iloc[-1].tolist()
    others = max(0.0, busy - own + stolen) / (ns * 1e-9)
    return measured(max(0.0, others - (there - usable)) / usable, "1", len(samples))


def _around(telemetry: pd.DataFrame, window: tuple[int, int]) -> pd.DataFrame:
    """The samples inside a window; where they span too little of it, with the nearest one on either side."""
    time = telemetry["time_ns"]
    inside = telemetry[time.between(*window)]
    if len(inside) >= 2 and _span(inside) >= SPANNED * (window[1] - window[0]):
        return inside
    return pd.concat([telemetry[time < window[0]].tail(1), inside, telemetry[time > window[1]].head(1)])


def _span(samples: pd.DataFrame) -> int:
    """Ns from the first sample to the last."""
    return int(samples["time_ns"].iloc[-1] - samples["time_ns"].iloc[0])


def _peak(peaks: pd.DataFrame, profile: HardwareProfile, moment: str) -> dict[str, Metric]:
    rate, change = f"peak_bandwidth_{moment}", f"peak_change_{moment}"
    peak, rows = profile.peak_bandwidth, peaks[peaks["moment"] == moment]
    if profile.kind != "host" or profile.probe is None or peak is None or peak.source != "probed":
        reason = "the hardware is no host whose peak bandwidth is a probed one"
        return {rate: absent("B/s", reason), change: absent("1", reason)}
    if rows.empty:
        reason = f"no check of the memory bandwidth was made {moment} the load"
        return {rate: absent("B/s", reason), change: absent("1", reason)}
    kernel, found = str(rows["kernel"].iloc[0]), float(rows["bytes_per_second"].iloc[0])
    probed = next((k.best for k in profile.probe.kernels if k.kernel == kernel), None)
    if probed is None:
        return {rate: measured(found, "B/s", 1), change: absent("1", f"the probe has no kernel {kernel!r}")}
    return {rate: measured(found, "B/s", 1), change: measured(found / probed - 1, "1", 1)}
