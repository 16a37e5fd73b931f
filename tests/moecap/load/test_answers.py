"""Answers of real servers, recorded, and of bad ones."""

import base64
import json

import numpy as np
import pytest

from moecap.load.answers import decode_answer, error_text
from moecap.load.connection import Reply


def _reply(body, status=200, kind="text/event-stream; charset=utf-8", error=None):
    pieces = [p + "\n\n" for p in body.split("\n\n") if p] if kind.startswith("text/event") else [body]
    reads = [(100 + i, p.encode()) for i, p in enumerate(pieces)]
    return Reply(1, status, {"content-type": kind}, reads, 100 + len(reads), error)


def _stream(*chunks, done=True):
    return "".join(f"data: {json.dumps(c)}\n\n" for c in chunks) + ("data: [DONE]\n\n" if done else "")


def _text(text, **more):
    return {"choices": [{"index": 0, "text": text, **more}]}


def _delta(**delta):
    return {"choices": [{"index": 0, "delta": delta}]}


def _usage(prompt, completion):
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}}


def test_a_recorded_vllm_stream_has_one_token_a_chunk_and_the_servers_count(recordings):
    answer = decode_answer(_reply(recordings["vllm_stream"]["body"]))
    assert answer.error is None
    assert answer.kinds == ["content"] * 8 + ["usage"]
    assert answer.tokens == [1, 2, 3, 4, 5, 6, 7, 8, 8]
    assert answer.times == list(range(100, 109))
    assert (answer.input_tokens, answer.output_tokens, answer.finish_reason) == (19, 8, "length")


def test_a_recorded_sglang_stream_gives_text_usage_and_routed_experts(recordings):
    plain = decode_answer(_reply(recordings["sglang_completions_stream_usage"]["body"]))
    routed = decode_answer(_reply(recordings["sglang_completions_stream_routed"]["body"]))
    assert plain.text == routed.text == " max(a, b)\n```"
    assert (plain.kinds[-1], routed.kinds[-2:]) == ("usage", ["empty", "usage"])
    assert plain.output_tokens == 8
    experts = np.frombuffer(base64.b64decode(routed.routed_experts[0]), np.int32).reshape(7 + 8 - 1, 30, 2)
    assert experts.min() >= 0
    assert experts.max() == 3


def test_a_recorded_sglang_chat_starts_with_a_role_that_bears_no_token(recordings):
    answer = decode_answer(_reply(recordings["sglang_chat_stream_routed"]["body"]))
    assert answer.kinds[0] == "role"
    assert answer.kinds.count("content") == answer.output_tokens == 8
    assert answer.tokens[:3] == [0, 1, 2]


@pytest.mark.parametrize("name", ["llamacpp_cmpl_stream", "llamacpp_cmpl_stream_usage", "llamacpp_chat_stream_usage"])
def test_a_recorded_llamacpp_stream_carries_its_usage_where_it_does(recordings, name):
    answer = decode_answer(_reply(recordings[name]["body"]))
    assert answer.error is None
    assert answer.kinds[-1] == "usage"
    assert answer.output_tokens == answer.kinds.count("content") == 4
    assert answer.tokens[-1] == 4


def test_without_any_count_the_tokens_of_a_chunk_are_unknown(recordings):
    answer = decode_answer(_reply(recordings["llamacpp_chat_stream"]["body"]))
    assert answer.output_tokens is None
    assert set(answer.tokens) == {None}
    answer = decode_answer(_reply(_stream(_text("a"), _text("b"))))
    assert answer.tokens == [None, None]


def test_a_chunk_of_several_tokens_is_never_counted_as_one():
    """vllm#27485, sglang#12064: the server counts 6 tokens in 2 chunks, so nothing is inferred."""
    answer = decode_answer(_reply(_stream(_text("a b c"), _text(" d e f"), _usage(4, 6))))
    assert answer.tokens == [None, None, None]
    exact = decode_answer(_reply(_stream(_text("a b c", token_ids=[1, 2, 3]), _text(" d e f", token_ids=[4, 5, 6]))))
    assert exact.tokens == [3, 6]
    assert exact.token_ids == [1, 2, 3, 4, 5, 6]


def test_usage_in_every_chunk_gives_exact_tokens():
    chunks = [{**_text(t), "usage": {"prompt_tokens": 2, "completion_tokens": n}} for t, n in (("ab", 2), ("c", 5))]
    assert decode_answer(_reply(_stream(*chunks, _usage(2, 5)))).tokens == [2, 5, 5]


def test_token_ids_without_text_bear_tokens():
    answer = decode_answer(_reply(_stream(_text("", token_ids=[240]), _text("\N{GRINNING FACE}", token_ids=[159]))))
    assert answer.kinds == ["content", "content"]
    assert answer.tokens == [1, 2]


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_reasoning_counts_as_output_and_is_told_apart(key):
    """inference-perf#559: an answer that is all reasoning has output and a first token."""
    answer = decode_answer(_reply(_stream(_delta(role="assistant", content=""), _delta(**{key: "hm"}), _usage(3, 1))))
    assert answer.kinds == ["role", "reasoning", "usage"]
    assert answer.tokens == [0, 1, 1]


