"""Words of an attribute in three splits, of which no two share a lemma."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moecap.tasks.neuron_probe.words import Word

__all__ = ["SPLITS", "Cell", "cell_of", "splits_by_lemma"]

SPLITS = ("train", "dev", "test")
SHARES = (0.8, 0.1, 0.1)
"""Shares of the lemmas."""


@dataclass(frozen=True, slots=True)
class Cell:
    """The words of one attribute in one language.

    Attributes:
        language: Code of the language.
        attribute: Name of the attribute.
        values: Its values that have enough words, ascending.
        rows: Numbers of the words of each split, by its name.
        gold: Number of each word's value, by the name of the split, in the order of ``rows``.
    """

    language: str
    attribute: str
    values: tuple[str, ...]
    rows: Mapping[str, np.ndarray]
    gold: Mapping[str, np.ndarray]

    def counts(self, split: str) -> np.ndarray:
        """Words of each value in a split, [values]."""
        return np.bincount(self.gold[split], minlength=len(self.values))


def splits_by_lemma(words: Sequence[Word], seed: int) -> np.ndarray:
    """Number of each word's split, [words]; all words of a lemma are in one.

    Args:
        words: Words of one language.
        seed: Draws which lemmas.
    """
    lemmas = sorted({word.lemma for word in words})
    order = np.random.default_rng(seed).permutation(len(lemmas))
    bounds = np.round(np.cumsum(SHARES) * len(lemmas)).astype(int)
    of_lemma = {lemmas[lemma]: int(np.searchsorted(bounds, place, "right")) for place, lemma in enumerate(order)}
    return np.array([of_lemma[word.lemma] for word in words], np.int64)


def cell_of(words: Sequence[Word], rows: Sequence[int], splits: np.ndarray, attribute: str, least: int) -> Cell | str:
    """The words of an attribute, or why there is no such cell.

    Args:
        words: All words.
        rows: Numbers of those of one language.
        splits: Number of the split of each of these, in their order.
        attribute: Name of the attribute.
        least: Words that a value needs in each split.
    """
    having = [(row, int(split)) for row, split in zip(rows, splits, strict=True) if attribute in words[row].attributes]
    counts = [Counter(words[row].attributes[attribute] for row, of in having if of == split) for split in range(3)]
    values = tuple(sorted(value for value in counts[0] if min(count[value] for count in counts) >= least))
    if len(values) < 2:
        several = f"{len(values)} value has" if len(values) == 1 else "no value has"
        return f"{several} {least} words in each split; two are needed"
    number = {value: place for place, value in enumerate(values)}
    kept = [
        (row, of, number[words[row].attributes[attribute]])
        for row, of in having
        if words[row].attributes[attribute] in number
    ]
    by_split = {name: [(row, value) for row, of, value in kept if of == split] for split, name in enumerate(SPLITS)}
    return Cell(
        words[rows[0]].language,
        attribute,
        values,
        {name: np.array([row for row, _ in pairs], np.int64) for name, pairs in by_split.items()},
        {name: np.array([value for _, value in pairs], np.int64) for name, pairs in by_split.items()},
    )
