"""Estimated times and amounts of money in words; ``?`` for what is not known."""

from __future__ import annotations

__all__ = ["time_words", "usd_words"]


def time_words(seconds: float | None) -> str:
    """``75 s``, ``12 min`` or ``3.5 h``."""
    if seconds is None:
        return "?"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def usd_words(usd: float | None) -> str:
    """``$1.25``."""
    return "?" if usd is None else f"${usd:.2f}"
