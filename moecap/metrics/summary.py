"""Every metric of a run from its observations: what ``moecap run`` stores and ``moecap verify`` recomputes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from moecap.errors import BadInputError
from moecap.hardware.profile import HardwareProfile
from moecap.metrics.accuracy import accuracy_metrics
from moecap.metrics.boards import board_metrics
from moecap.metrics.client import client_metrics
from moecap.metrics.conditions import condition_metrics
from moecap.metrics.constants import Constant, constant_value
from moecap.metrics.corpus_scores import corpus_metrics
from moecap.metrics.cost import cost_metrics
from moecap.metrics.energy import energy_metrics
from moecap.metrics.experts import ExpertShape, expert_counts, expert_metrics
from moecap.metrics.latency import latencies, throughput
from moecap.metrics.memory_layout import TIERS, Layout
from moecap.metrics.ownership import owning_usd_per_hour, purchase_usd, rent_usd_per_hour
from moecap.metrics.projected import projected_metrics, projected_power, ratios_to_projection
from moecap.metrics.repeats import over_repeats, split
from moecap.metrics.roofline import ridge_metric, roofline_metrics
from moecap.metrics.routing_source import SeenSteps, reconstruction_metrics
from moecap.metrics.server import server_metrics
from moecap.metrics.sessions import session_metrics
from moecap.metrics.steps import StepWork, step_work
from moecap.metrics.tier_utilisation import COMPUTED_BY_HOST, SPREAD, TIER_PHASES, tier_metrics
from moecap.metrics.utilisation import NO_BANDWIDTH, Peaks, mix, utilisation
from moecap.metrics.value import Metric, absent, measured
from moecap.metrics.window import steady_state
from moecap.models.parallelism import ONE_DEVICE, Parallelism
from moecap.models.products import format_names
from moecap.models.spec import ModelSpec
from moecap.observations.reader import Observations
from moecap.projection.record import ProjectionRecord
from moecap.tasks.method import Passes, method_metrics

__all__ = ["RunFacts", "hardware_peaks", "phase_masks", "run_metrics"]


RESTS_ON_EXPERTS = (
    ".s_mbu",
    ".s_mbu_paper",
    ".s_mbu_probed",
    ".bytes_per_step",
    ".least_step_time",
    *(f".tier.{name}.utilisation" for name in TIERS),
)
"""Ends of the names of metrics that grow with the number of distinct experts."""

BETWEEN_PASSES = "steps that are reconstructed from arrivals hold the time between two passes too"


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the metrics need beside the observations.

    Attributes:
        spec: The model in the number formats that the engine held in memory.
        profile: The hardware of one device.
        devices: Number of devices.
        compute_dtype: Format of the matrix products whose inputs are not quantised.
        concurrency: Target number of requests in flight; ``None`` for an open loop.
        usd_per_hour: Rent of one device, or ``None``.
        basis: Whether an hour costs the rent of the devices or the owning of the system.
        constants: The constants of the cost model that are in force.
        parallelism: How the model is split over the devices; a host is one device that all ranks share.
        client_ceiling: Chunks a second that the load generator can take; ``None`` where the engine is in process.
        step_tokens: Tokens that the engine feeds in one step at most, where its steps are to be reconstructed.
        attached: Whether the engine is a server that somebody else started.
        static: Whether requests run in static batches.
        layout: Which memory holds what, where the user declared it.
        projection: What a projection rests on: of this load, or the one that it is held against.
        projected: Whether the observations are that projection.
        prefix_cache: Whether the engine served prompts from its prefix cache.
        unscored: Tasks that a projection names and does not run.
        repeats: How often the load was to be measured.
        num_requests: Requests of each repeat, by which whole ones are told; needed where there are several.
    """

    spec: ModelSpec
    profile: HardwareProfile
    devices: int
    compute_dtype: str
    concurrency: int | None
    usd_per_hour: float | None
    basis: Literal["rent", "own"] = "rent"
    constants: tuple[Constant, ...] = ()
    parallelism: Parallelism = ONE_DEVICE
    client_ceiling: float | None = None
    step_tokens: int | None = None
    attached: bool = False
    static: bool = False
    layout: Layout | None = None
    projection: ProjectionRecord | None = None
    projected: bool = False
    prefix_cache: bool = False
    unscored: tuple[str, ...] = ()
    repeats: int = 1
    num_requests: int = 0

    def __post_init__(self) -> None:
        """Refuse devices of which it is not said what they do.

        Raises:
            BadInputError: If the split is over another number of devices.
        """
        shared = self.profile.kind == "host" and self.devices == 1
        if self.parallelism.devices != self.devices and not shared:
            raise BadInputError(
                f"the model is split over {self.parallelism.devices} of {self.devices} devices; give a split over all"
            )


