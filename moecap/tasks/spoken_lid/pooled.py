"""Logistic regression on statistics of an utterance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from moecap.errors import NotAvailableError
from moecap.tasks.spoken_lid.features import normalised, statistics_of
from moecap.tasks.spoken_lid.utterances import Utterance

__all__ = ["PooledClassifier"]

STRENGTH = 0.05
"""C, the inverse of the penalty's weight."""

DIGITS = 4
"""Decimal digits of statistics of normalised cepstra: a mean of 0 or a deviation of 1 has rounding errors in later
ones, which standardising would make as large as what tells languages apart."""


class PooledClassifier:
    """Standardised statistics, then multinomial logistic regression with an L2 penalty.

    Args:
        normalises: Whether the cepstra of each utterance are normalised first.
    """

    def __init__(self, normalises: bool) -> None:
        self._normalises = normalises
        self._model: Any = None

    def fit(self, utterances: Sequence[Utterance]) -> int:
        """Fit the regression, and return how many numbers it has.

        Raises:
            NotAvailableError: If scikit-learn is not installed.
        """
        try:
            from sklearn.linear_model import LogisticRegression
            from sklearn.pipeline import make_pipeline
            from sklearn.preprocessing import StandardScaler
        except ModuleNotFoundError:
            raise NotAvailableError("scikit-learn is not installed; pip install 'moecap[methods]'") from None
        self._model = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=2000))
        self._model.fit(self._statistics(utterances), [utterance.language for utterance in utterances])
        regression = self._model[-1]
        return int(regression.coef_.size + regression.intercept_.size)

    def answer(self, utterances: Sequence[Utterance]) -> list[str]:
        """The language of each."""
        return [str(language) for language in self._model.predict(self._statistics(utterances))]

    def _statistics(self, utterances: Sequence[Utterance]) -> np.ndarray:
        if not self._normalises:
            return np.stack([statistics_of(utterance.cepstra) for utterance in utterances]).astype(np.float64)
        found = np.stack([statistics_of(normalised(utterance.cepstra)) for utterance in utterances])
        return found.astype(np.float64).round(DIGITS)
