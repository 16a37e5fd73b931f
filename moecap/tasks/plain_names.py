"""Names that data gives (languages, domains, attributes) as parts of metrics' names, no two of them alike."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable

__all__ = ["plain_names"]

_DIGITS = 8
"""Hexadecimal digits of a name's SHA-256 that tell it from others."""


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """Each name in small letters, digits and underscores.

    What would be alike (``News`` and ``news``), or has none of these characters, ends with digits of its SHA-256, which
    do not depend on the order of the names.

    Args:
        names: The names.
    """
    plain = {
        name: "".join(c if c.isascii() and c.isalnum() else "_" for c in name.lower()) for name in dict.fromkeys(names)
    }
    count = Counter(plain.values())
    return {
        name: short if count[short] == 1 and (short.strip("_") or not name) else f"{short.strip('_')}_{_digest(name)}"
        for name, short in plain.items()
    }


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:_DIGITS]
