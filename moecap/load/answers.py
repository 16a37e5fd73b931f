"""Decodes the answers of OpenAI-compatible servers (completions and chat) after they have ended.

A chunk *bears tokens* if it carries text, reasoning, a tool call or token ids; a chunk with only a role, a finish
reason or the usage bears none. How many tokens a chunk carries is known where the server says so (token ids, or usage
in every chunk); where it does not, one token a chunk is inferred only if the server's own count equals the number of
bearing chunks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import msgspec

from moecap.load.connection import Reply
from moecap.load.event_stream import stream_events
from moecap.observations.schema import BEARING

__all__ = ["DONE", "Answer", "decode_answer", "error_text"]

DONE = b"[DONE]"
"""The event that ends a stream."""

NOTHING = (b"null", b"[]")
RANK = {"empty": 0, "role": 1, "reasoning": 2, "content": 3}
"""Which kind a chunk has whose choices carry different ones."""

LONGEST_ERROR = 300


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: dict[str, int | None] | None = None


class _Delta(msgspec.Struct, gc=False):
    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _TokenLogprob(msgspec.Struct, gc=False):
    token: str
    logprob: float


class _Place(msgspec.Struct, gc=False):
    top_logprobs: list[_TokenLogprob] = []


class _Logprobs(msgspec.Struct, gc=False):
    content: list[_Place] | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    text: str | None = None
    delta: _Delta | None = None
    message: _Delta | None = None
    token_ids: list[int] | None = None
    finish_reason: str | None = None
    routed_experts: str | None = None
    logprobs: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _SglExt(msgspec.Struct, gc=False):
    routed_experts: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    sglext: _SglExt | None = None
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_CHUNK = msgspec.json.Decoder(_Chunk)
_LOGPROBS = msgspec.json.Decoder(_Logprobs)


@dataclass(slots=True)
class Answer:
    """One decoded answer.

    Attributes:
        times: When each chunk came, monotonic ns.
        tokens: Tokens of the answer so far after each chunk; ``None`` where unknown.
        kinds: ``role``, ``reasoning``, ``content``, ``usage`` or ``empty``.
        choices: The choice whose tokens each chunk bears, ``None`` for several or none; empty where it is not told.
        text: The answer's text, of the first choice.
        token_ids: Its token ids where the server gives them, else empty.
        input_tokens: Prompt tokens as the server counts them.
        output_tokens: Answer tokens as the server counts them, over all choices.
        cached_tokens: Prompt tokens served from a prefix cache, where the server says.
        finish_reason: Of the first choice.
        routed_experts: The server's own encoding of the routed experts, one entry a choice that has them.
        first_logprobs: Log-probability of the likeliest tokens at the start of a chat's answer, nats, where they were
            asked for; of several that read alike their joint one.
        retractions: How often the server gave up the request's cache and fed it again, where it says.
        error: Why there is no whole answer.
    """

    times: list[int] = field(default_factory=list)
    tokens: list[int | None] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    choices: list[int | None] = field(default_factory=list)
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    finish_reason: str | None = None
    routed_experts: list[str] = field(default_factory=list)
    first_logprobs: dict[str, float] = field(default_factory=dict)
    retractions: int = 0
    error: str | None = None


def decode_answer(reply: Reply, *, usage_a_choice: bool = False) -> Answer:
    """Decode a reply; whatever is wrong with it stands in the answer's ``error``, with the chunks before it kept.

    Args:
        reply: The reply.
        usage_a_choice: Whether each choice of a stream ends with a usage of its own, as llama.cpp sends them; their
            counts are then added up.
    """
    answer = Answer(error=reply.error)
    if reply.error is None and reply.status != 200:
        answer.error = f"HTTP {reply.status}: {error_text(reply.body)}"
    if reply.status != 200:
        return answer
    try:
        if reply.headers.get("content-type", "").startswith("text/event-stream"):
            _decode_stream(reply, answer, usage_a_choice)
        elif reply.error is None:
            _decode_whole(reply, answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        answer.error = answer.error or f"malformed answer ({error})"
    return answer


def error_text(body: bytes) -> str:
    """The message of an error body in one line: ``message``, ``error.message`` or the first line of the text."""
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        content = None
    for key in ("error", "message", "detail"):
        if isinstance(content, dict) and key in content:
            content = content[key]
            if isinstance(content, dict) and "message" in content:
                content = content["message"]
            break
    text = content if isinstance(content, str) and content else body.decode("utf-8", "replace")
    line = " ".join(text.split())
    return line[:LONGEST_ERROR] or "no message"


def _decode_stream(reply: Reply, answer: Answer, usage_a_choice: bool) -> None:
    texts: list[str] = []
    ended = False
    counted = 0
    exact = True
    events, whole = stream_events(reply.reads)
    for time_ns, data in events:
        if data == DONE:
            ended = True
            break
        chunk = _CHUNK.decode(data)
        if chunk.error is not msgspec.UNSET and _given(chunk.error):
            answer.error = answer.error or error_text(data)
            return
        kind, new, choice = _content(chunk, texts, answer)
        bears = kind in BEARING
        usage = chunk.usage
        if usage is not None:
            earlier = answer.output_tokens if usage_a_choice else None
            _take_usage(usage, answer)
            if earlier is not None and usage.completion_tokens is not None:
                answer.output_tokens = earlier + usage.completion_tokens
            if bears and new is None and (usage.completion_tokens or 0) > counted:
                new = (usage.completion_tokens or 0) - counted
            if not bears and kind == "empty":
                kind = "usage"
        exact = exact and (not bears or new is not None)
        counted += new or 0
        answer.times.append(time_ns)
        answer.kinds.append(kind)
        answer.choices.append(choice)
        answer.tokens.append(counted if exact else None)
    answer.text = "".join(texts)
    if not exact or (answer.output_tokens is not None and counted != answer.output_tokens):
        _infer_tokens(answer)
    if not ended and answer.error is None:
        answer.error = f"the stream of events {'ended without [DONE]' if whole else 'broke off inside an event'}"


def _content(chunk: _Chunk, texts: list[str], answer: Answer) -> tuple[str, int | None, int | None]:
    """What a chunk carries: its kind, its number of new tokens where the server gives token ids, and their choice."""
    kind, new, known = "empty", 0, True
    bearing, only = 0, None
    if chunk.sglext is not None and chunk.sglext.routed_experts is not None:
        answer.routed_experts.append(chunk.sglext.routed_experts)
    for choice in chunk.choices or ():
        own = _kind(choice)
        if kind == "empty" or RANK[own] > RANK[kind]:
            kind = own
        bears = own in BEARING
        if bears:
            bearing, only = bearing + 1, choice.index
        if choice.token_ids is not None:
            new += len(choice.token_ids)
        elif bears:
            known = False
        if choice.index == 0:
            text = choice.text if choice.delta is None else choice.delta.content
            if text:
                texts.append(text)
            if choice.token_ids:
                answer.token_ids += choice.token_ids
            answer.finish_reason = choice.finish_reason or answer.finish_reason
            if choice.delta is not None and not answer.first_logprobs and _given(choice.logprobs):
                answer.first_logprobs = _first_logprobs(choice.logprobs)
        if choice.routed_experts is not None:
            answer.routed_experts.append(choice.routed_experts)
    return kind, new if known else None, only if bearing == 1 else None


def _first_logprobs(raw: msgspec.Raw | msgspec.UnsetType) -> dict[str, float]:
    """The likeliest tokens of the first place that a chunk tells of; none where it tells of none."""
    assert isinstance(raw, msgspec.Raw)
    found: dict[str, float] = {}
    for place in (_LOGPROBS.decode(raw).content or [])[:1]:
        for one in place.top_logprobs:
            before = found.get(one.token)
            found[one.token] = one.logprob if before is None else math.log(math.exp(before) + math.exp(one.logprob))
    return found


def _kind(choice: _Choice) -> str:
    """What one choice of a chunk carries; token ids without text are tokens whose characters are not whole yet."""
    delta = choice.delta
    if delta is None:
        return "content" if choice.text or choice.token_ids else "empty"
    if delta.content or _given(delta.tool_calls):
        return "content"
    if delta.reasoning_content or delta.reasoning:
        return "reasoning"
    if choice.token_ids:
        return "content"
    return "role" if delta.role else "empty"


def _given(value: msgspec.Raw | msgspec.UnsetType) -> bool:
    """Whether a field is there and is neither null nor an empty list."""
    return isinstance(value, msgspec.Raw) and bytes(value) not in NOTHING


def _take_usage(usage: _Usage, answer: Answer) -> None:
    answer.input_tokens = usage.prompt_tokens if usage.prompt_tokens is not None else answer.input_tokens
    answer.output_tokens = usage.completion_tokens if usage.completion_tokens is not None else answer.output_tokens
    details = usage.prompt_tokens_details
    if details is not None and details.get("cached_tokens") is not None:
        answer.cached_tokens = details["cached_tokens"]


def _infer_tokens(answer: Answer) -> None:
    """One token a chunk, if the server's count says so; else unknown throughout."""
    bearing = sum(kind in BEARING for kind in answer.kinds)
    if answer.output_tokens != bearing:
        answer.tokens = [None] * len(answer.times)
        return
    counted = 0
    for number, kind in enumerate(answer.kinds):
        counted += kind in BEARING
        answer.tokens[number] = counted


def _decode_whole(reply: Reply, answer: Answer) -> None:
    """An answer that was not streamed: one chunk at its end."""
    chunk = _CHUNK.decode(reply.body)
    if _given(chunk.error):
        answer.error = error_text(reply.body)
        return
    texts: list[str] = []
    for choice in chunk.choices or ():
        choice.delta = choice.message
    kind, new, _ = _content(chunk, texts, answer)
    answer.text = "".join(texts)
    if chunk.usage is not None:
        _take_usage(chunk.usage, answer)
    answer.times.append(reply.ended_ns)
    answer.kinds.append(kind)
    answer.tokens.append(answer.output_tokens if answer.output_tokens is not None else new)
