"""Remarks on the validity of a result; each follows from what the result stores and is shown beside its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from moecap.config import TASKS_AS_LOAD, RunConfig
from moecap.hardware.profile import HardwareProfile
from moecap.metrics.boards import HELD
from moecap.metrics.energy import energy_scope
from moecap.metrics.repeats import worst_value
from moecap.metrics.routing_source import SeenSteps
from moecap.metrics.value import Metric
from moecap.metrics.warmup import ended_steady
from moecap.result import BackendRecord, Flag, HardwareRecord, ModelRecord, TaskRecord
from moecap.runner.accuracy_flags import accuracy_flags
from moecap.runner.degenerate_routing import degenerate_routing_flags
from moecap.runner.layout_flags import layout_flags
from moecap.runner.routing_flags import routing_flags
from moecap.runner.served_flags import served_flags
from moecap.runner.server_flags import server_flags

__all__ = ["few_requests_flags", "profile_flags", "run_flags"]

REQUESTS_PER_SLOT = 5
"""Fewest requests for each one in flight, so that the load has a steady state."""

OTHERS_SHARE = 0.1
"""Share of the cores that others may use before a host's speed counts as disturbed."""

PEAK_CHANGE = 0.15
"""Relative change of a host's memory bandwidth since its probe, beyond which the probed peak misleads."""

UNTRAINED_ROUTERS = {"smollm2-moe"}
"""Models of which it is known that their router is not trained."""


def run_flags(
    workload: RunConfig,
    model: ModelRecord,
    hardware: HardwareRecord,
    backend: BackendRecord,
    metrics: dict[str, Metric],
    seen: SeenSteps,
    tasks: Sequence[TaskRecord],
) -> Iterator[Flag]:
    """The flags of a measured run; a pure function of what its directory holds, so that anyone can derive them.

    Args:
        workload: The configuration, as the result states it.
        model: The model.
        hardware: The hardware.
        backend: The engine.
        metrics: The run's metrics.
        seen: What was observed, with the steps of the load.
        tasks: The accuracy tasks.
    """
    observations = seen.observations
    if model.id in UNTRAINED_ROUTERS:
        yield Flag(
            name="router_not_trained",
            level="info",
            text="The router of this model is drawn at random, not trained: its routing is real but not learned.",
        )
    if not model.is_moe:
        yield Flag(name="dense", level="info", text="The model is dense: S-MBU equals MBU and S-MFU equals MFU.")
    if model.quantised and backend.device == "cuda":
        yield Flag(
            name="formats_untried",
            level="warning",
            text=f"Weights in {model.weight_dtype} were not tried on a GPU by this version: bytes and FLOPs are those "
            "that the checkpoint's configuration states, whatever its kernels do.",
        )
    yield from routing_flags(seen, model.is_moe)
    yield from degenerate_routing_flags(model, metrics)
    yield from profile_flags(hardware)
    yield from layout_flags(workload.layout, metrics)
    if backend.batching == "static":
        yield Flag(
            name="static_batch",
            level="info",
            text="Requests run in static batches in process; a serving engine batches continuously.",
        )
    marked = workload.dataset != TASKS_AS_LOAD or workload.allow_prefix_cache
    yield from served_flags(backend, metrics, observations.requests, exact=workload.exact, marked=marked)
    yield from server_flags(metrics, observations.requests, workload.allow_prefix_cache, workload.n)
    yield from few_requests_flags(workload, observations.requests)
    yield from accuracy_flags(workload, tasks, observations.samples)
    tolerance = workload.warmup.tolerance
    if ended_steady(observations, workload.concurrency, tolerance) is False:
        yield Flag(
            name="warmup_unstable",
            level="warning",
            text="The warm-up ended before the median decode steps of two batches in a row agreed within "
            f"{100 * tolerance:g}%.",
        )
    yield from _speed_flags(hardware.profile, metrics, energy_scope(observations.telemetry, hardware.profile))


def few_requests_flags(workload: RunConfig, requests: pd.DataFrame) -> Iterator[Flag]:
    """A flag where a closed loop has too few requests for each one in flight.

    Args:
        workload: The configuration.
        requests: All requests of the run.
    """
    sessions = requests.loc[requests["stage"] == "load", "session"].nunique()
    count, what = (sessions, "sessions") if sessions else (workload.num_requests, "requests")
    if workload.load == "closed" and count < REQUESTS_PER_SLOT * workload.concurrency:
        yield Flag(
            name="few_requests",
            level="warning",
            text=f"{count} {what} at concurrency {workload.concurrency} are fewer than "
            f"{REQUESTS_PER_SLOT} for each one in flight: the steady state is short.",
        )


