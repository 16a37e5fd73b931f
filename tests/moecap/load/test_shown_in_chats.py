"""Chats that show pictures and play recordings, and the log-probabilities of where an answer begins."""

from __future__ import annotations

import json
import math

import pytest

from moecap.attachment import Attachment, content_parts
from moecap.load.answers import decode_answer
from moecap.load.connection import Reply


def test_pictures_and_recordings_stand_after_the_text_with_their_labels_in_openais_form():
    shown = [Attachment("image/png", b"\x89PNG", "Image 1:"), Attachment("audio/wav", b"RIFF")]
    assert content_parts("Which?", shown) == [
        {"type": "text", "text": "Which?"},
        {"type": "text", "text": "Image 1:"},
        {
            "type": "image_url",
            "image_url": {"url": "data:image/png;base64,iVBORw=="},
        },
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    ]


def streamed(*chunks):
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    return Reply(0, 200, {"content-type": "text/event-stream"}, [(1, body.encode())])


def choice(text, *top):
    places = [{"token": "?", "logprob": 0.0, "top_logprobs": [{"token": t, "logprob": p} for t, p in top]}]
    return {"choices": [{"index": 0, "delta": {"content": text}, "logprobs": {"content": places} if top else None}]}


def test_the_likeliest_tokens_are_those_of_the_first_place():
    role = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None}]}
    same = math.log(0.25)
    answer = decode_answer(
        streamed(role, choice("Yes", ("Yes", -0.5), ("No", same), ("No", same)), choice("!", ("!", -1)))
    )
    assert answer.first_logprobs == {"Yes": -0.5, "No": pytest.approx(math.log(0.5))}
    assert answer.text == "Yes!"


@pytest.mark.parametrize("logprobs", [None, {"content": None}, {"content": []}])
def test_an_answer_without_log_probabilities_has_none(logprobs):
    chunk = {"choices": [{"index": 0, "delta": {"content": "Yes"}, "logprobs": logprobs}]}
    assert decode_answer(streamed(chunk)).first_logprobs == {}


def test_those_of_a_completion_which_have_another_form_are_left_alone():
    chunk = {"choices": [{"index": 0, "text": "Yes", "logprobs": {"tokens": ["Yes"], "top_logprobs": [{"Yes": -1}]}}]}
    answer = decode_answer(streamed(chunk))
    assert (answer.error, answer.text, answer.first_logprobs) == (None, "Yes", {})
