"""How long a step takes: each class of work at the roofline with what kernels reach of it, and the costs beside.

    step = Σ_class ‖ bytes / (share · bandwidth), Σ_rate seconds at peak / share ‖₄ + activations + collectives
           + kernels · launch + step cost + sequences of a replica · sequence cost

The norm ‖a, b‖₄ = (a⁴ + b⁴)^(1/4) rounds the corner of the roofline: where memory and matrix units take the same time,
a kernel takes 19 % more than either. A collective takes its latency and the time of its bytes. A step with tokens of
prompts is launched kernel by kernel: where that takes the host longer than the device computes, it rules, by the same
norm.

Where experts live outside the devices (:mod:`moecap.projection.placement`), their time holds what the host's processors
take, by the same norm of reading and computing, and the bytes that move to the devices: what was prefetched counts only
where it takes longer than the rest of the step.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from moecap.projection.coefficients import Coefficients, HostCosts
from moecap.projection.placement import PlacedWork
from moecap.projection.rates import WIDENED
from moecap.projection.work import CLASSES, StepWork

__all__ = ["StepTime", "step_time"]

Floats = npt.NDArray[np.float64]

_CORNER = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class StepTime:
    """Seconds of steps by what takes them, float64 [n] each.

    Attributes:
        attention: Projections of attention.
        scores: Scores and values of decode tokens: reading the cache.
        prompt_scores: The same for tokens of prompts.
        experts: Routed experts, on the host and on their way to the devices too.
        network: Routers, shared experts and dense networks.
        head: The output projection.
        activations: Activations that go through memory between products.
        collectives: Messages between devices.
        kernels: What kernels take beside their bytes and FLOPs.
        launching: By how much the host's launching of a step with prompts is slower than the device.
        engine: What the engine does a step and a sequence.
    """

    attention: Floats
    scores: Floats
    prompt_scores: Floats
    experts: Floats
    network: Floats
    head: Floats
    activations: Floats
    collectives: Floats
    kernels: Floats
    launching: Floats
    engine: Floats

    @property
    def total(self) -> Floats:
        """All together."""
        return np.asarray(sum(getattr(self, field.name) for field in fields(self)), np.float64)


def step_time(work: StepWork, coefficients: Coefficients, engine: str) -> StepTime:
    """Seconds of steps.

    Args:
        work: Their work on one device.
        coefficients: Efficiencies and costs.
        engine: Family of the engine.
    """
    shared, costs = coefficients.shared, coefficients.engine(engine)
    none = np.zeros_like(work.tokens)
    parts: dict[str, Floats] = {}
    for name in CLASSES:
        share = shared.cache_bandwidth if name == "scores" else shared.weight_bandwidth
        reading = work.bytes.get(name, none) / (work.bandwidth * share)
        computing = none
        for (of, rate), seconds in work.compute.items():
            if of == name:
                computing = computing + seconds / _reached(coefficients, name, rate, costs.products)
        if (name, WIDENED) in work.compute:
            computing = _either(computing, work.bytes[name] / shared.unpacking)
        parts[name] = _either(reading, computing)
    activations = shared.activation_passes * work.activation_bytes / (work.bandwidth * shared.weight_bandwidth)
    collectives = _collectives(work, coefficients)
    kernels = np.where(work.tokens > 0, work.kernels * shared.kernel, 0.0)
    if work.placed is not None:
        beside = sum(parts.values()) + activations + collectives + kernels
        parts["experts"] = parts["experts"] + _outside(work.placed, coefficients.host, beside)
    device = np.asarray(sum(parts.values()) + activations + collectives + kernels, np.float64)
    eager = work.eager * shared.prompt_kernel
    return StepTime(
        **parts,
        activations=activations,
        collectives=collectives,
        kernels=kernels,
        launching=_either(device, eager) - device,
        engine=costs.step + costs.sequence * work.sequences,
    )


def _reached(coefficients: Coefficients, name: str, rate: str, products: float) -> float:
    """Share of the peak that a class of products reaches at a rate."""
    shared = coefficients.shared
    if name in ("scores", "prompt_scores"):
        return shared.scores
    share = shared.compute[rate] * products
    return share * shared.grouped if name == "experts" else share


def _collectives(work: StepWork, coefficients: Coefficients) -> Floats:
    if work.link == 0.0:
        return np.zeros_like(work.tokens)
    shared = coefficients.shared
    further = shared.link_latency_rank * max(work.ranks - 2, 0)
    if work.switched:
        latency, share = shared.link_latency + further, shared.link_bandwidth
    else:
        latency, share = shared.bus_latency + further, shared.bus_bandwidth
    return work.calls * latency + work.wire_bytes / (work.link * share)


def _outside(placed: PlacedWork, costs: HostCosts, beside: Floats) -> Floats:
    """Seconds that host and transfers add to a step whose devices take so long."""
    gain = (1.0 + (placed.sockets - 1) * costs.further_socket) / placed.sockets
    host = _either(placed.host_reading / (costs.memory * gain), placed.host_computing / (costs.compute * gain))
    late = (1.0 - placed.prefetched) * placed.moving
    hidden = np.maximum(placed.prefetched * placed.moving - beside - host, 0.0)
    return np.asarray(host + late + hidden, np.float64)


def _either(a: Floats, b: Floats) -> Floats:
    """(a⁴ + b⁴)^(1/4), 0 where both are."""
    return np.asarray((a**_CORNER + b**_CORNER) ** (1.0 / _CORNER), np.float64)
