"""The family that a model's name gives: what the filters group by, and nothing that is computed rests on."""

from __future__ import annotations

import re

__all__ = ["LONGEST", "family_of"]

LONGEST = 60
"""Characters of the longest family."""

_DIGIT = re.compile(r"\d")


def family_of(model: str) -> str:
    """The words of a model's name before the first that holds a digit, in small letters.

    A first word with a digit in it is cut there: ``Qwen/Qwen3-30B-A3B`` is ``qwen``, ``gpt-oss-120b`` is ``gpt-oss``.

    Args:
        model: Id or name of a model.
    """
    first, *others = model.rpartition("/")[2].lower().split("-")
    words = [_DIGIT.split(first)[0]]
    if words[0] == first:
        for word in others:
            if _DIGIT.search(word):
                break
            words.append(word)
    return ("-".join(words).rstrip("_.-") or first)[:LONGEST]
