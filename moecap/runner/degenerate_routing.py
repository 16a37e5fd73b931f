"""Whether a load's routing is one that no real text gives: the same few experts for nearly every token."""

from __future__ import annotations

import math
from collections.abc import Iterator

from moecap.metrics.value import Metric
from moecap.models.reading import read_model
from moecap.result import Flag, ModelRecord

__all__ = ["degenerate_routing_flags"]

SELECTIONS = 50
"""Fewest selections for each expert of a layer before the entropy of its load says anything."""


def degenerate_routing_flags(model: ModelRecord, metrics: dict[str, Metric]) -> Iterator[Flag]:
    """A flag where the entropy of the expert load is nearer to that of one fixed choice than to an even load.

    A router that gives every token the same k of N experts has the entropy ln k / ln N, an even one has 1. Weights
    drawn at random or repeated tokens come near the first; steps then read fewer experts than with real text.

    Args:
        model: The model.
        metrics: The run's metrics.
    """
    entropy = metrics["experts.load_entropy"]
    if not model.is_moe or entropy.value is None:
        return
    shapes = [(layer.experts, layer.top_k) for layer in read_model(model.config, model.id).moe_layers]
    if any(top_k >= experts for experts, top_k in shapes):
        return
    if (entropy.n or 0) < SELECTIONS * sum(experts for experts, _ in shapes):
        return
    fixed = sum(math.log(top_k) / math.log(experts) for experts, top_k in shapes) / len(shapes)
    if entropy.value < (1 + fixed) / 2:
        yield Flag(
            name="degenerate_routing",
            level="warning",
            text=f"The entropy of the expert load is {entropy.value:.2f}, nearer to {fixed:.2f}, the same experts for "
            "every token, than to 1: the weights or the prompts are not real, and S-MBU is not that of a real load.",
        )
