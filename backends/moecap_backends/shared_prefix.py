"""Sequences that begin alike: the common beginning is fed once, and each of them continues from its KV entries.

Demonstrations before many questions, and the examples of a subject before its questions, are such beginnings. The
entries of a beginning are kept once and not once a sequence: a layer sees them beside each sequence's own for as long
as it computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

__all__ = ["PrefixGroup", "SharedPrefix", "is_shareable", "prefix_groups"]

SHORTEST = 16
"""Tokens of a beginning that is worth a pass of its own."""

LEAST_SAVED = 512
"""Tokens that sharing must save, as it needs more passes: one of few tokens reads the weights all the same."""


@dataclass(frozen=True, slots=True)
class PrefixGroup:
    """Sequences, by their numbers, whose first ``length`` tokens are the same; 0 for sequences that share nothing."""

    length: int
    members: tuple[int, ...]


def prefix_groups(sequences: Sequence[Sequence[int]], most: Sequence[int]) -> list[PrefixGroup]:
    """Sequences by what they share at their beginning; those that share too little are the last group.

    Args:
        sequences: Token ids.
        most: How many tokens of each may be fed without it, since logits are asked for only after them.
    """
    order = sorted(range(len(sequences)), key=lambda i: tuple(sequences[i]))
    groups: list[PrefixGroup] = []
    alone: list[int] = []
    members: list[int] = []
    length = 0

    def close() -> None:
        if (len(members) - 1) * length >= LEAST_SAVED:
            groups.append(PrefixGroup(length, tuple(members)))
        else:
            alone.extend(members)

    for i in order:
        shared = min(_common(sequences[members[-1]], sequences[i]), length, most[i]) if members else 0
        if shared >= SHORTEST and 2 * shared >= length:
            members.append(i)
            length = shared
        else:
            close()
            members, length = [i], most[i]
    close()
    return [*groups, PrefixGroup(0, tuple(sorted(alone)))] if alone else groups


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    for place, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return place
    return min(len(one), len(other))


def is_shareable(config: Any) -> bool:
    """Whether every layer of a model keeps all KV entries and nothing else, so that a beginning can be shared.

    Args:
        config: The model's configuration.
    """
    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=config).layers)


class SharedPrefix(DynamicCache):  # type: ignore[misc]
    """The KV entries of a beginning for any number of sequences; what they add to it is not kept.

    Args:
        prefix: The cache after a pass over the beginning alone.
    """

    def __init__(self, prefix: DynamicCache) -> None:
        super().__init__()
        self.layer_class_to_replicate = None
        self.layers = [_PrefixLayer(layer.keys, layer.values) for layer in prefix.layers]


class _PrefixLayer(DynamicLayer):  # type: ignore[misc]
    """The beginning's entries of one layer, each [1, heads, tokens, head size]."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The entries of beginning and continuation for each sequence."""
        pairs = ((self.keys, key_states), (self.values, value_states))
        keys, values = (torch.cat([old.expand(len(new), -1, -1, -1), new], dim=-2) for old, new in pairs)
        return keys, values
