"""The load of a simulation: how long requests are, when they come, which follow one another, and what they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from moecap.errors import BadInputError

__all__ = ["Requests"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Requests:
    """The load: a fixed number of requests or sessions in flight, or arrivals at their own times.

    Attributes:
        input_tokens: Tokens of each prompt, of a later turn of a session those that it adds, int64 [R].
        output_tokens: Tokens of each answer, at least 1, int64 [R].
        arrivals: Seconds at which each session is sent, ascending, float64 [S]; ``None`` for a closed loop. A single
            request is a session of one turn.
        concurrency: Sessions in flight of a closed loop.
        sessions: Number of each request's session: 0, 1 and so on, the turns of one after the other, int64 [R];
            ``None`` where each request is its own.
        waits: Seconds between the answer before and each turn, float64 [R]; ``None`` for none.
        tokens: The new tokens of each prompt, by which the engine's prefix cache tells what they share; ``None`` where
            it has no such cache, [R].
        block_tokens: Tokens of a block of the cache, the unit in which prefixes are shared.
    """

    input_tokens: Ints
    output_tokens: Ints
    arrivals: Floats | None = None
    concurrency: int = 1
    sessions: Ints | None = None
    waits: Floats | None = None
    tokens: Sequence[Sequence[int]] | None = None
    block_tokens: int = 16

    def __post_init__(self) -> None:
        """Check the lengths.

        Raises:
            BadInputError: If there is no request, one without a prompt or an answer, arrivals do not ascend, or the
                turns of a session do not stand together.
        """
        count = len(self.input_tokens)
        columns = (self.output_tokens, self.sessions, self.waits, self.tokens)
        if not count or any(column is not None and len(column) != count for column in columns):
            raise BadInputError("a load needs requests, with as many lengths, sessions and waits; give some")
        if min(self.input_tokens.min(), self.output_tokens.min()) < 1:
            raise BadInputError("a load needs requests with at least one token in and one out each; give some")
        if self.sessions is not None and (self.sessions[0] != 0 or not np.isin(np.diff(self.sessions), (0, 1)).all()):
            raise BadInputError("sessions are not numbered 0, 1 and so on, turn after turn; sort them")
        if self.arrivals is not None:
            if len(self.arrivals) != len(self.firsts):
                raise BadInputError("a load needs one time of arrival a session; give as many")
            if np.any(np.diff(self.arrivals) < 0):
                raise BadInputError("arrivals do not ascend; sort them")

    @cached_property
    def firsts(self) -> Ints:
        """The first request of each session, int64 [S]."""
        if self.sessions is None:
            return np.arange(len(self.input_tokens))
        return np.flatnonzero(np.diff(self.sessions, prepend=-1))

    @cached_property
    def turns(self) -> Ints:
        """The number of each request's turn in its session, from 0, int64 [R]."""
        number = np.arange(len(self.input_tokens))
        return number - (self.firsts if self.sessions is None else self.firsts[self.sessions])

    @cached_property
    def prompts(self) -> Ints:
        """Tokens of each whole prompt, with the conversation before it, int64 [R]."""
        both = self.input_tokens + self.output_tokens
        before = np.cumsum(both) - both
        number = np.arange(len(both)) - self.turns
        return np.asarray(self.input_tokens + before - before[number], np.int64)