def profile_flags(hardware: HardwareRecord) -> Iterator[Flag]:
    """Where the peaks come from, wherever that is not a packaged profile.

    Args:
        hardware: The hardware.
    """
    probe = hardware.profile.probe
    if hardware.source == "probed":
        yield Flag(
            name="probed_peak",
            level="info",
            text="Peaks are those probed on this machine; a host has no datasheet figure to compare with.",
        )
    elif hardware.source == "file":
        yield Flag(
            name="profile_from_file",
            level="warning",
            text="Peaks are those of a profile file of the user's own, not of a packaged profile or of a probe in this "
            "run: they were not checked.",
        )
    for warning in probe.warnings if probe else ():
        yield Flag(name="probe_unsteady", level="warning", text=warning)


def _speed_flags(profile: HardwareProfile, metrics: dict[str, Metric], energy: str) -> Iterator[Flag]:
    """What the numbers themselves say against them."""
    others = worst_value(metrics, "others_cpu_share")
    if others > OTHERS_SHARE:
        yield Flag(
            name="disturbed",
            level="warning",
            text=f"Other processes and the hypervisor took {others:.0%} of the usable processors during the load: the "
            "speed is understated.",
        )
    yield from _peak_flags(profile, metrics)
    yield from board_flags(metrics)
    if metrics["energy_per_output_token"].value is not None:
        yield Flag(name="energy_scope", level="info", text=f"Energy is that of the {energy}.")
    failed = metrics["failed_requests"].value or 0
    if failed:
        yield Flag(name="failed_requests", level="warning", text=f"{failed:.0f} requests did not complete.")
    for name in ("decode.s_mbu", "prefill.s_mbu", "decode.s_mfu", "prefill.s_mfu"):
        value = metrics[name].value
        if value is not None and value > 1:
            cached = " (a host's caches can serve a small model)" if profile.kind == "host" else ""
            yield Flag(name="above_peak", level="warning", text=f"{name} is {value:.2f}, above the peak{cached}.")


def board_flags(metrics: dict[str, Metric]) -> Iterator[Flag]:
    """What held the clocks of the boards down during the steady state; nothing where they were not read.

    Args:
        metrics: The run's metrics.
    """
    shares = {name: metrics[name].value or 0 for name in HELD if name in metrics}
    slowed = [
        f"{cause} in {shares[name]:.0%} of the samples"
        for name, cause in (
            ("boards.heat_share", "heat"),
            ("boards.brake_share", "the hardware's own slowdown (great heat, or too much power)"),
        )
        if shares.get(name)
    ]
    if slowed:
        yield Flag(
            name="throttled",
            level="warning",
            text=f"The clocks of the boards were held down by {' and by '.join(slowed)}: the speed is that of a board "
            "that is too hot or short of power, not of this hardware.",
        )
    if shares.get("boards.power_cap_share"):
        yield Flag(
            name="power_capped",
            level="info",
            text=f"The boards were at their power limit in {shares['boards.power_cap_share']:.0%} of the samples.",
        )


def _peak_flags(profile: HardwareProfile, metrics: dict[str, Metric]) -> Iterator[Flag]:
    """Whether the memory bandwidth beside the load was another than the one that was probed."""
    found, moved = [], []
    for moment, words in (("before", "before the load"), ("after", "after it")):
        rate, change = metrics[f"peak_bandwidth_{moment}"].value, metrics[f"peak_change_{moment}"].value
        if rate is None or change is None:
            continue
        found.append(f"{rate / 1e9:.1f} GB/s {words} ({change:+.0%})")
        if abs(change) > PEAK_CHANGE:
            moved.append(change)
    if not moved or profile.peak_bandwidth is None:
        return
    if max(moved) < 0:
        errs = "are understated, since the machine could do less than that"
    elif min(moved) > 0:
        errs = "are overstated, since the machine could do more than that"
    else:
        errs = "may err either way"
    yield Flag(
        name="peak_moved",
        level="warning",
        text=f"The memory bandwidth moved since the probe: {' and '.join(found)}. S-MBU and MBU are shares of the "
        f"probed peak of {profile.peak_bandwidth.value / 1e9:.1f} GB/s and {errs}.",
    )
