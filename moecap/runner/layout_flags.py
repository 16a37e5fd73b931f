"""Remarks on a declared memory layout: that nobody observed it, which memory binds, and whether it can be true."""

from __future__ import annotations

from collections.abc import Iterator

from moecap.metrics.memory_layout import TIERS, Layout
from moecap.metrics.tier_utilisation import TIER_PHASES, binding_tier
from moecap.metrics.value import Metric
from moecap.result import Flag

__all__ = ["layout_flags"]


def layout_flags(layout: Layout | None, metrics: dict[str, Metric]) -> Iterator[Flag]:
    """The flags of a run with a layout; none without one.

    Args:
        layout: What the user declared.
        metrics: The run's metrics.
    """
    if layout is None:
        return
    yield Flag(
        name="layout_declared",
        level="info",
        text="Which memory holds what, how often an expert is found there and what the host computes is as the user "
        "says: nothing of it was observed.",
    )
    found = []
    for phase in TIER_PHASES:
        tier, least = binding_tier(phase, metrics), metrics.get(f"{phase}.least_step_time")
        if phase != "all" and tier is not None and least is not None:
            found.append(f"{tier} in {phase} ({1e3 * (least.value or 0):.4g} ms of a mean step at least)")
    if found:
        yield Flag(
            name="binding_tier", level="info", text=f"By the declared layout the binding tier is {', '.join(found)}."
        )
    above = []
    for name in (f"{phase}.tier.{tier}.utilisation" for phase in TIER_PHASES for tier in TIERS):
        metric = metrics.get(name)
        # of an estimate the least, which even the fewest experts give
        least_share = None if metric is None else metric.value if metric.low is None else metric.low
        if least_share is not None and least_share > 1:
            above.append(f"{name} is {least_share:.2f}")
    if above:
        yield Flag(
            name="layout_contradicted",
            level="warning",
            text=f"The steps were faster than the declared layout allows ({', '.join(above)}): hits, shares or rates "
            "in it are not those of this run.",
        )
