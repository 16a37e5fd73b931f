"""A session while it runs: each turn's prompt is the conversation so far, with the answers that really came."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from moecap.backend import Prompt
from moecap.errors import RunError
from moecap.load.answers import Answer
from moecap.load.connection import Reply
from moecap.load.driver import Turn
from moecap.observations.schema import BEARING
from moecap.tokenizer import Tokenizer

__all__ = ["Conversation"]


class Conversation:
    """The turns of one session, or a single request.

    Args:
        prompts: Its prompts; those after the first hold their new tokens only.
        keys: The key of each request.
        render: Makes the request of a prompt.
        decode: Decodes a reply.
        tokenizer: Reads answers of servers that give text and no token ids; ``None`` where there are always ids.

    Attributes:
        sent: The prompt of each turn as it was sent.
        answers: The answers that were decoded on the way, by turn.

    Raises:
        RunError: If there are turns and no tokenizer to follow a server's text with.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        keys: Sequence[str],
        render: Callable[[Prompt, str], bytes],
        decode: Callable[[Reply], Answer],
        tokenizer: Tokenizer | None,
    ) -> None:
        if len(prompts) > 1 and tokenizer is None:
            raise RunError("this backend's engine has no tokenizer, with which turns could follow its answers")
        self._prompts, self._keys, self._render, self._decode = prompts, keys, render, decode
        self._tokenizer = tokenizer
        self.sent: list[Prompt] = [prompts[0]]
        self.answers: list[Answer] = []

    def turns(self) -> tuple[Turn, ...]:
        """The turns for the load generator; the first request is rendered now, so that it waits for nothing."""
        request = self._render(self._prompts[0], self._keys[0])
        first = Turn(self._prompts[0].id, lambda _replies: request)
        return (first, *(Turn(p.id, self._next, p.wait) for p in self._prompts[1:]))

    def _next(self, replies: Sequence[Reply]) -> bytes | None:
        """The next request; nothing after a reply that is no whole answer or has no token."""
        answer = self._decode(replies[-1])
        self.answers.append(answer)
        bears = answer.token_ids or answer.text or any(kind in BEARING for kind in answer.kinds)
        if answer.error is not None or not bears:
            return None
        turn = len(replies)
        before, new = self.sent[-1], self._prompts[turn]
        parts = (*(before.parts or (before.tokens,)), self._said(answer), new.tokens)
        prompt = replace(new, tokens=tuple(token for part in parts for token in part), parts=parts)
        self.sent.append(prompt)
        return self._render(prompt, self._keys[turn])

    def _said(self, answer: Answer) -> tuple[int, ...]:
        if answer.token_ids or self._tokenizer is None:
            return tuple(answer.token_ids)
        return self._tokenizer.encode(answer.text)
