"""Predictions out of samples of concepts: which label, and which concepts, the samples speak for.

``ptm``: the program, then the most frequent whole label. ``pmm``: the program, then the most frequent value of each
output. ``tmp``: the most frequent whole concept vector, then the program. ``mmp``: the most frequent value of each
concept, then the program. Between equally frequent ones the one that comes first in order of numbers is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moecap.tasks.nesydm.programs import Program

__all__ = ["STRATEGIES", "Ballot", "labels_by", "marginals", "most_frequent"]

STRATEGIES = ("ptm", "pmm", "tmp", "mmp")


@dataclass(frozen=True, slots=True)
class Ballot:
    """Samples of concepts, equal ones of an item counted together.

    Attributes:
        item: Number of the item of each row, from 0 to items - 1, [rows]; every item has a row.
        concepts: [rows, C].
        count: How often these concepts were drawn, [rows].
    """

    item: np.ndarray
    concepts: np.ndarray
    count: np.ndarray

    @property
    def items(self) -> int:
        """Number of items."""
        return int(self.item.max()) + 1 if len(self.item) else 0


def labels_by(strategy: str, ballot: Ballot, program: Program) -> np.ndarray:
    """The label that a strategy predicts for each item, [items, Y]."""
    if strategy == "ptm":
        return most_frequent(ballot.item, program(ballot.concepts), ballot.count)
    if strategy == "pmm":
        of_each: np.ndarray = marginals(ballot, program(ballot.concepts), program.output_values).argmax(-1)
        return of_each
    if strategy == "tmp":
        concepts = most_frequent(ballot.item, ballot.concepts, ballot.count)
    else:
        concepts = marginals(ballot, ballot.concepts, program.values).argmax(-1)
    found: np.ndarray = program(concepts)
    return found


def most_frequent(item: np.ndarray, vectors: np.ndarray, count: np.ndarray) -> np.ndarray:
    """The most frequent whole vector of each item, [items, width].

    Args:
        item: [rows].
        vectors: [rows, width].
        count: [rows].
    """
    rows, group = np.unique(np.column_stack([item, vectors]), axis=0, return_inverse=True)
    votes = np.bincount(group.ravel(), weights=count)
    order = np.lexsort((np.arange(len(rows)), -votes, rows[:, 0]))  # by item, then votes, then order of numbers
    first = np.unique(rows[order, 0], return_index=True)[1]
    found: np.ndarray = rows[order[first], 1:]
    return found


def marginals(ballot: Ballot, vectors: np.ndarray, values: int) -> np.ndarray:
    """Share of an item's samples in which each place has each value, [items, width, values].

    Args:
        ballot: The samples.
        vectors: Concepts or labels of its rows, [rows, width].
        values: Values of a place.
    """
    width = vectors.shape[1]
    shares = np.zeros((ballot.items, width, values))
    np.add.at(shares, (ballot.item[:, None], np.arange(width), vectors), ballot.count[:, None].astype(float))
    drawn = np.bincount(ballot.item, weights=ballot.count, minlength=ballot.items)
    return shares / drawn[:, None, None]
