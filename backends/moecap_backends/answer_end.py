"""Where an answer of an engine in process ends: at the model's end of sequence, at a stop text, or at its length."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from moecap.backend import Prompt
from moecap.tokenizer import Tokenizer

__all__ = ["AnswerEnd", "end_tokens"]

TAIL = 32
"""Fewest tokens at the end of an answer in which a stop text is looked for."""


class AnswerEnd:
    """Tells whether an answer has ended with its last token, and why.

    Args:
        folder: The checkpoint, whose tokenizer reads answers that may end at a text.
        end_tokens: Tokens with which the model ends an answer.
    """

    def __init__(self, folder: Path, end_tokens: Iterable[int]) -> None:
        self._folder = folder
        self.tokens = frozenset(end_tokens)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return Tokenizer(self._folder)

    def reason(self, prompt: Prompt, answer: Sequence[int]) -> str | None:
        """Why an answer has ended.

        Args:
            prompt: What is answered.
            answer: Token ids so far, the last one new.

        Returns:
            ``stop`` for the model's end or a stop text, ``length`` for the most tokens, ``None`` where it goes on.
        """
        sampling = prompt.sampling
        if not sampling.exact and answer[-1] in self.tokens:
            return "stop"
        if sampling.stop and self._stops(answer, sampling.stop):
            return "stop"
        return "length" if len(answer) >= prompt.output_tokens else None

    def _stops(self, answer: Sequence[int], texts: Sequence[str]) -> bool:
        """Whether the text has come to a stop text, which may be part of one token or made of several."""
        longest = max(len(text.encode()) for text in texts)  # a token that is seen in the text holds a byte at least
        tail = self._tokenizer.decode(answer[-max(TAIL, 2 * longest) :])
        return any(text in tail for text in texts)


def end_tokens(model: object) -> tuple[int, ...]:
    """The tokens with which a model of transformers ends an answer, by its generation's configuration or its own."""
    for name in ("generation_config", "config"):
        found = getattr(getattr(model, name, None), "eos_token_id", None)
        if found is not None:
            return tuple(found) if isinstance(found, list | tuple) else (int(found),)
    return ()
