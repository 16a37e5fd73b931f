"""Answers of question answering and summaries: exact match and F1 of words, and ROUGE-L."""

from __future__ import annotations

import re
import string
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

from moecap.errors import NotAvailableError

__all__ = ["exact_match", "f1", "f1_of_words", "normalised", "require_rouge", "rouge_l"]

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """Lower case, no punctuation, no articles, single blanks (Rajpurkar et al. 2016, SQuAD's evaluation)."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, golds: Sequence[str]) -> int:
    """1 if the normalised answer is one of the right ones, else 0."""
    return int(any(normalised(answer) == normalised(gold) for gold in golds))


def f1(answer: str, gold: str) -> float:
    """Harmonic mean of precision and recall of normalised words; 0 where either has none."""
    return f1_of_words(normalised(answer).split(), normalised(gold).split())


def f1_of_words(words: Sequence[str], right: Sequence[str]) -> float:
    """Harmonic mean of precision and recall of words; 0 where none is right."""
    common = (Counter(words) & Counter(right)).total()
    return 2 * common / (len(words) + len(right)) if common else 0.0


def rouge_l(answer: str, gold: str) -> float:
    """ROUGE-L F1 (Lin 2004) as the library ``rouge`` counts it, with which LongBench is scored; 0 for an empty answer.

    It keeps case and joins the matches of sentences, so that it is another measure than that of rouge-score.

    Raises:
        NotAvailableError: If the library is not installed.
    """
    require_rouge()
    from rouge import Rouge

    if not answer.strip(". \n\t") or not gold.strip(". \n\t"):
        return 0.0
    with _deep_recursion():
        try:
            scores = Rouge(metrics=["rouge-l"]).get_scores([answer], [gold], avg=True)
        except RecursionError:
            return 0.0
    return float(scores["rouge-l"]["f"])


@contextmanager
def _deep_recursion() -> Iterator[None]:
    """Room for the library, which recurses once a word of two sentences; LongBench takes an overflow as 0."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, 10_000))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def require_rouge() -> None:
    """Refuse where the library is not installed.

    Raises:
        NotAvailableError: With the command that installs it.
    """
    if find_spec("rouge") is None:
        raise NotAvailableError(
            "summaries are compared by the library rouge, which is not installed; pip install 'moecap[eval]'"
        )
