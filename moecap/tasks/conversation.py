"""A conversation that the model's context does not hold, cut so that it still is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from moecap.errors import BadInputError
from moecap.tokenizer import Message, Tokenizer

__all__ = ["fitted"]


def fitted(
    messages: Sequence[Message],
    room: int,
    tokenizer: Tokenizer,
    cut: Callable[[tuple[int, ...], int], tuple[int, ...]],
) -> tuple[Message, ...]:
    """A conversation within ``room`` tokens: solved examples go, the earliest first, then a part of the question.

    Args:
        messages: Solved examples, each of a user's and the model's message, and the question.
        room: Most tokens, what the model's chat template adds included.
        tokenizer: The model's tokenizer.
        cut: Cuts the tokens of the question to a number of them.

    Raises:
        BadInputError: If what the template adds leaves no room for a question.
    """
    told = tuple(messages)
    over = _excess(told, room, tokenizer)
    while over > 0 and len(told) > 2:
        told = told[2:]
        over = _excess(told, room, tokenizer)
    *before, (role, content) = told
    whole = tokenizer.encode(content)
    kept = len(whole)
    while over > 0:
        kept -= over
        if kept < 1:
            raise BadInputError(
                f"the model's chat template leaves no room for a question in {room} tokens; shorten the answers with "
                "--task-arg max_tokens=N, or take chat=false"
            )
        told = (*before, (role, tokenizer.decode(cut(whole, kept))))
        over = _excess(told, room, tokenizer)
    return told


def _excess(messages: Sequence[Message], room: int, tokenizer: Tokenizer) -> int:
    """Tokens of a conversation beyond ``room``."""
    return len(tokenizer.encode(tokenizer.chat(messages))) - room
