"""Service levels as a user writes them: ``ttft=2s,tpot=80ms``."""

from __future__ import annotations

import re

from moecap.errors import BadInputError, UnknownNameError

__all__ = ["LEVELS", "read_seconds", "read_service_levels"]

LEVELS = ("ttft", "tpot", "itl")
"""Times that a level can bound: to the first token, for each further one, between tokens."""

_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


def read_service_levels(text: str | None) -> dict[str, float]:
    """The most seconds of each time that is bounded.

    Args:
        text: ``NAME=TIME`` joined by commas, with the unit s, ms or us; ``None`` bounds nothing.

    Raises:
        UnknownNameError: If a name is not one of :data:`LEVELS`.
        BadInputError: If a part is not of that form, or a name comes twice.
    """
    levels: dict[str, float] = {}
    for part in (text or "").split(","):
        if not part.strip():
            continue
        name, _, value = part.strip().partition("=")
        if name not in LEVELS:
            raise UnknownNameError("service level", name, LEVELS)
        if name in levels:
            raise BadInputError(f"service level {name} is given twice; give it once")
        levels[name] = read_seconds(part.strip(), name, value)
    return levels


def read_seconds(part: str, name: str, value: str) -> float:
    """The seconds of a time that bounds a level.

    Args:
        part: The whole of it, as it was written.
        name: The name in it.
        value: The time in it.

    Raises:
        BadInputError: If that is no time above 0 with its unit.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|ms|us)", value.strip())
    if found is None or float(found[1]) == 0:
        raise BadInputError(f"service level {part!r}: give a time above 0 with its unit, such as {name}=80ms")
    return float(found[1]) * _UNITS[found[2]]