def hardware_peaks(facts: RunFacts) -> Peaks:
    """The peaks of all devices of a run; none where they are not those of all bytes, or of all FLOPs."""
    profile, n = facts.profile, facts.devices
    bandwidth = profile.peak_bandwidth
    flops = {name: profile.peak_flops(name) for name in format_names(facts.spec, facts.compute_dtype)}
    probed = profile.probe.best_bandwidth() if profile.probe else None
    spread = facts.layout is not None and facts.layout.spread
    by_host = facts.layout is not None and facts.layout.computed_by_host
    return Peaks(
        bandwidth=bandwidth.value * n if bandwidth and not spread else None,
        bandwidth_source=bandwidth.source if bandwidth else "unknown",
        probed_bandwidth=probed.best * n if probed and not spread else None,
        flops={name: peak.value * n if peak else None for name, peak in flops.items()},
        no_bandwidth=SPREAD if spread else NO_BANDWIDTH,
        no_flops=COMPUTED_BY_HOST if by_host else "",
    )


def phase_masks(
    observations: Observations, work: StepWork, window: tuple[int, int] | None
) -> dict[str, npt.NDArray[np.bool_]]:
    """Which steps count for each phase: steps of the load inside the window, and all steps that score answers."""
    steps = observations.steps
    load = steps.stage == "load"
    if window is not None:
        load &= (steps.start_ns >= window[0]) & (steps.start_ns + steps.duration_ns <= window[1])
    return {
        "prefill": load & work.prefill,
        "decode": load & work.decode,
        "mixed": load & work.mixed,
        "all": load,
        "score": (steps.stage == "score") & work.score,
    }


def run_metrics(seen: SeenSteps, facts: RunFacts) -> dict[str, Metric]:
    """Every metric of a run; a pure function of its arguments.

    Args:
        seen: The observations with the steps of the load.
        facts: What is known beside them.

    Raises:
        BadInputError: If the observations contradict themselves or the model.
    """
    each = [_load_metrics(part, facts) for part in split(seen, facts.repeats, facts.num_requests)]
    metrics = each[0] if facts.repeats == 1 else over_repeats(each)
    observations = seen.observations
    metrics |= accuracy_metrics(observations.samples)
    metrics |= corpus_metrics(observations.samples)
    recorded = len(observations.steps) and not seen.reconstructed
    experts = max((layer.experts for layer in facts.spec.moe_layers), default=0)
    passes = Passes(observations.steps, observations.routing, experts) if recorded else None
    metrics |= method_metrics(observations.tables, passes)
    return metrics | projected_metrics(facts, metrics, observations.steps)


def _load_metrics(seen: SeenSteps, facts: RunFacts) -> dict[str, Metric]:
    """The metrics of one repeat of the load, and those of the run that rest on no sample of a task."""
    observations = seen.observations
    requests = observations.requests[observations.requests["stage"] == "load"]
    window = steady_state(requests, facts.concurrency, static=facts.static)
    work = step_work(facts.spec, observations.steps, facts.parallelism, facts.compute_dtype)
    masks = phase_masks(observations, work, window)
    peaks = hardware_peaks(facts)
    routing_known = work.bytes is not None
    metrics: dict[str, Metric] = {}
    for phase, mask in masks.items():
        metrics |= utilisation(phase, work, observations.steps, mask, peaks, routing_known)
        metrics |= roofline_metrics(phase, work, observations.steps, mask, peaks)
    metrics |= _tiers(facts, work, observations, masks)
    if seen.estimate is not None:
        metrics |= _bounded(metrics, seen, facts, masks, peaks)
    metrics |= ridge_metric(peaks, mix(work.flops_by_format, masks["all"]))
    in_steps = _share_in_steps(observations, masks["all"], window)
    metrics["busy_fraction"] = absent("1", BETWEEN_PASSES) if seen.reconstructed else in_steps
    metrics |= reconstruction_metrics(seen)
    metrics |= latencies(requests, observations.chunks)
    metrics |= throughput(requests, observations.chunks, window, facts.devices)
    metrics |= session_metrics(requests)
    metrics |= _experts(seen, facts, work, masks)
    metrics |= _costs(facts, metrics, work, masks, in_steps)
    rate = metrics["output_tokens_per_second"]
    power = projected_power(facts, observations.steps, masks["all"], window)
    energy = (observations.telemetry, window, rate, facts.profile, facts.devices, facts.constants, power)
    metrics |= energy_metrics(*energy)
    metrics["peak_memory_bytes"] = _peak_memory(observations)
    metrics |= condition_metrics(observations, facts.profile, window, attached=facts.attached)
    metrics |= board_metrics(observations.boards, window)
    metrics |= client_metrics(observations, facts.client_ceiling)
    metrics |= server_metrics(observations)
    return metrics | ratios_to_projection(facts, metrics, requests)


