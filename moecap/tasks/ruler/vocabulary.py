"""English words for RULER's prompts, from the package ``wonderwords`` (MIT), as RULER itself takes them."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from moecap.errors import NotAvailableError

__all__ = ["english_words", "require_words"]


def english_words(kind: Literal["nouns", "adjectives", "verbs"]) -> list[str]:
    """The words of one kind, sorted, each once.

    Raises:
        NotAvailableError: If the package is not installed.
    """
    require_words()
    from wonderwords import RandomWord

    by_kind = {"nouns": "noun", "adjectives": "adjective", "verbs": "verb"}
    return sorted(set(RandomWord().filter(include_categories=[by_kind[kind]])))


def require_words() -> None:
    """Refuse where the package is not installed.

    Raises:
        NotAvailableError: With the command that installs it.
    """
    if find_spec("wonderwords") is None:
        raise NotAvailableError(
            "RULER's words are of the package wonderwords, which is not installed; pip install 'moecap[eval]'"
        )
