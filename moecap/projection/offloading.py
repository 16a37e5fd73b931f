"""The layout that fits where a model does not: experts in the host's memory or on its drives, copies in the devices.

What is not experts, the cache of the sequences asked for and the engine's buffers stay in the devices' memory; what is
left of it holds copies of experts. How often an expert is found there follows from how many fit, as if all were chosen
alike: real routing is uneven and finds more, so that this errs on the slow side. Experts live in the host's memory
where that holds them all, else on a drive with what it holds as a cache. The others are computed by the host's
processors, or moved to the devices over their link.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from moecap.hardware.profile import HardwareProfile
from moecap.hardware.registry import load_profile
from moecap.metrics.memory_layout import Layout, TierName, tier_rates
from moecap.models.accounting import cache_bytes, checkpoint_bytes, decode_step_bytes, expected_distinct_experts
from moecap.projection.capacity import LIMITS, expert_bytes, room
from moecap.projection.deployment import Deployment
from moecap.projection.placement import Placement, host_flops, tier_seconds

__all__ = ["ENGINE", "Host", "binding_tier", "default_host", "layout_hint", "offloaded"]


@dataclass(frozen=True, slots=True)
class Host:
    """A host that experts may live in.

    Attributes:
        profile: The profile of one socket.
        sockets: Sockets.
        memory_kind: Kind of its memory channels, a name of ``host_tiers.yaml``.
        channels: Channels of all sockets.
        memory_bytes: Bytes that they hold.
        drive_kind: Kind of its drives.
        drives: Drives that are read at once.
    """

    profile: HardwareProfile
    sockets: int
    memory_kind: str
    channels: int
    memory_bytes: float
    drive_kind: str
    drives: int

    @property
    def described(self) -> str:
        """In words."""
        memory = f"{self.memory_bytes / 1e9:.0f} GB in {self.channels} x {self.memory_kind}"
        return f"{self.sockets} x {self.profile.name}, {memory}, {self.drives} x {self.drive_kind}"


def default_host(memory_bytes: float = 1.0e12) -> Host:
    """The host that is assumed where none is named: that of the published rows that the coefficients were fitted on."""
    return Host(load_profile("xeon-6454s-1s"), 2, "ddr5-4800", 16, memory_bytes, "nvme-pcie4-x4", 1)


ENGINE = "offloading"
"""The family of engines that offload; it gets the declared defaults."""

_RESERVED = 0.9
"""Share of the host's memory that may hold experts."""


def offloaded(
    deployment: Deployment, host: Host, *, input_tokens: float, output_tokens: float, sequences: int
) -> Iterator[Deployment]:
    """The deployment with experts outside the devices, one for each way that is possible; none where nothing fits.

    Args:
        deployment: The model on devices that do not hold it.
        host: Where experts may live.
        input_tokens: Tokens of a prompt.
        output_tokens: Tokens of an answer.
        sequences: Sequences whose cache is to stay in the devices' memory.
    """
    moved = replace(deployment, engine=ENGINE)
    left = _memory_left(moved, round(input_tokens + output_tokens), sequences)
    experts, link = expert_bytes(moved), _link(deployment.hardware)
    if left < 0 or experts == 0 or link is None:
        return
    found, in_memory = min(1.0, left / experts), min(1.0, _RESERVED * host.memory_bytes / experts)
    tiers = {
        "link": {**link, "units": moved.devices},
        "dram": {"kind": host.memory_kind, "units": host.channels, "memory_bytes": host.memory_bytes},
        "ssd": {"kind": host.drive_kind, "units": host.drives},
    }
    home = {"experts": "dram"} if in_memory == 1.0 else {"experts": "ssd", "dram_hit_rate": in_memory}
    shares = (1.0, 0.0) if host_flops(host.profile) is not None else (0.0,)
    for share in shares:
        layout = Layout.model_validate(
            {**home, "devices": moved.devices, "hit_rate": found, "cpu_share": share, "tiers": tiers}
        )
        yield replace(moved, placement=Placement(layout, host.profile, host.sockets, cached_bytes=min(left, experts)))


def layout_hint(deployment: Deployment, tokens: int) -> str:
    """The layout that fits a model on devices that do not hold it with a sequence of so many tokens, on one line.

    It is YAML for ``--layout``, with the host of :func:`default_host`; empty where none fits.
    """
    for way in offloaded(deployment, default_host(), input_tokens=tokens, output_tokens=0, sequences=1):
        placement = way.placement
        if placement is None or placement.layout.computed_by_host:
            continue
        layout = placement.layout
        kinds = (("link", layout.tiers.link), ("dram", layout.tiers.dram), ("ssd", layout.tiers.ssd))
        used = kinds if layout.experts == "ssd" else kinds[:2]
        tiers = ", ".join(f"{name}: {{kind: {tier.kind}, units: {tier.units}}}" for name, tier in used)
        beside = f", dram_hit_rate: {layout.dram_hit_rate:.2f}" if layout.experts == "ssd" else ""
        return f"{{experts: {layout.experts}, hit_rate: {layout.hit_rate:.2f}{beside}, tiers: {{{tiers}}}}}"
    return ""


def binding_tier(deployment: Deployment, *, context: int, sequences: int) -> TierName:
    """The memory or link that needs the most time for the bytes of a decode step of so many sequences."""
    placement, spec = deployment.placement, deployment.spec
    if placement is None:
        return "hbm"
    moe = spec.moe_layers[0]
    experts = float(expected_distinct_experts(moe.experts, moe.used_experts, sequences))
    step = decode_step_bytes(
        spec, batch=sequences, context=context, experts=experts, parallelism=deployment.parallelism
    )
    seconds = tier_seconds(
        placement,
        deployment.hardware,
        weights=step.non_expert_weights,
        experts=step.expert_weights,
        cache=step.kv_read,
    )
    return max(seconds, key=lambda name: seconds[name])


def _link(hardware: HardwareProfile) -> dict[str, object] | None:
    """The link between one device and the host, as a layout writes it; ``None`` where the profile has none."""
    if hardware.interconnect is not None and "C2C" in hardware.interconnect.technology:
        return {"kind": "nvlink-c2c"}
    if hardware.pcie is None:
        return None
    kind = f"pcie{hardware.pcie.generation}-x{hardware.pcie.lanes}"
    return {"kind": kind} if kind in tier_rates() else None


def _memory_left(deployment: Deployment, context: int, sequences: int) -> float:
    """Bytes of the devices' memory that weights beside experts and the caches of so many sequences leave."""
    whole = room(deployment, LIMITS["default"])
    resident = checkpoint_bytes(deployment.spec, deployment.parallelism) - expert_bytes(deployment)
    caches = sequences * cache_bytes(deployment.spec, context, deployment.parallelism)
    cache = whole.cache + whole.weights - resident
    return cache - caches
