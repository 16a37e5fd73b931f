"""Prompts without words, for loads of which only lengths and shared parts matter: no text or tokenizer is needed."""

from __future__ import annotations

__all__ = ["BlankWords"]


class BlankWords:
    """Takes the place of :class:`moecap.data.words.Words`; its tokens are numbers that say what is shared.

    All tokens of one piece are the same number: two prompts begin alike exactly where they begin with the same blocks.

    Args:
        shared: Whether it matters what prompts share; else all tokens are 0 and pieces of one length are one object.
    """

    def __init__(self, shared: bool) -> None:
        self._shared = shared
        self._pieces = 0
        self._alike: dict[int, tuple[int, ...]] = {}
        self._blocks: dict[str, tuple[int, ...]] = {}

    def cut(self, length: int) -> tuple[int, ...]:
        """A piece of this length that no other prompt has."""
        if self._shared:
            self._pieces += 1
            return (self._pieces,) * length
        if length not in self._alike:
            self._alike[length] = (0,) * length
        return self._alike[length]

    def marked(self, name: str, tokens: tuple[int, ...]) -> tuple[int, ...]:
        """The tokens as they are: there is no cache of an earlier run from which a mark would have to tell them."""
        return tokens

    def mark(self, name: str) -> tuple[int, ...]:
        """No mark."""
        return ()

    def block(self, name: str, length: int) -> tuple[int, ...]:
        """A block that requests share: the same tokens for the same name."""
        if name not in self._blocks:
            self._blocks[name] = self.cut(length)
        return self._blocks[name][:length]
