"""Addresses of pages with their state."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

__all__ = ["page_url", "result_url"]


def page_url(path: str, **state: str | Sequence[str]) -> str:
    """The address of a page; an empty value is left out.

    Args:
        path: Its path.
        **state: Its parameters; a sequence is a parameter that comes more than once.
    """
    given = {name: value for name, value in state.items() if value}
    query = urlencode(given, doseq=True)
    return f"{path}?{query}" if query else path


def result_url(identifier: str) -> str:
    """The page of a result."""
    return page_url("/result", id=identifier)
