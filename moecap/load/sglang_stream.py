"""Decodes the answers of SGLang's own ``/generate``, which say more than its OpenAI-compatible ones.

Each event counts the answer's tokens so far and brings token ids: all of them so far or, with the server's
``--incremental-streaming-output``, the new ones. The last event brings the routed experts, where they were asked for
and the server was started to keep them; a server that was not leaves the field out and says nothing. Of several
choices each event is of one and counts its tokens alone.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import msgspec

from moecap.load.answers import DONE, Answer, error_text
from moecap.load.connection import Reply
from moecap.load.event_stream import stream_events

__all__ = ["decode_sglang_answer"]


class _Finish(msgspec.Struct):
    type: str
    message: str | None = None


class _Meta(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    num_retractions: int = 0
    finish_reason: _Finish | None = None
    routed_experts: str | None = None


class _Event(msgspec.Struct):
    index: int | None = None
    text: str | None = None
    output_ids: list[int] | None = None
    meta_info: _Meta | None = None
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_EVENT = msgspec.json.Decoder(_Event)


@dataclass(slots=True)
class _Progress:
    """A choice as it grows; ``ids`` is ``None`` once the server's ids do not add up to its count."""

    counted: int = 0
    text: str = ""
    ids: list[int] | None = field(default_factory=list)

    def take(self, event: _Event, said: int) -> None:
        ids, known = event.output_ids or [], len(self.ids or [])
        if len(ids) == said:
            self.ids, self.text = ids, event.text or ""
        elif self.ids is not None and known + len(ids) == said:
            self.ids += ids
            self.text += event.text or ""
        else:
            self.ids = None
        self.counted = said


def decode_sglang_answer(reply: Reply) -> Answer:
    """Decode a reply of ``/generate``, streamed or whole; what is wrong with it stands in the answer's ``error``."""
    answer = Answer(error=reply.error)
    if reply.status != 200:
        answer.error = answer.error or f"HTTP {reply.status}: {error_text(reply.body)}"
        return answer
    choices: defaultdict[int, _Progress] = defaultdict(_Progress)
    try:
        if reply.headers.get("content-type", "").startswith("text/event-stream"):
            _decode_stream(reply, answer, choices)
        elif reply.error is None:
            _decode_event(reply.ended_ns, reply.body, answer, choices)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        answer.error = answer.error or f"malformed answer ({error})"
    answer.text, answer.token_ids = choices[0].text, choices[0].ids or []
    return answer


def _decode_stream(reply: Reply, answer: Answer, choices: defaultdict[int, _Progress]) -> None:
    events, whole = stream_events(reply.reads)
    for time_ns, data in events:
        if data == DONE:
            return
        _decode_event(time_ns, data, answer, choices)
        if answer.error is not None and reply.error is None:
            return
    if answer.error is None:
        answer.error = f"the stream of events {'ended without [DONE]' if whole else 'broke off inside an event'}"


def _decode_event(time_ns: int, data: bytes, answer: Answer, choices: defaultdict[int, _Progress]) -> None:
    event = _EVENT.decode(data)
    meta = event.meta_info
    if event.error is not msgspec.UNSET or meta is None:
        answer.error = answer.error or error_text(data)
        return
    progress = choices[event.index or 0]
    before = progress.counted
    said = before if meta.completion_tokens is None else meta.completion_tokens
    progress.take(event, said)
    answer.times.append(time_ns)
    answer.kinds.append("content" if said > before else "empty")
    answer.choices.append(event.index)
    answer.output_tokens = (answer.output_tokens or 0) + said - before
    answer.tokens.append(answer.output_tokens)
    answer.input_tokens = meta.prompt_tokens if meta.prompt_tokens is not None else answer.input_tokens
    answer.cached_tokens = meta.cached_tokens if meta.cached_tokens is not None else answer.cached_tokens
    answer.retractions = max(answer.retractions, meta.num_retractions)
    if meta.routed_experts is not None:
        answer.routed_experts.append(meta.routed_experts)
    if meta.finish_reason is not None:
        if not event.index:
            answer.finish_reason = meta.finish_reason.type
        if meta.finish_reason.type == "abort":
            answer.error = answer.error or f"SGLang gave it up: {meta.finish_reason.message or 'no reason was given'}"
