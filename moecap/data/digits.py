"""The scanned digits that come with scikit-learn: 1,797 images of 8 x 8 (UCI, optical recognition of digits)."""

from __future__ import annotations

import numpy as np

from moecap.errors import NotAvailableError

__all__ = ["DIGITS_SOURCE", "load_digits"]

DIGITS_SOURCE = "UCI optical recognition of handwritten digits, test set, CC BY 4.0, in the package scikit-learn"


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Images, [1797, 8, 8], 32-bit fractions from 0 to 1, and the digit on each, [1797].

    Raises:
        NotAvailableError: If scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits as load
    except ModuleNotFoundError:
        raise NotAvailableError("scikit-learn is not installed; pip install 'moecap[methods]'") from None
    found = load()
    return found.images.astype(np.float32) / 16, found.target.astype(np.int64)