def _bounded(
    metrics: dict[str, Metric],
    seen: SeenSteps,
    facts: RunFacts,
    masks: dict[str, npt.NDArray[np.bool_]],
    peaks: Peaks,
) -> dict[str, Metric]:
    """The metrics that rest on estimated experts, with their values for the fewest and the most experts as bounds."""
    assert seen.estimate is not None
    steps, ends = seen.observations.steps, []
    for distinct in (seen.estimate.fewest, seen.estimate.most):
        counted = replace(steps, distinct_experts=distinct)
        work = step_work(facts.spec, counted, facts.parallelism, facts.compute_dtype)
        shares = [utilisation(phase, work, steps, mask, peaks, True) for phase, mask in masks.items()]
        ends.append([*shares, _tiers(facts, work, seen.observations, masks)])
    return {
        name: metrics[name].model_copy(update={"low": low[name].value, "high": high[name].value})
        for low, high in zip(*ends, strict=True)
        for name in low
        if name.endswith(RESTS_ON_EXPERTS) and metrics[name].value is not None
    }


def _tiers(
    facts: RunFacts, work: StepWork, observations: Observations, masks: dict[str, npt.NDArray[np.bool_]]
) -> dict[str, Metric]:
    """The metrics of each memory of a declared layout; nothing without one."""
    metrics: dict[str, Metric] = {}
    if facts.layout is not None:
        for phase in TIER_PHASES:
            metrics |= tier_metrics(phase, work, observations.steps, masks[phase], facts.layout, facts.profile)
    return metrics


def _share_in_steps(observations: Observations, mask: npt.NDArray[np.bool_], window: tuple[int, int] | None) -> Metric:
    """Share of the window that the masked steps take."""
    if window is None or window[1] <= window[0]:
        return absent("1", "the target concurrency was never reached")
    if not mask.any():
        return absent("1", "the engine gave no record of its steps")
    busy = float(observations.steps.duration_ns[mask].sum())
    return measured(busy / (window[1] - window[0]), "1", int(mask.sum()))


def _experts(
    seen: SeenSteps, facts: RunFacts, work: StepWork, masks: dict[str, npt.NDArray[np.bool_]]
) -> dict[str, Metric]:
    shapes = [ExpertShape.of(layer) for layer in facts.spec.moe_layers]
    observations, decode = seen.observations, masks["decode"]
    steps, distinct = observations.steps, None
    if shapes and work.bytes is not None and len(steps) and seen.estimate is None:
        distinct = steps.distinct_experts.values.reshape(len(steps), len(shapes))[decode]
    counts = None
    if shapes and observations.routing is not None:
        counts = expert_counts(observations.routing, masks["all"], max(shape.experts for shape in shapes))
    return expert_metrics(distinct, work.tokens[decode], counts, shapes)


def _costs(
    facts: RunFacts,
    metrics: dict[str, Metric],
    work: StepWork,
    masks: dict[str, npt.NDArray[np.bool_]],
    in_steps: Metric,
) -> dict[str, Metric]:
    rent = rent_usd_per_hour(facts.usd_per_hour, facts.devices)
    own = owning_usd_per_hour(facts.constants, facts.devices)
    costs = cost_metrics(
        own if facts.basis == "own" else rent,
        metrics["output_tokens_per_second"],
        metrics["prefill.time"].value or 0.0,
        metrics["decode.time"].value or 0.0,
        int(work.tokens[masks["prefill"]].sum()),
        int(work.tokens[masks["decode"]].sum()),
        in_steps,
        constant_value(facts.constants, "utilisation"),
    )
    return costs | {
        "cost.rent_usd_per_hour": rent,
        "cost.own_usd_per_hour": own,
        "cost.purchase_usd": purchase_usd(facts.constants, facts.devices),
    }


def _peak_memory(observations: Observations) -> Metric:
    rss = observations.telemetry["rss_bytes"]
    return measured(rss.max(), "B", len(rss)) if len(rss) else absent("B", "no telemetry")
