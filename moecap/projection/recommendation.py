"""What to serve a model on: hardware, engine and number of devices by projected dollars for a million output tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moecap.errors import MoecapError
from moecap.hardware.profile import HardwareProfile
from moecap.models.parallelism import Parallelism
from moecap.models.spec import ModelSpec
from moecap.projection.capacity import LIMITS
from moecap.projection.coefficients import Coefficients
from moecap.projection.deployment import Deployment
from moecap.projection.steady import Load, SteadyState, steady_plan, steady_state
from moecap.projection.work import WorkModel

__all__ = ["DEVICES", "ENGINES", "Offer", "Refusal", "offers"]

DEVICES = (1, 2, 4, 8)
"""Devices of one server that share a model by tensor parallelism."""

ENGINES: dict[str, tuple[str, ...]] = {"NVIDIA": ("vllm", "sglang", "trtllm"), "AMD": ("vllm", "sglang")}
"""Engines by the vendor of the chip: those that serve on it and whose costs are kept."""

_LOADS = np.unique(np.rint(np.geomspace(1, 1024, 41)))


@dataclass(frozen=True, slots=True)
class Offer:
    """A deployment at the load that makes it cheapest within the service levels; nothing in it is measured.

    Attributes:
        hardware: Id of the profile.
        devices: How many.
        engine: Family of the engine.
        concurrency: Requests in flight.
        ttft: Mean seconds to the first token.
        tpot: Mean seconds for each further token.
        itl: Median seconds between tokens.
        output_throughput: Output tokens a second of all devices.
        usd_per_hour: Rent of all devices.
        usd_per_million: Dollars for a million output tokens.
        low: Lower end of the 80 % interval of that.
        high: Upper end.
        priced: Who asks for the rent, and when it was read.
    """

    hardware: str
    devices: int
    engine: str
    concurrency: int
    ttft: float
    tpot: float
    itl: float
    output_throughput: float
    usd_per_hour: float
    usd_per_million: float
    low: float
    high: float
    priced: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A deployment that is not offered, and why."""

    hardware: str
    devices: int
    reason: str


def offers(
    spec: ModelSpec,
    profiles: Sequence[HardwareProfile],
    coefficients: Coefficients,
    *,
    input_tokens: float,
    output_tokens: float,
    levels: Mapping[str, float],
    usd_per_hour: float | None = None,
    activations: str = "bf16",
) -> tuple[list[Offer], list[Refusal]]:
    """Every deployment that meets the service levels within the budget, the cheapest tokens first.

    Args:
        spec: The model in the number formats of the checkpoint.
        profiles: The hardware to choose from.
        coefficients: Efficiencies and costs.
        input_tokens: Mean tokens of a prompt.
        output_tokens: Mean tokens of an answer.
        levels: The most seconds of ``ttft``, ``tpot`` and ``itl``.
        usd_per_hour: The most that all devices may cost.
        activations: Number format of the activations.
    """
    found: list[Offer] = []
    refused: list[Refusal] = []
    for profile in profiles:
        if profile.kind != "accelerator" or profile.vendor not in ENGINES:
            refused.append(Refusal(profile.id, 1, "no engine is projected on it"))
            continue
        rent = profile.default_price.usd_per_hour if profile.default_price else 0.0
        for devices in DEVICES:
            if not rent:
                refused.append(Refusal(profile.id, devices, "the profile has no price"))
                continue
            if usd_per_hour is not None and devices * rent > usd_per_hour:
                refused.append(Refusal(profile.id, devices, "it costs more than the budget"))
                continue
            for engine in ENGINES[profile.vendor]:
                deployment = Deployment(spec, profile, Parallelism(tensor=devices), engine, activations)
                offer = _offer(deployment, coefficients, input_tokens, output_tokens, levels)
                if isinstance(offer, Offer):
                    found.append(offer)
                else:
                    refused.append(offer)
    return sorted(found, key=lambda offer: offer.usd_per_million), refused


def _offer(
    deployment: Deployment,
    coefficients: Coefficients,
    input_tokens: float,
    output_tokens: float,
    levels: Mapping[str, float],
) -> Offer | Refusal:
    """The deployment at its best load, or why it is not offered."""
    profile, engine, price = deployment.hardware, deployment.engine, deployment.hardware.default_price
    assert price is not None
    load = Load.of(_LOADS[LIMITS[engine].sequences >= _LOADS], input_tokens, output_tokens)
    try:
        state = steady_state(steady_plan(WorkModel(deployment), load), coefficients, engine)
    except MoecapError as error:
        return Refusal(profile.id, deployment.devices, str(error))
    best = _best(state, load, levels)
    if best is None:
        fits = bool(np.any(np.isfinite(state.tpot)))
        reason = f"{engine} misses the service levels at every load" if fits else "the model does not fit"
        return Refusal(profile.id, deployment.devices, reason)
    rent = deployment.devices * price.usd_per_hour
    cost = rent / (3600.0 * float(state.output_throughput[best])) * 1e6
    factor = coefficients.interval("output_throughput", profile)
    return Offer(
        hardware=profile.id,
        devices=deployment.devices,
        engine=engine,
        concurrency=int(load.concurrency[best]),
        ttft=float(state.ttft[best]),
        tpot=float(state.tpot[best]),
        itl=float(state.itl[best]),
        output_throughput=float(state.output_throughput[best]),
        usd_per_hour=rent,
        usd_per_million=cost,
        low=cost / factor,
        high=cost * factor,
        priced=f"{price.provider}, {price.date or 'no date'}",
    )


def _best(state: SteadyState, load: Load, levels: Mapping[str, float]) -> int | None:
    """The load of most tokens a second that meets the levels, and that all find room in."""
    good = np.isfinite(state.tpot) & (state.running >= load.concurrency - 1e-9)
    for name, most in levels.items():
        good &= getattr(state, name) <= most
    return int(np.argmax(np.where(good, state.output_throughput, -1.0))) if good.any() else None
