"""Prompts of exact lengths, cut from real texts: meaningless tokens would be routed to experts as no text is."""

from __future__ import annotations

from collections.abc import Iterable

from moecap.errors import BadInputError
from moecap.tokenizer import Tokenizer

__all__ = ["Words"]


class Words:
    """Tokens of real texts, in the order of the texts; none is used twice unless there are too few.

    Args:
        tokenizer: The model's tokenizer.
        texts: Texts in the order of their use; used again from the start when they are exhausted.
        run: Mark of the run, which begins each prompt and each block where a cache might hold those of an earlier run;
            empty for none.

    Raises:
        BadInputError: If there is no text.
    """

    def __init__(self, tokenizer: Tokenizer, texts: Iterable[str], run: str = "") -> None:
        self._tokenizer = tokenizer
        self._pool = [text for text in texts if text.strip()]
        if not self._pool:
            raise BadInputError("the data set has no text to make prompts of; give another with --dataset")
        self._run = run
        self._position = 0
        self._blocks: dict[str, tuple[int, ...]] = {}

    def cut(self, length: int) -> tuple[int, ...]:
        """The next ``length`` tokens, from the start of a text on.

        Raises:
            BadInputError: If a text has no token.
        """
        tokens: list[int] = []
        while len(tokens) < length:
            separator = "\n" if tokens else ""
            piece = self._tokenizer.encode(separator + self._pool[self._position % len(self._pool)])
            if not piece:
                raise BadInputError("a text of the data set has no token; give another with --dataset")
            tokens += piece
            self._position += 1
        return tuple(tokens[:length])

    def marked(self, name: str, tokens: tuple[int, ...]) -> tuple[int, ...]:
        """The same number of tokens, which begin with the mark of the run; unchanged where there is none."""
        return (*self.mark(name), *tokens)[: len(tokens)]

    def mark(self, name: str) -> tuple[int, ...]:
        """What tells a prompt from all others of this and other runs; nothing where the run has no mark."""
        return self._tokenizer.encode(f"{name}-{self._run} ") if self._run else ()

    def block(self, name: str, length: int) -> tuple[int, ...]:
        """A block that requests share: the same tokens for the same name, other ones for each other name.

        Args:
            name: Its name.
            length: Its tokens; a block that is asked for again must not be longer than the first time.
        """
        if name not in self._blocks:
            mark = self.mark(name) or self._tokenizer.encode(f"{name} ")
            self._blocks[name] = (*mark, *self.cut(length))[:length]
        return self._blocks[name][:length]
