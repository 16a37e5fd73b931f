"""What does not fit between a declared memory layout and a run: engine, accelerator, rates, sizes."""

from __future__ import annotations

from moecap.hardware.profile import HardwareProfile
from moecap.hardware.registry import packaged_id
from moecap.metrics.memory_layout import TIERS, Layout
from moecap.metrics.tiers import placed_bytes, stored_bytes, tier_memory, tier_peak
from moecap.models.spec import ModelSpec
from moecap.plugins import BACKENDS, load_plugin, plugin_names

__all__ = ["engine_problem", "layout_problem"]


def engine_problem(backend: str) -> str:
    """Why a layout says nothing of an engine; empty where the engine can keep tensors in several memories.

    Args:
        backend: Name of the backend.

    Raises:
        UnknownNameError: If there is no such backend.
    """
    if load_plugin(BACKENDS, backend).offloads:
        return ""
    able = [name for name in plugin_names(BACKENDS) if load_plugin(BACKENDS, name).offloads]
    return (
        f"--layout: backend {backend!r} keeps the whole model in the accelerator's memory; leave the layout "
        f"out, or take a backend whose engine can offload: {', '.join(able)}"
    )


def layout_problem(layout: Layout, spec: ModelSpec, profile: HardwareProfile, context: int) -> str:
    """Why a layout cannot be that of a model on an accelerator; empty where it can.

    Args:
        layout: The layout.
        spec: The model, in the formats in which the engine holds it.
        profile: The hardware of the run.
        context: Entries of the longest sequence; one has to fit.
    """
    named = layout.hardware
    if named is not None and (packaged_id(named) or named) != profile.id:
        return f"--layout: its hardware is {named} and the run's is {profile.id}; name the same, or leave it out there"
    # a byte of each class that the model has shows which memories a step uses
    experts = float(spec.is_moe)
    phases = [placed_bytes(shares, weights=1.0, experts=experts, cache=1.0) for shares in (layout, layout.in_prefill)]
    used = {name: sum(amounts[name] for amounts in phases) for name in TIERS}
    if profile.kind == "host" and (used["dram"] or used["link"]):
        return (
            f"--layout: {profile.id} is a host, whose memory is the tier hbm and has no link before it: name the "
            "accelerator with --hw, or keep all in hbm and ssd with cpu_share: 1"
        )
    stored = stored_bytes(spec, layout, context=context, batch=1)
    for name in TIERS:
        if used[name] and tier_peak(name, layout, profile)[0] is None:
            return (
                f"--layout: a step takes bytes from {name} and no rate is given; give tiers.{name}.bytes_per_second or "
                f"tiers.{name}.kind"
            )
        held = tier_memory(name, layout, profile)
        if held is not None and stored[name] > held:
            return (
                f"--layout: it puts {stored[name] / 1e9:.4g} GB into {name}, which holds {held / 1e9:.4g} GB; move a "
                f"class of tensors or enlarge tiers.{name}.memory_bytes"
            )
    return ""
