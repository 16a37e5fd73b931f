"""Which load to try next: doubled until one does not hold, then halfway between the two that enclose the answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Axis", "answer", "next_load"]


@dataclass(frozen=True, slots=True)
class Axis:
    """What is searched along.

    Attributes:
        name: ``concurrency`` (whole numbers from 1 on) or ``rate`` (requests a second, with three digits).
        start: The first load.
        most: The largest one that is tried.
        resolution: The search ends where the smallest load that does not hold is at most this share above the largest
            that holds; of concurrencies also where they are neighbours.
    """

    name: str
    start: float
    most: float
    resolution: float

    @property
    def least(self) -> float:
        """The smallest load that is tried."""
        return 1 if self.name == "concurrency" else self.rounded(self.start / 1024)

    def rounded(self, load: float) -> float:
        """A load as it can be asked for."""
        return float(round(load)) if self.name == "concurrency" else float(f"{load:.3g}")


def next_load(axis: Axis, held: Mapping[float, bool]) -> float | None:
    """The load to try next, or ``None`` where the answer is known as well as it was asked for.

    If loads hold up to some size and no larger one does, the answer lies within the resolution of that size; with a
    resolution of 0 it is the largest concurrency that holds. Otherwise it is the largest load that was tried and holds.

    Args:
        axis: What is searched along.
        held: Whether each load that was tried holds.
    """
    if not held:
        return axis.rounded(axis.start)
    low = answer(held)
    high = min((load for load, holds in held.items() if not holds and (low is None or load > low)), default=None)
    if high is None:
        assert low is not None
        most = axis.rounded(axis.most)
        return None if low >= most else min(most, axis.rounded(2 * low))
    if low is None:
        return None if high <= axis.least else max(axis.least, axis.rounded(high / 2))
    if high <= low * (1 + axis.resolution):
        return None
    middle = axis.rounded((low + high) // 2 if axis.name == "concurrency" else math.sqrt(low * high))
    return middle if low < middle < high else None


def answer(held: Mapping[float, bool]) -> float | None:
    """The largest load that was tried and holds; ``None`` where none does."""
    return max((load for load, holds in held.items() if holds), default=None)
