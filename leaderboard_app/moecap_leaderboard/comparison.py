"""Rows side by side, and the rows that no other row beats in both of two metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moecap.metrics.direction import Better, better_of

__all__ = ["compared", "front"]

_FIELDS = ("kind", "model", "hardware", "engine", "precision", "workload", "tier")


def compared(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Rows with what differs between them and every metric of each, relative to the first.

    Args:
        items: Rows as lists give them, at least two.
    """
    differing = {name: [item[name] for item in items] for name in _FIELDS}
    names = list(dict.fromkeys(name for item in items for name in item["metrics"]))
    return {
        "items": list(items),
        "differing": {name: values for name, values in differing.items() if any(v != values[0] for v in values)},
        "metrics": {name: _column([item["metrics"].get(name) for item in items], name) for name in names},
    }


def _column(metrics: Sequence[dict[str, Any] | None], name: str) -> dict[str, Any]:
    values = [metric["value"] if metric else None for metric in metrics]
    first = values[0]
    return {
        "unit": next(metric["unit"] for metric in metrics if metric),
        "better": better_of(name),
        "values": values,
        "relative": [v / first - 1 if v is not None and first else None for v in values],
        "intervals_overlap": [_overlap(metrics[0], metric) for metric in metrics],
    }


def _overlap(a: dict[str, Any] | None, b: dict[str, Any] | None) -> bool | None:
    """Whether two intervals share a value; null where one has none."""
    if not a or not b or None in (a["low"], a["high"], b["low"], b["high"]):
        return None
    return bool(a["low"] <= b["high"] and b["low"] <= a["high"])


def front(points: Sequence[tuple[float, float]], better: tuple[Better, Better]) -> list[bool]:
    """Which points no other one beats: at least as good in both metrics and better in one.

    Args:
        points: Values of the two metrics.
        better: Which direction of each is better; ``neither`` counts as ``lower``.
    """
    signs = tuple(-1.0 if direction == "higher" else 1.0 for direction in better)
    keyed = sorted((x * signs[0], y * signs[1], index) for index, (x, y) in enumerate(points))
    on_front = [False] * len(points)
    best = float("inf")  # the least y among points of less x
    at, least = None, float("inf")
    for x, y, index in keyed:
        if x != at:
            best, at, least = min(best, least), x, y  # the first of an x has its least y
        on_front[index] = y == least and y < best
    return on_front
