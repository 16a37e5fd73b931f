"""What to serve a model on: hardware, engine and number of devices by projected dollars for a million output tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moecap.errors import MoecapError
from moecap.hardware.profile import HardwareProfile, Price
from moecap.models.parallelism import Parallelism
from moecap.models.spec import ModelSpec
from moecap.projection.capacity import LIMITS, most_sequences
from moecap.projection.coefficients import Coefficients
from moecap.projection.deployment import Deployment
from moecap.projection.offloading import Host, binding_tier, default_host, offloaded
from moecap.projection.placement import Placement
from moecap.projection.steady import Load, SteadyState, steady_plan, steady_state
from moecap.projection.work import WorkModel

__all__ = ["DEVICES", "ENGINES", "Offer", "Refusal", "is_rent", "offers", "price_of"]

DEVICES = (1, 2, 4, 8)
"""Devices of one server that share a model by tensor parallelism."""

ENGINES: dict[str, tuple[str, ...]] = {
    "NVIDIA": ("vllm", "sglang", "trtllm"),
    "AMD": ("vllm", "sglang"),
    "Google": ("vllm",),
    "Intel": ("vllm",),
}
"""Engines by the vendor of the chip: those that serve on it and whose costs are kept."""

_OPERATORS_COST = "TCO"
"""Marks a published price that is what an operator pays for a device, not what anyone rents it for."""
_OFFLOADED_LOADS = (1, 4, 16)
"""Sequences whose caches an offloading engine keeps in the devices' memory."""

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
        rented: Whether that is a rent; else it is what an operator pays, which comes to less.
        layout: Where tensors live, where the devices do not hold the model.
        binding: The memory or link that needs the most time for a decode step in it: ``hbm``, ``link``, ``dram``,
            ``ssd``; empty where the devices hold the model.
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
    rented: bool
    layout: Mapping[str, Any] | None = None
    binding: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A deployment that is not offered, and why."""

    hardware: str
    devices: int
    reason: str


@dataclass(frozen=True, slots=True)
class _Request:
    """What is asked of every deployment; the fields are arguments of :func:`offers`."""

    input_tokens: float
    output_tokens: float
    levels: Mapping[str, float]
    margin: bool


def offers(
    spec: ModelSpec,
    profiles: Sequence[HardwareProfile],
    coefficients: Coefficients,
    *,
    input_tokens: float,
    output_tokens: float,
    levels: Mapping[str, float],
    usd_per_hour: float | None = None,
    host: Host | None = None,
    margin: bool = False,
) -> tuple[list[Offer], list[Refusal]]:
    """Every deployment that meets the service levels within the budget: rents first, the cheapest tokens first of each.

    Devices that do not hold the model are offered with its experts in the host (:mod:`moecap.projection.offloading`).

    Args:
        spec: The model in the number formats of the checkpoint.
        profiles: The hardware to choose from.
        coefficients: Efficiencies and costs.
        input_tokens: Mean tokens of a prompt.
        output_tokens: Mean tokens of an answer.
        levels: The most seconds of ``ttft``, ``tpot`` and ``itl``.
        usd_per_hour: The most that all devices may cost.
        host: The host that experts may live in; :func:`moecap.projection.offloading.default_host` where not given.
        margin: Whether the upper ends of the 80 % intervals are to meet the levels, and not only the values.
    """
    behind = host or default_host()
    asked = _Request(input_tokens, output_tokens, levels, margin)
    found: list[Offer] = []
    refused: list[Refusal] = []
    for profile in profiles:
        if profile.kind != "accelerator" or profile.vendor not in ENGINES:
            refused.append(Refusal(profile.id, 1, "no engine is projected on it"))
            continue
        for devices in DEVICES:
            price = price_of(profile, devices)
            if price is None:
                refused.append(Refusal(profile.id, devices, "the profile has no price for so many"))
                continue
            if usd_per_hour is not None and devices * price.usd_per_hour > usd_per_hour:
                refused.append(Refusal(profile.id, devices, "it costs more than the budget"))
                continue
            for engine in ENGINES[profile.vendor]:
                deployment = Deployment(spec, profile, Parallelism(tensor=devices), engine)
                offer = _offer(deployment, price, coefficients, asked)
                if isinstance(offer, Offer):
                    found.append(offer)
                else:
                    refused.append(offer)
            deployment = Deployment(spec, profile, Parallelism(tensor=devices))
            if not _holds(deployment, input_tokens, output_tokens):
                found += _offloaded(deployment, price, behind, coefficients, asked)
    return sorted(found, key=lambda offer: (not offer.rented, offer.usd_per_million)), refused


def price_of(profile: HardwareProfile, devices: int) -> Price | None:
    """The first rent for so many devices, else the first price; ``None`` where there is none above 0.

    A provider whose name says ``1x`` or ``8x`` rents that many devices together.
    """
    prices = [price for price in profile.prices if price.usd_per_hour > 0 and _sold(price) in (0, devices)]
    return next((price for price in prices if is_rent(price)), prices[0] if prices else None)


def _sold(price: Price) -> int:
    """Devices that are rented together; 0 where any number is."""
    found = re.search(r"\b(\d+)x\b", price.provider)
    return int(found[1]) if found else 0


def is_rent(price: Price) -> bool:
    """Whether anyone can rent at a price; else it is what an operator pays for the device."""
    return _OPERATORS_COST not in price.provider


def _holds(deployment: Deployment, input_tokens: float, output_tokens: float) -> bool:
    """Whether the devices hold the model and one sequence; false also where the split is not possible."""
    try:
        return most_sequences(deployment, LIMITS[deployment.engine], input_tokens, output_tokens) >= 1
    except MoecapError:
        return True


def _offloaded(
    deployment: Deployment,
    price: Price,
    host: Host,
    coefficients: Coefficients,
    asked: _Request,
) -> list[Offer]:
    """The best offer with experts outside the devices, or none."""
    best: Offer | None = None
    for sequences in _OFFLOADED_LOADS:
        ways = offloaded(
            deployment, host, input_tokens=asked.input_tokens, output_tokens=asked.output_tokens, sequences=sequences
        )
        for way in ways:
            offer = _offer(way, price, coefficients, asked, sequences)
            if isinstance(offer, Offer) and (best is None or offer.usd_per_million < best.usd_per_million):
                best = offer
    return [] if best is None else [best]


def _offer(
    deployment: Deployment,
    price: Price,
    coefficients: Coefficients,
    asked: _Request,
    sequences: int = 0,
) -> Offer | Refusal:
    """The deployment at its best load, at most so many sequences where that is not 0; or why it is not offered."""
    profile, engine = deployment.hardware, deployment.engine
    most = sequences or LIMITS[engine].sequences
    load = Load.of(_LOADS[most >= _LOADS], asked.input_tokens, asked.output_tokens)
    try:
        state = steady_state(steady_plan(WorkModel(deployment), load), coefficients, engine)
    except MoecapError as error:
        return Refusal(profile.id, deployment.devices, str(error))
    best = _best(state, load, _within(asked, coefficients, profile))
    if best is None:
        fits = bool(np.any(np.isfinite(state.tpot)))
        reason = f"{engine} misses the service levels at every load" if fits else "the model does not fit"
        return Refusal(profile.id, deployment.devices, reason)
    rent = deployment.devices * price.usd_per_hour
    cost = rent / (3600.0 * float(state.output_throughput[best])) * 1e6
    metric = "output_throughput" if deployment.placement is None else "decode_speed"
    factor = coefficients.interval(metric, profile)
    concurrency = int(load.concurrency[best])
    context = round(asked.input_tokens + asked.output_tokens)
    placed = deployment.placement
    return Offer(
        hardware=profile.id,
        devices=deployment.devices,
        engine=engine if placed is None else _how(placed),
        concurrency=concurrency,
        ttft=float(state.ttft[best]),
        tpot=float(state.tpot[best]),
        itl=float(state.itl[best]),
        output_throughput=float(state.output_throughput[best]),
        usd_per_hour=rent,
        usd_per_million=cost,
        low=cost / factor,
        high=cost * factor,
        priced=f"{price.provider}, {price.date or 'no date'}",
        rented=is_rent(price),
        layout=None if placed is None else placed.layout.model_dump(exclude_defaults=True),
        binding="" if placed is None else binding_tier(deployment, context=context, sequences=concurrency),
    )


def _how(placed: Placement) -> str:
    """Where experts live and who computes those that are not found in the devices."""
    where = {"dram": "host memory", "ssd": "SSD"}[placed.layout.experts]
    return f"offload: {where}, {'host computes' if placed.layout.cpu_share else 'moved to the device'}"


def _within(asked: _Request, coefficients: Coefficients, profile: HardwareProfile) -> dict[str, float]:
    """The most that a projected value may be, by level: with a margin, its interval has to end below the level."""
    if not asked.margin:
        return dict(asked.levels)
    quantity = {"itl": "itl_median"}
    return {
        name: most / coefficients.interval(quantity.get(name, name), profile) for name, most in asked.levels.items()
    }


def _best(state: SteadyState, load: Load, levels: Mapping[str, float]) -> int | None:
    """The load of most tokens a second that meets the levels, and that all find room in."""
    good = np.isfinite(state.tpot) & (state.running >= load.concurrency - 1e-9)
    for name, most in levels.items():
        good &= getattr(state, name) <= most
    return int(np.argmax(np.where(good, state.output_throughput, -1.0))) if good.any() else None
