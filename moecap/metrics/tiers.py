"""Bytes that one decode step takes from each memory and over the link to the host, each against its own peak.

Every byte counts once where it lives and once on the link, where it has to cross it:

=============================================  ======================
weights, KV entries or experts in ``hbm``      hbm
weights or KV entries in ``dram``              dram, link
experts in ``dram``, computed on the device    dram, link
experts in ``dram``, computed by the host      dram
experts on the ``ssd``                         ssd (or dram, where found there) and link, unless the host computes
=============================================  ======================

An engine that copies an expert into the accelerator's memory before it reads it there moves more; activations that
cross the link are a millionth of the weights and not counted. The tiers can work at once, so no step is faster than its
slowest tier: the binding one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moecap.errors import BadInputError
from moecap.hardware.profile import HardwareProfile
from moecap.metrics.constants import Constant, constants_in_force
from moecap.metrics.memory_layout import TIERS, Layout, TierName, tier_rates
from moecap.metrics.ownership import purchase_usd
from moecap.metrics.value import Metric, absent
from moecap.models.accounting import StepBytes, cache_bytes, checkpoint_bytes
from moecap.models.spec import ModelSpec
from moecap.models.step import step_weights

__all__ = ["PlacedStep", "TierLoad", "place_step", "placed_bytes", "stored_bytes", "tier_memory", "tier_peak"]


@dataclass(frozen=True, slots=True)
class TierLoad:
    """What one step asks of one tier.

    Attributes:
        name: ``hbm``, ``link``, ``dram`` or ``ssd``.
        bytes: Bytes of the step.
        bytes_per_second: Peak of the tier; ``None`` where the step takes nothing from it and no peak was given.
        source: Where the peak comes from.
        stored: Bytes that live there.
    """

    name: TierName
    bytes: float
    bytes_per_second: float | None
    source: str
    stored: int

    @property
    def seconds(self) -> float:
        """The least time that the tier needs for the step."""
        return self.bytes / self.bytes_per_second if self.bytes_per_second else 0.0

    def utilisation(self, step_seconds: float) -> float | None:
        """S-MBU of the tier: its bytes over what its peak moves in the measured time of the step, or ``None``.

        Raises:
            BadInputError: If the time is not positive.
        """
        if not step_seconds > 0:
            raise BadInputError(f"a step of {step_seconds} s: give a time above 0")
        return self.seconds / step_seconds if self.bytes_per_second else None


@dataclass(frozen=True, slots=True)
class PlacedStep:
    """A decode step in a memory layout.

    Attributes:
        tiers: One entry a tier, in the order of ``TIERS``.
        batch: Sequences of the step; each gets one token.
        purchase: What the whole system costs to buy, USD.
        constants: The prices, with their sources.
    """

    tiers: tuple[TierLoad, ...]
    batch: int
    purchase: Metric
    constants: tuple[Constant, ...]

    @property
    def binding(self) -> TierLoad:
        """The tier that needs the most time."""
        return max(self.tiers, key=lambda tier: tier.seconds)

    @property
    def seconds(self) -> float:
        """No step is faster than this."""
        return self.binding.seconds

    def as_json(self) -> dict[str, object]:
        """The record; bytes, seconds, dollars."""
        return {
            "tiers": {
                t.name: {
                    "bytes": t.bytes,
                    "bytes_per_second": t.bytes_per_second,
                    "source": t.source,
                    "seconds": t.seconds,
                    "stored_bytes": t.stored,
                }
                for t in self.tiers
            },
            "binding_tier": self.binding.name,
            "step_seconds_at_least": self.seconds,
            # a step gives each of its sequences one token
            "output_tokens_per_second_at_most": self.batch / self.seconds,
            "purchase_usd": self.purchase.model_dump(mode="json"),
            "purchase": [c.model_dump(mode="json") for c in self.constants],
        }


def place_step(
    spec: ModelSpec,
    step: StepBytes,
    layout: Layout,
    profile: HardwareProfile | None,
    *,
    context: int,
    batch: int,
) -> PlacedStep:
    """Account for one decode step in a memory layout.

    Args:
        spec: The model.
        step: Bytes of the step, by class of tensor.
        layout: Where the tensors live.
        profile: The accelerator, for what the layout leaves out of ``hbm`` and for its price, or ``None``.
        context: Entries of each sequence.
        batch: Sequences of the step.

    Raises:
        BadInputError: If a tier holds less than the layout puts there, or one that is used has no peak.
    """
    taken = placed_bytes(layout, weights=step.non_expert_weights, experts=step.expert_weights, cache=step.kv_read)
    stored = stored_bytes(spec, layout, context=context, batch=batch)
    loads = []
    for name in TIERS:
        rate, source = tier_peak(name, layout, profile)
        if taken[name] and rate is None:
            raise BadInputError(
                f"the step takes {taken[name] / 1e9:.3g} GB from {name} and the layout gives no rate; "
                f"give tiers.{name}.bytes_per_second or tiers.{name}.kind"
            )
        held = tier_memory(name, layout, profile)
        if held is not None and stored[name] > held:
            raise BadInputError(
                f"the layout puts {stored[name] / 1e9:.4g} GB into {name}, which holds {held / 1e9:.4g} GB; "
                "move a class of tensors or enlarge tiers." + name + ".memory_bytes"
            )
        loads.append(TierLoad(name, taken[name], rate, source, stored[name]))
    if profile is None:
        return PlacedStep(tuple(loads), batch, _without_profile(layout), ())
    constants = constants_in_force(layout.cost, None, profile, layout.devices)
    prices = tuple(c for c in constants if c.unit == "USD")
    return PlacedStep(tuple(loads), batch, purchase_usd(prices, layout.devices), prices)


def placed_bytes(layout: Layout, *, weights: float, experts: float, cache: float) -> dict[TierName, float]:
    """Bytes that a step, or several together, take from each tier.

    Args:
        layout: Where the tensors live.
        weights: Bytes of weights that are no routed experts.
        experts: Bytes of routed experts.
        cache: Bytes of the cache of keys and values.
    """
    taken: dict[TierName, float] = dict.fromkeys(TIERS, 0.0)
    for size, home in ((weights, layout.weights), (cache, layout.kv_cache)):
        taken[home] += size
        if home == "dram":
            taken["link"] += size
    if layout.experts == "hbm":
        taken["hbm"] += experts
        return taken
    missed = (1 - layout.hit_rate) * experts
    taken["hbm"] += layout.hit_rate * experts
    taken["link"] += (1 - layout.cpu_share) * missed
    from_ssd = (1 - layout.dram_hit_rate) * missed if layout.experts == "ssd" else 0.0
    taken["ssd"] += from_ssd
    taken["dram"] += missed - from_ssd
    return taken


def stored_bytes(spec: ModelSpec, layout: Layout, *, context: int, batch: int) -> dict[TierName, int]:
    """Bytes that live in each tier; what caches of experts hold beside them is not counted."""
    weights = step_weights(spec)
    experts = int(np.sum(weights.expert * weights.experts))
    stored: dict[TierName, int] = dict.fromkeys(TIERS, 0)
    stored[layout.experts] += experts
    stored[layout.weights] += checkpoint_bytes(spec) - experts
    stored[layout.kv_cache] += batch * cache_bytes(spec, context)
    return stored


def tier_peak(name: TierName, layout: Layout, profile: HardwareProfile | None) -> tuple[float | None, str]:
    """Bytes/s of a tier, or ``None``, and where the number comes from."""
    tier = getattr(layout.tiers, name)
    if tier.bytes_per_second is not None:
        return tier.bytes_per_second, "given in the layout"
    if tier.kind is not None:
        known = tier_rates()[tier.kind]
        grade = "theoretical" if known.effective is None else "effective"
        return tier.units * known.rate, f"{tier.units} x {tier.kind}, {grade}: {known.source}"
    peak = profile.peak_bandwidth if name == "hbm" and profile is not None else None
    if peak is None or profile is None:
        return None, "not given"
    return layout.devices * peak.value, f"{layout.devices} x {profile.name}, {peak.source}"


def tier_memory(name: TierName, layout: Layout, profile: HardwareProfile | None) -> float | None:
    """Bytes that a tier holds, or ``None`` where nobody says."""
    given: float | None = getattr(layout.tiers, name).memory_bytes
    if given is None and name == "hbm" and profile is not None and profile.memory_bytes is not None:
        return layout.devices * profile.memory_bytes
    return given


def _without_profile(layout: Layout) -> Metric:
    if layout.cost.capital is not None:
        return Metric(value=layout.cost.capital, unit="USD")
    return absent("USD", "the layout names no hardware; give hardware, or cost.capital for all")
