"""Pairs of languages that were probed for the same attribute with the same split's seed, and what they share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from moecap.tasks.neuron_probe.genera import genus_of
from moecap.tasks.neuron_probe.overlap import holm, overlap, probability_of_sharing

__all__ = ["LEVEL", "Pair", "Selected", "pairs_of"]

LEVEL = 0.05
"""Level of the test of all pairs of an attribute together."""


@dataclass(frozen=True, slots=True)
class Selected:
    """The units that were selected for an attribute of a language.

    Attributes:
        language: Code of the language.
        attribute: Name of the attribute.
        seed: Seed of the split.
        units: Their numbers.
    """

    language: str
    attribute: str
    seed: int
    units: frozenset[int]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two languages.

    Attributes:
        attribute: Name of the attribute.
        seed: Seed of the split.
        languages: Codes of the two, ascending.
        shared: Units that both selected.
        overlap: Share of the smaller of the two selections.
        probability: That random selections share as many or more.
        adjusted: The same by Holm's correction over the pairs of this attribute and seed.
    """

    attribute: str
    seed: int
    languages: tuple[str, str]
    shared: int
    overlap: float
    probability: float
    adjusted: float

    @property
    def significant(self) -> bool:
        """Whether random selections are rejected at the level of 0.05."""
        return self.adjusted <= LEVEL

    @property
    def same_genus(self) -> bool | None:
        """Whether the two are of one genus; ``None`` where that is not known."""
        one, other = (genus_of(language) for language in self.languages)
        return None if one is None or other is None else one == other


def pairs_of(selections: Iterable[Selected], units: int) -> list[Pair]:
    """All pairs, by attribute and seed in the order in which these come.

    Args:
        selections: The selections.
        units: Units in all.
    """
    families: dict[tuple[str, int], list[Selected]] = {}
    for selection in selections:
        families.setdefault((selection.attribute, selection.seed), []).append(selection)
    return [pair for family in families.values() for pair in _pairs(family, units)]


def _pairs(family: Sequence[Selected], units: int) -> list[Pair]:
    both = list(combinations(sorted(family, key=lambda of: of.language), 2))
    shared = [len(one.units & other.units) for one, other in both]
    probabilities = [
        probability_of_sharing(n, units, len(one.units), len(other.units))
        for n, (one, other) in zip(shared, both, strict=True)
    ]
    return [
        Pair(one.attribute, one.seed, (one.language, other.language), n, overlap(one.units, other.units), p, adjusted)
        for (one, other), n, p, adjusted in zip(both, shared, probabilities, holm(probabilities), strict=True)
    ]
