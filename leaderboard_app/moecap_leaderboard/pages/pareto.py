"""Rows in two quantities at once: which no other row beats in both, at prices that can be set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moecap_leaderboard.comparison import front
from moecap_leaderboard.pages.measures import QUANTITIES, Measure, measure
from moecap_leaderboard.pages.pricing import is_rented

__all__ = ["Placed", "Scatter", "scatter"]


@dataclass(frozen=True, slots=True)
class Placed:
    """A row with both quantities.

    Attributes:
        item: The row.
        x: The first quantity.
        y: The second one.
        on_front: Whether no other row of its evidence beats it in both.
    """

    item: dict[str, Any]
    x: Measure
    y: Measure
    on_front: bool


@dataclass(frozen=True, slots=True)
class Scatter:
    """Rows in two quantities.

    Attributes:
        points: Those that have both, in the order of the rows.
        missing: How many lack one, or have one that was not recomputed.
        tasks: Of which tasks the scores are; empty where no quantity is a score.
        other_tasks: How many have scores of other tasks.
        unrented: How many of the points have no rent but what an operator pays; beside a rent they are not compared.
    """

    points: tuple[Placed, ...]
    missing: int
    tasks: str = ""
    other_tasks: int = 0
    unrented: int = 0

    @property
    def front(self) -> list[Placed]:
        """The rows on the frontier, from the least x to the most."""
        return sorted((p for p in self.points if p.on_front), key=lambda p: p.x.value or 0.0)


def scatter(items: Sequence[dict[str, Any]], x: str, y: str, prices: Mapping[str, float]) -> Scatter:
    """Place rows, and find the frontier.

    What was observed and what was projected has a frontier of its own: a projection beats no measurement. Scores are of
    the tasks that most rows ran, and a cost that is no rent beats none.

    Args:
        items: The rows.
        x: A key of :data:`~moecap_leaderboard.pages.measures.QUANTITIES`.
        y: Another one.
        prices: Dollars an hour of one device by id of the hardware, in place of what is known.
    """
    found = [(item, measure(item, x, prices), measure(item, y, prices)) for item in items]
    valued = [row for row in found if all(m.value is not None and not m.unchecked for m in row[1:])]
    tasks, whole = _of_one_task(valued, (x, y))
    rented = ["cost" not in (x, y) or is_rented(item, prices) for item, _, _ in whole]
    comparable = rented if any(rented) else [True] * len(whole)
    best = dict.fromkeys(range(len(whole)), False)
    for projected in (False, True):
        kind = [(item["kind"] == "projected") == projected for item, _, _ in whole]
        numbers = [n for n in range(len(whole)) if kind[n] and comparable[n]]
        points = [(whole[n][1].value or 0.0, whole[n][2].value or 0.0) for n in numbers]
        flags = front(points, (QUANTITIES[x].better, QUANTITIES[y].better))
        best |= dict(zip(numbers, flags, strict=True))
    return Scatter(
        points=tuple(Placed(item, a, b, best[n]) for n, (item, a, b) in enumerate(whole)),
        missing=len(found) - len(valued),
        tasks=tasks,
        other_tasks=len(valued) - len(whole),
        unrented=rented.count(False),
    )


_Row = tuple[dict[str, Any], Measure, Measure]


def _of_one_task(rows: Sequence[_Row], keys: tuple[str, str]) -> tuple[str, list[_Row]]:
    """The tasks that most rows have scores of, and those rows; all rows where no quantity is a score."""
    if "accuracy" not in keys or not rows:
        return "", list(rows)
    names = [(a if keys[0] == "accuracy" else b).name for _, a, b in rows]
    tasks = Counter(names).most_common(1)[0][0]
    return tasks, [row for row, name in zip(rows, names, strict=True) if name == tasks]
