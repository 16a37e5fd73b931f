"""Expected calibration error: how far confidence is from the share that is right."""

from __future__ import annotations

import numpy as np

__all__ = ["BINS", "expected_calibration_error", "reliability"]

BINS = 10


def reliability(shares: np.ndarray, gold: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidence, share right and number of items in each of ten equal bins of confidence, each [C, bins].

    Confidence is the share of the likeliest value. A bin holds its upper border and not its lower one; an empty bin has
    zeros.

    Args:
        shares: Probability of each value, [items, C, V].
        gold: The true values, [items, C].
    """
    sure, right = shares.max(-1), shares.argmax(-1) == gold
    bins = np.clip(np.ceil(np.round(sure * BINS, 9)).astype(int) - 1, 0, BINS - 1)
    inside = bins[:, :, None] == np.arange(BINS)
    n = inside.sum(0)
    some = np.maximum(n, 1)
    confidence: np.ndarray = (sure[:, :, None] * inside).sum(0) / some
    share_right: np.ndarray = (right[:, :, None] * inside).sum(0) / some
    return confidence, share_right, n


def expected_calibration_error(shares: np.ndarray, gold: np.ndarray) -> float:
    """Mean over concepts of the sum over bins of the items' share times |right - confidence|.

    Args:
        shares: Probability of each value, [items, C, V].
        gold: The true values, [items, C].
    """
    confidence, right, n = reliability(shares, gold)
    of_concept = (n / len(gold) * abs(right - confidence)).sum(-1)
    return float(of_concept.mean())
