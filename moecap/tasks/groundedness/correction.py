"""The end of a word belongs to the word: probabilities of tokens that begin with white space, corrected.

A tokenizer that puts a space at the beginning of a token says with the next token that a word has ended. With W the
tokens that begin with white space and the end of the text, and c_j the log-probability that token j is in W, each token
in W loses c_j, and the token before it wins it. What a caption loses or wins in all is the c of a first token in W.
(arXiv 2412.10369, as its authors' code does it.)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["corrected"]

Floats = npt.NDArray[np.float64]


def corrected(log_p: Floats, mass: Floats, opens: npt.NDArray[np.bool_], caption: npt.NDArray[np.integer]) -> Floats:
    """Log-probabilities of tokens in which the end of each word is the word's own.

    Args:
        log_p: Log-probability of each token, nats, [tokens]; the tokens of a caption follow each other.
        mass: Log-probability that a token of W stands in its place, nats, [tokens].
        opens: Whether it is one of W, [tokens].
        caption: Its caption, [tokens].

    Returns:
        [tokens].
    """
    moved = np.where(opens, mass, 0.0)
    result: Floats = log_p - moved
    follows = caption[1:] == caption[:-1]
    result[:-1] += np.where(follows, moved[1:], 0.0)
    return result
