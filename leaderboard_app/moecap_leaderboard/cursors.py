"""Where a page ended, as a text that clients hand back and do not read."""

from __future__ import annotations

import base64
import json
from typing import Any

from moecap_leaderboard.problems import ProblemError

__all__ = ["decoded", "encoded", "time_and_id"]


def encoded(*parts: str | int | float) -> str:
    """A cursor."""
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def decoded(cursor: str) -> list[Any]:
    """The parts of a cursor.

    Raises:
        ProblemError: If it is none.
    """
    try:
        parts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if isinstance(parts, list):
            return parts
    except (ValueError, RecursionError):
        pass
    raise ProblemError("bad-request", "the cursor is none of this list; start again without it")


def time_and_id(cursor: str) -> tuple[int, str]:
    """The parts of a cursor of a list that is in the order of time.

    Raises:
        ProblemError: If it is none.
    """
    parts = decoded(cursor)
    if len(parts) != 2 or type(parts[0]) is not int or not isinstance(parts[1], str) or abs(parts[0]) >= 2**63:
        raise ProblemError("bad-request", "the cursor is none of this list; start again without it")
    return parts[0], parts[1]
