"""Decodes the answers of llama.cpp's own ``/completion``, which say more than its OpenAI-compatible ones.

Each event counts the answer's tokens so far and brings the new token with its id. A token that ends inside a character
is held back until the character is whole: its successor's event then counts two tokens and brings one id, and such an
answer has no list of ids. The last event repeats the count and brings the server's own timings; no ``[DONE]`` follows.
Of several choices each event is of one and counts its tokens alone, and each has a last event.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from moecap.load.answers import Answer, error_text
from moecap.load.connection import Reply
from moecap.load.event_stream import stream_events

__all__ = ["CompletionAnswer", "Timings", "decode_llamacpp_answer"]


FINISHES = {"eos": "stop", "word": "stop", "limit": "length"}
"""The server's words for why an answer ended, in those of OpenAI's API."""


class Timings(msgspec.Struct, frozen=True):
    """The server's own times of one request.

    Attributes:
        cache_n: Prompt tokens that were taken from the cache.
        prompt_n: Prompt tokens that were fed.
        prompt_ms: Milliseconds from the start of the prompt to its end.
        predicted_n: Tokens of the answer; the first is made at the end of the prompt.
        predicted_ms: Milliseconds from there to the last token.
    """

    cache_n: int = 0
    prompt_n: int = 0
    prompt_ms: float = 0.0
    predicted_n: int = 0
    predicted_ms: float = 0.0


class _Event(msgspec.Struct):
    index: int = 0
    content: str = ""
    tokens: list[int] = msgspec.field(default_factory=list)
    stop: bool = False
    stop_type: str | None = None
    tokens_predicted: int | None = None
    tokens_evaluated: int | None = None
    timings: Timings | None = None
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_EVENT = msgspec.json.Decoder(_Event)


@dataclass(slots=True)
class CompletionAnswer(Answer):
    """An answer with the server's own times.

    Attributes:
        timings: They, once the answer is whole; of several choices those of the first.
        texts: Pieces of the first choice's text.
        counts: Tokens of each choice so far.
        ended: Choices that have ended.
    """

    timings: Timings | None = None
    texts: list[str] = field(default_factory=list)
    counts: dict[int, int] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)


def decode_llamacpp_answer(reply: Reply) -> CompletionAnswer:
    """Decode a reply of ``/completion``, streamed or whole; what is wrong with it stands in the answer's ``error``."""
    answer = CompletionAnswer(error=reply.error)
    if reply.status != 200:
        answer.error = answer.error or f"HTTP {reply.status}: {error_text(reply.body)}"
        return answer
    try:
        if reply.headers.get("content-type", "").startswith("text/event-stream"):
            events, whole = stream_events(reply.reads)
            for time_ns, data in events:
                _take(time_ns, data, answer)
            if answer.error is None and (not answer.ended or answer.ended != answer.counts.keys()):
                how = "ended without its last event" if whole else "broke off inside an event"
                answer.error = f"the stream of events {how}"
        elif reply.error is None:
            _take(reply.ended_ns, reply.body, answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        answer.error = answer.error or f"malformed answer ({error})"
    answer.text = "".join(answer.texts)
    if len(answer.token_ids) != answer.counts.get(0):
        answer.token_ids = []
    return answer


def _take(time_ns: int, data: bytes, answer: CompletionAnswer) -> None:
    """Add one event."""
    event = _EVENT.decode(data)
    if event.error is not msgspec.UNSET:
        answer.error = answer.error or error_text(data)
        return
    before = answer.counts.get(event.index, 0)
    said = before if event.tokens_predicted is None else event.tokens_predicted
    answer.counts[event.index] = said
    answer.output_tokens = sum(answer.counts.values())
    answer.times.append(time_ns)
    answer.kinds.append("content" if said > before else "empty")
    answer.choices.append(event.index)
    answer.tokens.append(answer.output_tokens)
    if event.tokens_evaluated is not None:
        answer.input_tokens = event.tokens_evaluated
    if event.stop:
        answer.ended.add(event.index)
    if event.index == 0:
        answer.token_ids += event.tokens
        answer.texts.append(event.content)
        if event.stop:
            answer.finish_reason = FINISHES.get(event.stop_type or "", event.stop_type)
            answer.timings = event.timings
            answer.cached_tokens = None if event.timings is None else event.timings.cache_n
