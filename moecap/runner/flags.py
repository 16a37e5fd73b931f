"""Remarks on the validity of a result; each is derived from the run and shown wherever its numbers are."""

from __future__ import annotations

from collections.abc import Iterator

from moecap.config import RunConfig
from moecap.hardware.profile import HardwareProfile
from moecap.metrics.value import Metric
from moecap.models.spec import ModelSpec
from moecap.result import Flag

__all__ = ["run_flags"]

REQUESTS_PER_SLOT = 5
"""Fewest requests for each one in flight, so that the load has a steady state."""

OTHERS_SHARE = 0.1
"""Share of the cores that others may use before a host's speed counts as disturbed."""

UNTRAINED_ROUTERS = {"smollm2-moe"}
"""Models of which it is known that their router is not trained."""


def run_flags(
    config: RunConfig,
    model: str,
    spec: ModelSpec,
    profile: HardwareProfile,
    metrics: dict[str, Metric],
    routed: bool,
    warmup_stable: bool | None,
    batching: str | None,
) -> Iterator[Flag]:
    """The flags of a measured run.

    Args:
        config: What was asked for.
        model: Id of the model.
        spec: Its accounting.
        profile: The hardware.
        metrics: The run's metrics.
        routed: Whether the routed experts were captured.
        warmup_stable: Whether the warm-up ended stable; ``None`` if it did not end.
        batching: How the engine batched.
    """
    if model in UNTRAINED_ROUTERS:
        yield Flag(
            name="router_not_trained",
            level="info",
            text="The router of this model is drawn at random, not trained: its routing is real but not learned.",
        )
    if not spec.is_moe:
        yield Flag(name="dense", level="info", text="The model is dense: S-MBU equals MBU and S-MFU equals MFU.")
    elif not routed:
        yield Flag(
            name="routing_unknown", level="warning", text="The routed experts were not captured: S-MBU has no value."
        )
    if profile.kind == "host" and profile.probe is not None:
        yield Flag(
            name="probed_peak",
            level="info",
            text="Peaks are those probed on this machine; a host has no datasheet figure to compare with.",
        )
        for warning in profile.probe.warnings:
            yield Flag(name="probe_unsteady", level="warning", text=warning)
    if batching == "static":
        yield Flag(
            name="static_batch",
            level="info",
            text="Requests run in static batches in process; a serving engine batches continuously.",
        )
    if config.num_requests < REQUESTS_PER_SLOT * config.concurrency:
        yield Flag(
            name="few_requests",
            level="warning",
            text=f"{config.num_requests} requests at concurrency {config.concurrency} are fewer than "
            f"{REQUESTS_PER_SLOT} for each one in flight: the steady state is short.",
        )
    if config.limit is not None and config.task:
        yield Flag(
            name="limited_tasks",
            level="warning",
            text=f"Accuracy rests on the first {config.limit} items of each task, not on all of them.",
        )
    if warmup_stable is False:
        yield Flag(
            name="warmup_unstable",
            level="warning",
            text=f"The median decode step still changed by more than {config.warmup.tolerance:.0%} between the last "
            "two warm-up batches.",
        )
    yield from _speed_flags(profile, metrics)


def _speed_flags(profile: HardwareProfile, metrics: dict[str, Metric]) -> Iterator[Flag]:
    """What the numbers themselves say against them."""
    others = metrics["others_cpu_share"].value or 0
    if others > OTHERS_SHARE:
        yield Flag(
            name="disturbed",
            level="warning",
            text=f"Other processes used {others:.0%} of the cores during the load: the speed is understated.",
        )
    failed = metrics["failed_requests"].value or 0
    if failed:
        yield Flag(name="failed_requests", level="warning", text=f"{failed:.0f} requests did not complete.")
    for name in ("decode.s_mbu", "prefill.s_mbu", "decode.s_mfu", "prefill.s_mfu"):
        value = metrics[name].value
        if value is not None and value > 1:
            cached = " (a host's caches can serve a small model)" if profile.kind == "host" else ""
            yield Flag(name="above_peak", level="warning", text=f"{name} is {value:.2f}, above the peak{cached}.")
