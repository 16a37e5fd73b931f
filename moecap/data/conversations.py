"""Data sets with words or turns: prompts, ShareGPT's conversations, and sessions of agents.

- Prompts: JSONL, a text ``prompt`` on every line, and if wanted ``output_tokens``, the tokens of its answer.
- ShareGPT: a JSON array (or JSONL) of ``{"conversations": [{"from": "human" | "gpt" | ..., "value": text}, ...]}``.
- Sessions of agents, a format of moecap's own: JSONL, one session a line,
  ``{"session": name, "start": seconds, "turns": [{"input_tokens": n, "output_tokens": m, "tool_seconds": s}, ...]}``.
  ``input_tokens`` are those that the turn adds (the first one's: the whole prompt); ``tool_seconds``, 0 by default, is
  the time between the answer before and this turn; ``start`` may be left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import msgspec

from moecap.data.recording import RecordedSession, RecordedTurn
from moecap.errors import BadInputError

__all__ = ["read_prompts", "read_sessions", "read_sharegpt"]

Lines = Iterable[tuple[int, str]]

USER = frozenset({"human", "user"})
ENGINE = frozenset({"gpt", "assistant", "chatgpt", "bing", "bard"})
"""Who speaks in the published conversations; a ``system`` text goes before the first question, others are left out."""

LONGEST_WAIT = 86_400
"""Seconds of the longest wait between two turns, as of ``turn_wait``."""


class _Prompt(msgspec.Struct):
    prompt: str
    output_tokens: int | None = None


class _Message(msgspec.Struct):
    speaker: str = msgspec.field(name="from")
    value: str


class _Conversation(msgspec.Struct):
    conversations: list[_Message]


class _AgentTurn(msgspec.Struct, forbid_unknown_fields=True):
    input_tokens: int
    output_tokens: int
    tool_seconds: float = 0.0


class _AgentSession(msgspec.Struct, forbid_unknown_fields=True):
    session: str | int
    turns: list[_AgentTurn]
    start: float | None = None


def read_prompts(name: str, lines: Lines) -> Iterator[RecordedSession]:
    """Prompts, one a line.

    Args:
        name: The file, for messages.
        lines: Its lines with their numbers.

    Raises:
        BadInputError: If a line does not fit, with its number.
    """
    decoder = msgspec.json.Decoder(_Prompt)
    for number, line in lines:
        try:
            row = decoder.decode(line)
        except msgspec.ValidationError as error:
            known = "prompt" not in str(error)
            raise BadInputError(
                f"{name} line {number}: {error if known else 'no text field named ' + repr('prompt')}"
            ) from None
        except msgspec.DecodeError:
            raise BadInputError(f"{name} line {number}: not JSON") from None
        if row.output_tokens is not None and row.output_tokens < 1:
            raise BadInputError(f"{name} line {number}: output_tokens {row.output_tokens}; an answer has at least 1")
        yield RecordedSession(f"line {number}", (RecordedTurn(text=row.prompt, output_tokens=row.output_tokens),))


def read_sharegpt(name: str, entries: Iterable[tuple[str, bytes]]) -> Iterator[RecordedSession]:
    """Conversations with at least one question and its answer; one that the engine begins starts at the first question.

    Args:
        name: The file, for messages.
        entries: The JSON of each conversation, with its place in the file.

    Raises:
        BadInputError: If a conversation does not fit, with its place.
    """
    decoder = msgspec.json.Decoder(_Conversation)
    for where, entry in entries:
        try:
            found = decoder.decode(entry)
        except msgspec.DecodeError as error:
            raise BadInputError(f"{name} {where}: not a conversation of ShareGPT ({error}); mend it") from None
        turns = tuple(_pairs(found.conversations))
        if turns:
            yield RecordedSession(where, turns)


def _pairs(messages: list[_Message]) -> Iterator[RecordedTurn]:
    """Each question with its answer; what nobody answered is left out."""
    asked: list[str] = []
    answered: list[str] = []
    user_has_spoken = False
    for message in messages:
        if message.speaker in ENGINE:
            if user_has_spoken:
                answered.append(message.value)
        elif message.speaker in USER or (message.speaker == "system" and not user_has_spoken):
            if answered:
                yield from _pair(asked, answered)
                asked, answered = [], []
            asked.append(message.value)
            user_has_spoken = user_has_spoken or message.speaker in USER
    yield from _pair(asked, answered)


def _pair(asked: list[str], answered: list[str]) -> Iterator[RecordedTurn]:
    text, answer = "\n\n".join(asked), "\n\n".join(answered)
    if text.strip() and answer.strip():
        yield RecordedTurn(text=text, answer=answer)


def read_sessions(name: str, lines: Lines) -> Iterator[RecordedSession]:
    """Sessions of agents; arguments and errors are those of ``read_prompts``."""
    decoder = msgspec.json.Decoder(_AgentSession)
    for number, line in lines:
        where = f"line {number}"
        try:
            row = decoder.decode(line)
        except msgspec.DecodeError as error:
            raise BadInputError(f"{name} {where}: not a session of turns ({error}); mend it") from None
        if not row.turns:
            raise BadInputError(f"{name} {where}: the session has no turn; take it out")
        for place, turn in enumerate(row.turns, 1):
            if turn.input_tokens < 1 or turn.output_tokens < 1:
                raise BadInputError(f"{name} {where}: turn {place} has less than 1 token in or out; mend it")
            if not 0 <= turn.tool_seconds <= LONGEST_WAIT:
                raise BadInputError(
                    f"{name} {where}: tool_seconds of turn {place} is no time from 0 to {LONGEST_WAIT} s; mend it"
                )
        if row.turns[0].tool_seconds:
            raise BadInputError(
                f"{name} {where}: the first turn has no answer before it, so no tool_seconds; take it out"
            )
        if row.start is not None and not math.isfinite(row.start):
            raise BadInputError(f"{name} {where}: start is no time; mend it")
        turns = tuple(RecordedTurn(t.input_tokens, t.output_tokens, wait=t.tool_seconds) for t in row.turns)
        yield RecordedSession(where, turns, row.start)
