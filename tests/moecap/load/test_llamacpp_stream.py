"""Answers of llama.cpp, as its server sent them."""

import json
from pathlib import Path

import pytest

from moecap.load.answers import decode_answer
from moecap.load.connection import Reply
from moecap.load.llamacpp_stream import decode_llamacpp_answer

RECORDINGS = json.loads((Path(__file__).parents[2] / "recordings" / "llamacpp_streams.json").read_text())
STREAM = {"content-type": "text/event-stream"}


def _reply(text, status=200, headers=STREAM, error=None):
    """A reply whose events were read one by one, a millisecond apart."""
    events = [event + "\n\n" for event in text.split("\n\n") if event.strip()]
    reads = [(1_000_000 * (i + 1), event.encode()) for i, event in enumerate(events)]
    return Reply(0, status, dict(headers), reads, ended_ns=10**9, error=error)


def test_each_event_counts_and_brings_its_token_with_its_time():
    answer = decode_llamacpp_answer(_reply(RECORDINGS["plain"]))
    assert answer.error is None
    assert answer.text == " Paris.\n\n"
    assert answer.token_ids == [7042, 30, 198, 198]
    assert answer.tokens == [1, 2, 3, 4, 4]
    assert answer.kinds == ["content"] * 4 + ["empty"]
    assert answer.times == [1_000_000, 2_000_000, 3_000_000, 4_000_000, 5_000_000]
    assert (answer.input_tokens, answer.output_tokens, answer.cached_tokens) == (5, 4, 0)
    assert answer.finish_reason == "length"


def test_the_servers_own_times_come_with_the_last_event():
    timings = decode_llamacpp_answer(_reply(RECORDINGS["plain"])).timings
    assert (timings.prompt_n, timings.predicted_n) == (5, 4)
    assert timings.prompt_ms > 0
    assert timings.predicted_ms > 0


def test_prompt_tokens_from_the_cache_are_told():
    answer = decode_llamacpp_answer(_reply(RECORDINGS["cached"]))
    assert (answer.input_tokens, answer.cached_tokens) == (5, 4)


def test_tokens_that_were_held_back_are_counted_and_no_ids_are_made_up():
    """A token that ends inside a character comes with the next one: the count rises by two, one id is sent."""
    answer = decode_llamacpp_answer(_reply(RECORDINGS["held_back"]))
    assert answer.error is None
    assert answer.tokens == [2, 4, 5]
    assert answer.kinds == ["content"] * 3  # the fifth token is never shown and is counted by the last event
    assert answer.output_tokens == 5
    assert answer.token_ids == []


def test_a_stream_that_breaks_off_is_no_whole_answer():
    whole = RECORDINGS["plain"]
    last = whole.rindex("data: ")
    assert "ended without its last event" in decode_llamacpp_answer(_reply(whole[:last])).error
    half = Reply(0, 200, STREAM, [(1, whole[: last + 40].encode())], ended_ns=2)
    answer = decode_llamacpp_answer(half)
    assert "broke off inside an event" in answer.error
    assert answer.output_tokens == 4


def test_what_broke_the_connection_is_named_and_the_chunks_before_it_are_kept():
    cut = RECORDINGS["plain"].split("\n\n")[0]
    answer = decode_llamacpp_answer(_reply(cut, error="the connection was closed in mid-answer"))
    assert answer.error == "the connection was closed in mid-answer"
    assert answer.tokens == [1]


@pytest.mark.parametrize("stream", [True, False])
def test_an_error_is_the_servers_own_words(stream):
    """A refusal as the server sent it to a prompt longer than its context, and the same inside a stream."""
    body = (
        '{"error":{"code":400,"message":"request (600 tokens) exceeds the available context size (512 tokens), try '
        'increasing it","type":"exceed_context_size_error","n_prompt_tokens":600,"n_ctx":512}}'
    )
    reply = _reply(f"data: {body}\n\n") if stream else _reply(body, 400, {"content-type": "application/json"})
    answer = decode_llamacpp_answer(reply)
    assert "request (600 tokens) exceeds the available context size (512 tokens)" in answer.error
    assert answer.output_tokens is None


def test_each_choice_ends_with_a_usage_of_its_own_and_both_count():
    """Of two choices with three tokens each every usage says 3."""
    one = decode_answer(_reply(RECORDINGS["two_choices"]))
    both = decode_answer(_reply(RECORDINGS["two_choices"]), usage_a_choice=True)
    assert one.output_tokens == 3
    assert both.output_tokens == 6
    assert both.input_tokens == 5
    assert [count for count, kind in zip(both.tokens, both.kinds, strict=True) if kind == "content"] == [
        1,
        2,
        3,
        4,
        5,
        6,
    ]
