"""What a data set says of a load: sessions of turns, with words or with numbers of tokens, and the times of a trace."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RecordedSession", "RecordedTurn", "Recording"]


@dataclass(frozen=True, slots=True)
class RecordedTurn:
    """One request of a recorded session.

    Attributes:
        input_tokens: Tokens that it adds to the conversation; ``None`` where ``text`` decides.
        output_tokens: Tokens of the answer; ``None`` where ``answer`` decides, or nothing does.
        text: What was asked.
        answer: What was answered.
        wait: Seconds between the answer before and this turn, such as the time of a tool.
        blocks: Ids of the blocks of the prompt, each of ``Recording.block_tokens`` tokens, the last one cut: requests
            that have an id in the same place share these tokens.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    text: str | None = None
    answer: str | None = None
    wait: float | None = None
    blocks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordedSession:
    """A conversation, or a single request.

    Attributes:
        where: Where it stands in its file, for messages: ``line 3``.
        turns: At least one.
        at: When it arrived, in seconds of the trace's own clock.
    """

    where: str
    turns: tuple[RecordedTurn, ...]
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """A data set as a load.

    Attributes:
        format: ``texts``, ``prompts``, ``sharegpt``, ``mooncake``, ``azure``, ``burstgpt`` or ``sessions``.
        sessions: In the order in which they are used.
        block_tokens: Tokens of a block; 0 where the format has none.
        sha256: Digest of the file; ``None`` for a data set that moecap knows by name.
    """

    format: str
    sessions: tuple[RecordedSession, ...]
    block_tokens: int = 0
    sha256: str | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """Everything that was asked in words, from which prompts of any length can be cut."""
        return tuple(turn.text for session in self.sessions for turn in session.turns if turn.text)

    @property
    def has_lengths(self) -> bool:
        """Whether the data set itself says how long requests are, in tokens or by conversations."""
        return self.format not in ("texts", "prompts")

    @property
    def has_times(self) -> bool:
        """Whether it says when each session arrived."""
        return bool(self.sessions) and all(session.at is not None for session in self.sessions)
