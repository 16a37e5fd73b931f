"""The state of a page, which is the parameters of its address."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import gradio as gr

__all__ = ["Query", "query_from"]


class Query(Mapping[str, tuple[str, ...]]):
    """The parameters of an address; each may come more than once."""

    def __init__(self, pairs: Mapping[str, tuple[str, ...]]) -> None:
        self._pairs = {name: tuple(map(_kept, values)) for name, values in pairs.items()}

    def __getitem__(self, name: str) -> tuple[str, ...]:
        return self._pairs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    @property
    def pairs(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """All of it, in its order."""
        return tuple(self._pairs.items())

    def first(self, name: str, default: str = "") -> str:
        """The first value of a parameter, or the default where it is not there or empty."""
        values = self._pairs.get(name, ())
        return values[0] if values and values[0] else default

    def every(self, name: str) -> tuple[str, ...]:
        """All values of a parameter that are not empty."""
        return tuple(value for value in self._pairs.get(name, ()) if value)


def _kept(text: str) -> str:
    """A text that every database takes: what stands for no character is a question mark, which matches nothing."""
    return text.replace("\0", "?").encode("utf-8", "replace").decode()


def query_from(request: gr.Request) -> Query:
    """The parameters of the address of the page that a browser has open."""
    given = request.query_params
    return Query({name: tuple(given.getlist(name)) for name in given})
