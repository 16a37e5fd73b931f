"""Units chosen one after another by how much the probe tells of the attribute with them, and what it tells.

What is told is measured as in arXiv 2201.08214: H(values) less the mean surprisal of the right value, as a
share of H(values), where H is the entropy of the values' frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Answers", "Choice", "Judge", "information", "select", "value_entropy"]

MOST_NUMBERS = 4_000_000
"""Logits that are held at a time while candidates are tried."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a probe says of the words of a split with a subset of units.

    Attributes:
        chosen: Number of the most probable value of each word, [n].
        bits: Sum over the words of the surprisal of the right value, bits.
    """

    chosen: np.ndarray
    bits: float


@dataclass(frozen=True, slots=True)
class Choice:
    """A unit that was selected.

    Attributes:
        unit: Its number.
        bits: Surprisal of the judge's words with it and those before it, bits.
    """

    unit: int
    bits: float


class Judge:
    """A linear probe on the words of a split, with a subset of units that grows.

    Args:
        vectors: [n, D].
        gold: Numbers of the right values, [n].
        weight: [values, D].
        bias: [values].
    """

    def __init__(self, vectors: np.ndarray, gold: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> None:
        self._vectors, self._gold = vectors.astype(np.float64), gold
        self._weight = weight.astype(np.float64)
        self._logits = np.tile(bias.astype(np.float64), (len(vectors), 1))

    def add(self, units: np.ndarray | int) -> None:
        """Take a unit, or several, into the subset."""
        chosen = np.atleast_1d(units)
        self._logits = self._logits + self._vectors[:, chosen] @ self._weight[:, chosen].T

    def answers(self) -> Answers:
        """What the probe says with the subset."""
        bits = _surprisals(self._logits, self._gold).sum()
        return Answers(self._logits.argmax(-1), float(bits))

    def candidates(self) -> np.ndarray:
        """Bits in all with each single unit added to the subset, [D]."""
        n, dimensions = self._vectors.shape
        width = max(1, MOST_NUMBERS // max(1, self._logits.size))
        found = np.empty(dimensions)
        for first in range(0, dimensions, width):
            some = slice(first, first + width)
            added = self._vectors[:, some].T[:, :, None] * self._weight[:, some].T[:, None, :]
            logits = (self._logits + added).reshape(-1, self._logits.shape[1])
            surprisals = _surprisals(logits, np.tile(self._gold, len(added)))
            found[some] = surprisals.reshape(-1, n).sum(-1)
        return found


def select(judge: Judge, count: int) -> list[Choice]:
    """Take units into the judge's subset, each the one that leaves the fewest bits; of equals the first.

    Args:
        judge: A judge whose subset is empty.
        count: Units to take.
    """
    taken: list[Choice] = []
    for _ in range(count):
        bits = judge.candidates()
        bits[[choice.unit for choice in taken]] = np.inf
        best = int(bits.argmin())
        judge.add(best)
        taken.append(Choice(best, float(bits[best])))
    return taken


def value_entropy(counts: np.ndarray) -> float:
    """Entropy of values by their numbers of words, bits a word."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def information(bits: float, counts: np.ndarray) -> float:
    """Normalised mutual information: 1 where the right value is never a surprise, 0 or less where nothing is told.

    Args:
        bits: Surprisal of all words, bits.
        counts: Words of each value, of which there are two or more.
    """
    entropy = value_entropy(counts)
    return (entropy - bits / float(counts.sum())) / entropy


def _surprisals(logits: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """Bits of the right value, [n]."""
    shifted = logits - logits.max(-1, keepdims=True)
    logs = np.log(np.exp(shifted).sum(-1)) - shifted[np.arange(len(gold)), gold]
    return np.asarray(logs / np.log(2))
