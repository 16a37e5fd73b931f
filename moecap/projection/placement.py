"""Tensors in several memories: what experts outside the devices' memory ask of a step.

Where they live is a layout (:mod:`moecap.metrics.memory_layout`), and the bytes of each memory and of the link are
those of :mod:`moecap.metrics.tiers`. An expert that is not found in the devices' memory is computed by the host's
processors, or its bytes are moved to the devices through the slowest of SSD, host memory and link. What was prefetched
moves while
the rest of the step runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moecap.errors import BadInputError
from moecap.hardware.profile import HardwareProfile
from moecap.metrics.memory_layout import TIERS, Layout, TierName
from moecap.metrics.tiers import placed_bytes, tier_peak

__all__ = ["PlacedWork", "Placement", "host_flops", "on_device", "placed_work", "tier_seconds"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
_Of = Callable[[Layout], float]


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """A layout and the host that it needs.

    Attributes:
        layout: Which memory holds what, and how often an expert is found in a nearer one.
        host: The profile of one socket of the host; only where its processors compute experts.
        sockets: Sockets of the host. The layout's rate of ``dram`` is that of all their channels.
        prefetched: Share of the bytes that move to the devices which is asked for early enough to move while the rest
            of the step runs.
        cached_bytes: Bytes of the devices' memory that copies of experts take; 0 where that is not known.
    """

    layout: Layout
    host: HardwareProfile | None = None
    sockets: int = 1
    prefetched: float = 0.0
    cached_bytes: float = 0.0

    def __post_init__(self) -> None:
        """Check what the layout itself does not know.

        Raises:
            BadInputError: If processors are to compute and no host with a known rate is given, the cache of keys and
                values is to lie in the host's memory, or a share or a number is out of range.
        """
        if self.layout.kv_cache != "hbm":
            raise BadInputError("layout: kv_cache in the host's memory is not projected; keep it in hbm")
        if not 0.0 <= self.prefetched <= 1.0 or self.sockets < 1 or self.cached_bytes < 0:
            raise BadInputError(
                "a placement needs 0 to 1 prefetched, 1 socket or more and no negative bytes; give such"
            )
        if self.layout.computed_by_host and (self.host is None or host_flops(self.host) is None):
            name = "none" if self.host is None else self.host.id
            raise BadInputError(
                f"the layout lets the host compute experts and the rate of host {name!r} is not known; give a host "
                "profile with measured_flops in bf16, such as xeon-6454s-1s"
            )


@dataclass(frozen=True, slots=True, eq=False)
class PlacedWork:
    """What steps ask of memories and processors outside the devices, float64 [n] each.

    Attributes:
        moving: Seconds in which bytes move to the devices, at the rates of the layout.
        host_reading: Seconds in which the host reads what its processors compute, at the rate of the layout.
        host_computing: Seconds in which they compute, at the rate that the host's profile gives.
        prefetched: Share of ``moving`` that runs beside the rest of the step.
        sockets: Sockets of the host.
    """

    moving: Floats
    host_reading: Floats
    host_computing: Floats
    prefetched: float
    sockets: int


def host_flops(host: HardwareProfile) -> float | None:
    """FLOP/s in bf16 that a kernel reached on one socket, published or probed; ``None`` where none is known.

    A datasheet's peak does not stand in for it: kernels of hosts reach a third of it or less.
    """
    published = host.measured_flops.get("bf16")
    peak = host.peak_flops("bf16")
    probed = peak.value if peak is not None and peak.source == "probed" else None
    return probed if published is None else published


def on_device(placement: Placement, prompt: Bools) -> Floats:
    """The share of the experts' bytes and FLOPs of steps that the devices themselves read and compute, float64 [n]."""
    layout = placement.layout
    return 1.0 - _by_step(layout, prompt, lambda shares: _missed(shares) * shares.cpu_share)


def placed_work(
    placement: Placement,
    hardware: HardwareProfile,
    *,
    weights: float,
    experts: Floats,
    flops: Floats,
    prompt: Bools,
) -> PlacedWork:
    """What steps ask of what is not the devices.

    Args:
        placement: Where tensors live.
        hardware: The devices' profile.
        weights: Bytes of a step that are no routed experts, over all devices.
        experts: Bytes of its routed experts over all devices, float64 [n].
        flops: FLOPs of its routed experts, float64 [n].
        prompt: Whether it feeds prompts, bool [n].
    """
    layout = placement.layout
    missed = _by_step(layout, prompt, _missed)
    by_host = _by_step(layout, prompt, lambda shares: shares.cpu_share)
    from_ssd = _by_step(layout, prompt, lambda s: 1.0 - s.dram_hit_rate if s.experts == "ssd" else 0.0)
    fetched, computed = missed * (1.0 - by_host) * experts, missed * by_host * experts
    streamed = fetched + (weights if layout.weights == "dram" else 0.0)
    rate = {name: tier_peak(name, layout, hardware)[0] for name in TIERS}
    moving = np.maximum(_seconds("link", streamed, rate), _seconds("dram", streamed, rate))
    moving = np.maximum(moving, _seconds("ssd", from_ssd * fetched, rate))
    reading = np.maximum(_seconds("dram", computed, rate), _seconds("ssd", from_ssd * computed, rate))
    speed = (host_flops(placement.host) or np.inf) * placement.sockets if placement.host is not None else np.inf
    return PlacedWork(moving, reading, missed * by_host * flops / speed, placement.prefetched, placement.sockets)


def tier_seconds(
    placement: Placement, hardware: HardwareProfile, *, weights: float, experts: float, cache: float
) -> dict[TierName, float]:
    """The least seconds that each tier needs for the bytes of a decode step; the largest is the binding tier's.

    Args:
        placement: Where tensors live.
        hardware: The devices' profile.
        weights: Bytes that are no routed experts, over all devices.
        experts: Bytes of routed experts.
        cache: Bytes of the cache of keys and values.
    """
    taken = placed_bytes(placement.layout, weights=weights, experts=experts, cache=cache)
    rate = {name: tier_peak(name, placement.layout, hardware)[0] for name in TIERS}
    return {name: float(_seconds(name, np.array(taken[name]), rate)) for name in TIERS}


def _missed(shares: Layout) -> float:
    return 0.0 if shares.experts == "hbm" else 1.0 - shares.hit_rate


def _by_step(layout: Layout, prompt: Bools, of: _Of) -> Floats:
    """A share of each step: that of steps with prompts where it feeds some."""
    return np.where(prompt, of(layout.in_prefill), of(layout)).astype(np.float64)


def _seconds(name: TierName, amount: Floats, rates: dict[TierName, float | None]) -> Floats:
    rate = rates[name]
    if rate is None:
        if np.any(amount > 0):
            raise BadInputError(
                f"a step takes bytes from {name} and the layout gives no rate; give tiers.{name}.bytes_per_second or "
                f"tiers.{name}.kind"
            )
        return np.zeros_like(amount)
    return np.asarray(amount / rate, np.float64)
