"""Answers of SGLang's ``/generate``, recorded, and bad ones."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest

from moecap.load.connection import Reply
from moecap.load.sglang_stream import decode_sglang_answer

RECORDED = Path(__file__).parents[2] / "recordings" / "sglang_generate.json"


@pytest.fixture(scope="module")
def recorded():
    return {name: entry["body"] for name, entry in json.loads(RECORDED.read_text()).items()}


def _reply(body, status=200, kind="text/event-stream; charset=utf-8", error=None):
    pieces = re.findall(r".+?(?:\n\n|$)", body, re.DOTALL) if kind.startswith("text/event") else [body]
    reads = [(100 + i, p.encode()) for i, p in enumerate(pieces)]
    return Reply(1, status, {"content-type": kind}, reads, 100 + len(reads), error)


def _event(ids, count, text="x", **meta):
    return {"text": text, "output_ids": ids, "meta_info": {"prompt_tokens": 3, "completion_tokens": count, **meta}}


def _stream(*events, done=True):
    return "".join(f"data: {json.dumps(e)}\n\n" for e in events) + ("data: [DONE]\n\n" if done else "")


def test_a_recorded_stream_that_repeats_the_answer_so_far_gives_each_token_once(recorded):
    answer = decode_sglang_answer(_reply(recorded["sglang_generate_stream"]))
    assert answer.error is None
    assert answer.token_ids == [154, 85, 450, 646, 756, 646, 756, 646]
    assert answer.tokens == [1, 2, 3, 4, 5, 6, 7, 8]
    assert answer.kinds == ["content"] * 8
    assert answer.times == list(range(100, 108))
    assert (answer.input_tokens, answer.output_tokens, answer.cached_tokens) == (9, 8, 8)
    assert answer.text.endswith("s else pro pos pro pos pro")
    assert answer.finish_reason == "length"
    experts = np.frombuffer(base64.b64decode(answer.routed_experts[0]), np.int32).reshape(9 + 8 - 1, 2, 2)
    assert 0 <= experts.min() <= experts.max() == 7


def test_a_recorded_stream_of_what_is_new_adds_up(recorded):
    answer = decode_sglang_answer(_reply(recorded["sglang_generate_incremental"]))
    assert answer.error is None
    assert answer.token_ids == [127, 250, 82, 12]
    assert answer.tokens == [1, 2, 3, 4]
    assert answer.text == "Üs-"
    assert (answer.input_tokens, answer.output_tokens, answer.cached_tokens, answer.retractions) == (5, 4, 0, 0)
    assert len(answer.routed_experts) == 1


def test_an_event_of_several_tokens_counts_them_all():
    for events in (
        [_event([7, 8, 9], 3), _event([7, 8, 9, 4], 4)],
        [_event([7, 8, 9], 3), _event([4], 4)],
    ):
        answer = decode_sglang_answer(_reply(_stream(*events)))
        assert (answer.tokens, answer.token_ids) == ([3, 4], [7, 8, 9, 4])


def test_ids_that_do_not_add_up_are_not_kept_and_the_servers_count_is():
    answer = decode_sglang_answer(_reply(_stream(_event([7], 1), _event([8], 3))))
    assert (answer.tokens, answer.token_ids, answer.output_tokens) == ([1, 3], [], 3)


def test_an_event_without_a_new_token_bears_none():
    answer = decode_sglang_answer(_reply(_stream(_event([7], 1), _event([7], 1, finish_reason={"type": "stop"}))))
    assert answer.kinds == ["content", "empty"]
    assert (answer.output_tokens, answer.finish_reason) == (1, "stop")


def test_a_server_that_does_not_keep_routed_experts_leaves_the_field_out():
    assert decode_sglang_answer(_reply(_stream(_event([7], 1)))).routed_experts == []


def test_an_answer_that_was_not_streamed_is_one_event_at_its_end():
    body = json.dumps(_event([4, 5], 2, text="hi", num_retractions=1))
    answer = decode_sglang_answer(_reply(body, kind="application/json"))
    assert (answer.times, answer.tokens, answer.kinds, answer.text) == ([101], [2], ["content"], "hi")
    assert answer.retractions == 1


@pytest.mark.parametrize(
    ("body", "status", "problem"),
    [
        (_stream(_event([7], 1), done=False), 200, r"ended without \[DONE\]"),
        (_stream(_event([7], 1), done=False) + 'data: {"te', 200, "broke off"),
        ('data: {"text": 3}\n\n', 200, "malformed answer"),
        ('data: {"error": {"message": "out of memory"}}\n\n', 200, "out of memory"),
        (_stream(_event([], 0, finish_reason={"type": "abort", "message": "too long"})), 200, "gave it up: too long"),
        ('{"error": {"message": "The input (2000 tokens) is too long"}}', 400, "HTTP 400: The input .2000 tokens"),
    ],
)
def test_what_is_wrong_with_an_answer_is_named(body, status, problem):
    kind = "text/event-stream" if status == 200 else "application/json"
    assert re.search(problem, decode_sglang_answer(_reply(body, status, kind)).error)


def test_what_came_before_a_break_is_kept():
    answer = decode_sglang_answer(_reply(_stream(_event([7], 1), _event([8], 2), done=False), error="it broke"))
    assert (answer.error, answer.tokens, answer.token_ids) == ("it broke", [1, 2], [7, 8])
