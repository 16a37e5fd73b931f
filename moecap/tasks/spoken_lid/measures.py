"""Measures of answers that name one language each: counts, F1, and families; an answer without a language is wrong.

Shapes: n utterances, L languages that can be answered.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moecap.data.languages import LANGUAGES

__all__ = ["confusion", "family_of", "macro_f1", "micro_f1", "precision_recall_f1", "right_families"]


def confusion(gold: Sequence[int], found: Sequence[int], languages: int) -> np.ndarray:
    """How many utterances of each language got each answer, [L, L + 1]; the last column counts those that name none.

    Args:
        gold: Place of the true language of each utterance, [n].
        found: Place of the answered one, [n]; -1 for none.
        languages: L.
    """
    counts = np.zeros((languages, languages + 1), dtype=np.int64)
    np.add.at(counts, (np.asarray(gold, dtype=int), np.asarray(found, dtype=int)), 1)
    return counts


def precision_recall_f1(counts: np.ndarray) -> np.ndarray:
    """Precision, recall and F1 of each language, [3, L]; 0 where there is nothing to divide by.

    Args:
        counts: From ``confusion``, [L, L + 1].
    """
    right = np.diagonal(counts).astype(np.float64)
    answered, true = counts.sum(0)[:-1], counts.sum(1)
    return np.stack([_ratio(right, answered), _ratio(right, true), _ratio(2 * right, answered + true)])


def macro_f1(counts: np.ndarray) -> float:
    """Mean of F1 over all languages, also over one that was never answered, whose F1 is 0."""
    return float(precision_recall_f1(counts)[2].mean())


def micro_f1(counts: np.ndarray) -> float:
    """F1 of the sums over all classes, that of answers without a language among them: 2 right / (answered + true).

    Every utterance has one answer and one true language, so that it is the accuracy.
    """
    answered, true = counts.sum(0).sum(), counts.sum(1).sum()
    return float(2 * np.trace(counts) / (answered + true))


def right_families(gold: Sequence[str], found: Sequence[str]) -> np.ndarray:
    """Whether each answer is of the family of the true language, [n].

    Args:
        gold: Codes of the true languages, [n].
        found: Codes of the answers, [n]; an empty one is of no family.
    """
    return np.array([bool(b) and family_of(a) == family_of(b) for a, b in zip(gold, found, strict=True)])


def family_of(code: str) -> str:
    """The family of a language; one that is not known here is its own."""
    return LANGUAGES[code].family if code in LANGUAGES else code


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.where(whole > 0, part / np.maximum(whole, 1), 0.0)
    return found
