"""Chinese answers, whose words the library jieba finds: F1 of words and ROUGE-L, as LongBench counts them."""

from __future__ import annotations

import logging
import string
import warnings
from functools import cache
from importlib.util import find_spec
from typing import Any

from moecap.data.cache import cache_root
from moecap.errors import NotAvailableError
from moecap.tasks.answers.overlap import f1_of_words, rouge_l

__all__ = ["chinese_f1", "chinese_rouge_l", "require_jieba"]

_MARKS = (
    (0x2013, 0x2014), (0x2018, 0x2019), (0x201B, 0x201F), (0x2026, 0x2027), (0x3001, 0x3003), (0x300B, 0x3011),
    (0x3014, 0x301F), (0x3030, 0x3030), (0x303E, 0x303F), (0xFE4F, 0xFE4F), (0xFF01, 0xFF0D), (0xFF0F, 0xFF0F),
    (0xFF1A, 0xFF20), (0xFF3B, 0xFF40), (0xFF5B, 0xFF64),
)  # fmt: skip
"""First and last code points of the marks that are no part of a word, as LongBench takes them beside those of ASCII."""

_PUNCTUATION = str.maketrans(
    dict.fromkeys([*map(ord, string.punctuation), *(mark for a, b in _MARKS for mark in range(a, b + 1))])
)


def chinese_f1(answer: str, gold: str) -> float:
    """Harmonic mean of precision and recall of words in lower case, without marks and blanks.

    Raises:
        NotAvailableError: If jieba is not installed.
    """
    return f1_of_words(_bare_words(answer), _bare_words(gold))


def chinese_rouge_l(answer: str, gold: str) -> float:
    """ROUGE-L F1 of words, as the library ``rouge`` counts it.

    Raises:
        NotAvailableError: If jieba or rouge is not installed.
    """
    return rouge_l(" ".join(_words(answer)), " ".join(_words(gold)))


def require_jieba() -> None:
    """Refuse where the library is not installed.

    Raises:
        NotAvailableError: With the command that installs it.
    """
    if find_spec("jieba") is None:
        raise NotAvailableError(
            "words of Chinese texts are found by the library jieba, which is not installed; pip install 'moecap[eval]'"
        )


def _words(text: str) -> list[str]:
    return list(_segmenter().cut(text))


def _bare_words(text: str) -> list[str]:
    bare = ("".join(word.lower().translate(_PUNCTUATION).split()) for word in _words(text))
    return [word for word in bare if word]


@cache
def _segmenter() -> Any:
    """The library's own segmentation, whose dictionary it keeps in moecap's cache and not in a folder of all users."""
    require_jieba()
    with warnings.catch_warnings():  # its import is older than today's setuptools and Python
        warnings.simplefilter("ignore")
        import jieba
    jieba.setLogLevel(logging.WARNING)
    segmenter = jieba.Tokenizer()
    folder = cache_root() / "jieba"
    folder.mkdir(exist_ok=True)
    segmenter.tmp_dir = str(folder)
    return segmenter
