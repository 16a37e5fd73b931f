"""Items of several groups, one of each group after the other, so that a few of them are of many groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

__all__ = ["in_turns"]

Item = TypeVar("Item")


def in_turns(items: Iterable[Item], group: Callable[[Item], str]) -> list[Item]:
    """The first item of each group in the order in which the groups come, then the second ones, and so on."""
    seen: dict[str, int] = {}
    placed = []
    for item in items:
        turn = seen[group(item)] = seen.get(group(item), -1) + 1
        placed.append((turn, item))
    return [item for _, item in sorted(placed, key=lambda pair: pair[0])]