def test_tool_calls_bear_tokens_and_a_null_is_none():
    call = [{"index": 0, "function": {"name": "f"}}]
    answer = decode_answer(_reply(_stream(_delta(tool_calls=call), _delta(tool_calls=None), _delta(tool_calls=[]))))
    assert answer.kinds == ["content", "empty", "empty"]


def test_an_answer_that_was_not_streamed_is_one_chunk_at_its_end():
    body = json.dumps({"choices": [{"index": 0, "message": {"content": "hi"}}], "usage": {"completion_tokens": 2}})
    answer = decode_answer(_reply(body, kind="application/json"))
    assert (answer.times, answer.tokens, answer.kinds, answer.text) == ([101], [2], ["content"], "hi")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('data: {"choices": [\n\ndata: [DONE]\n\n', "malformed answer"),
        ('data: {"choices": "none"}\n\ndata: [DONE]\n\n', "malformed answer"),
        ('data: {"choices":[{"text":"a"}]}\n\n', r"without \[DONE\]"),
        ('data: {"choices":[{"text":"a"}]}\n\ndata: {"cho', "broke off"),
        ('data: {"error":{"message":"out of memory","code":500}}\n\ndata: [DONE]\n\n', "out of memory"),
        ("", r"without \[DONE\]"),
        ("data: \xff\n\n", "malformed answer"),
    ],
)
def test_what_is_wrong_with_a_stream_is_named(body, problem):
    import re

    reply = Reply(1, 200, {"content-type": "text/event-stream"}, [(5, body.encode("latin-1"))] if body else [], 6)
    assert re.search(problem, decode_answer(reply).error)


def test_chunks_before_a_break_are_kept():
    reply = _reply(
        _stream(_text("a", token_ids=[1]), _text("b", token_ids=[2]), done=False), error="the connection broke"
    )
    answer = decode_answer(reply)
    assert answer.error == "the connection broke"
    assert answer.tokens == [1, 2]


def test_errors_of_real_servers_are_shown_in_one_line(recordings):
    for name, text in (
        ("error_llamacpp", "exceeds the available context size"),
        ("error_sglang", "1 validation error"),
    ):
        answer = decode_answer(_reply(recordings[name]["body"], recordings[name]["status"], "application/json"))
        assert answer.error.startswith(f"HTTP {recordings[name]['status']}: ")
        assert text in answer.error
        assert "\n" not in answer.error


def test_an_error_without_a_message_is_its_text():
    assert error_text(b"<html>Bad\n gateway</html>") == "<html>Bad gateway</html>"
    assert error_text(b"") == "no message"
    assert error_text(b'{"detail":"Not Found"}') == "Not Found"
    assert error_text(b'{"error":"broken"}') == "broken"


def test_chunks_before_an_event_that_breaks_off_are_kept():
    body = _stream(_text("a", token_ids=[1]), done=False) + 'data: {"choi'
    answer = decode_answer(Reply(1, 200, {"content-type": "text/event-stream"}, [(5, body.encode())], 6))
    assert (answer.times, answer.tokens, answer.error) == ([5], [1], "the stream of events broke off inside an event")


def test_usage_that_stays_at_zero_until_the_end_counts_no_chunk():
    chunks = [{**_text(t), "usage": {"prompt_tokens": 2, "completion_tokens": 0}} for t in ("a", "b")]
    assert decode_answer(_reply(_stream(*chunks, _usage(2, 2)))).tokens == [1, 2, 2]
    assert decode_answer(_reply(_stream(*chunks, _usage(2, 3)))).tokens == [None, None, None]


def test_usage_that_lags_never_makes_the_count_fall():
    chunks = [{**_text(t, token_ids=[1, 2]), "usage": {"completion_tokens": n}} for t, n in (("ab", 1), ("cd", 2))]
    assert decode_answer(_reply(_stream(*chunks, _usage(2, 4)))).tokens == [2, 4, 4]


def test_no_choices_at_all_is_no_error():
    body = _stream(_text("a", token_ids=[1]), {"choices": None, "usage": {"completion_tokens": 1}})
    assert decode_answer(_reply(body)).error is None


def test_each_chunk_names_the_one_choice_whose_tokens_it_bears():
    events = [
        b'data: {"choices":[{"index":1,"text":"a","token_ids":[5]}]}\n\n',
        b'data: {"choices":[{"index":0,"text":"b","token_ids":[6]},{"index":1,"text":"c","token_ids":[7]}]}\n\n',
        b'data: {"choices":[{"index":0,"text":"","finish_reason":"stop"}]}\n\n',
        b"data: [DONE]\n\n",
    ]
    reply = Reply(0, 200, {"content-type": "text/event-stream"}, [(i, e) for i, e in enumerate(events)], 4)
    answer = decode_answer(reply)
    assert answer.choices == [1, None, None]
    assert answer.tokens == [1, 3, 3]
