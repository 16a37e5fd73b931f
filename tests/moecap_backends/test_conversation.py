"""The prompt of each turn: what was asked and what was really answered, in token ids or in the texts of a chat."""

import json
from dataclasses import replace

import pytest

from moecap.backend import Prompt, Sampling
from moecap.errors import RunError
from moecap.load.answers import Answer
from moecap.load.calibration import running_stub
from moecap.load.connection import Reply
from moecap_backends.conversation import Conversation
from moecap_backends.openai import OpenaiEngine, Server
from moecap_backends.served import sampling_fields

FIRST, SECOND, THIRD = (Prompt(f"p{i}", (10 * i, 10 * i + 1), 3, session=0, turn=i, wait=0.5 * i) for i in range(3))


class Words:
    """A tokenizer whose tokens are the lengths of words."""

    def encode(self, text):
        return tuple(len(word) for word in text.split())

    def decode(self, tokens):
        return " ".join(map(str, tokens))


WORDS = Words()


def _conversation(*answers, tokenizer=WORDS):
    said = iter(answers)
    return Conversation(
        (FIRST, SECOND, THIRD),
        ("a", "b", "c"),
        lambda prompt, key: f"{key}:{prompt.tokens}".encode(),
        lambda _reply: next(said),
        tokenizer,
    )


def test_a_turn_follows_the_token_ids_of_the_answers_before_it():
    talk = _conversation(Answer(token_ids=[7, 8, 9], text="three words here"), Answer(token_ids=[5]))
    first, second, third = talk.turns()
    assert first.render([]) == b"a:(0, 1)"
    assert second.render([Reply(0)]) == b"b:(0, 1, 7, 8, 9, 10, 11)"
    assert third.render([Reply(0), Reply(1)]) == b"c:(0, 1, 7, 8, 9, 10, 11, 5, 20, 21)"
    assert [turn.wait for turn in (first, second, third)] == [0.0, 0.5, 1.0]
    assert [len(prompt.tokens) for prompt in talk.sent] == [2, 7, 10]
    assert talk.sent[2].parts == ((0, 1), (7, 8, 9), (10, 11), (5,), (20, 21))


def test_an_answer_in_text_alone_is_read_by_the_tokenizer():
    talk = _conversation(Answer(text="to be or"))
    assert talk.turns()[1].render([Reply(0)]) == b"b:(0, 1, 2, 2, 2, 10, 11)"


def test_nothing_follows_an_answer_that_is_not_whole():
    talk = _conversation(Answer(token_ids=[7], error="the stream of events broke off inside an event"))
    assert talk.turns()[1].render([Reply(0)]) is None


def test_nothing_follows_an_answer_without_a_token():
    talk = _conversation(Answer(kinds=["role", "usage"]))
    assert talk.turns()[1].render([Reply(0)]) is None
    talk = _conversation(Answer(kinds=["role", "reasoning"]))
    assert talk.turns()[1].render([Reply(0)]) == b"b:(0, 1, 10, 11)", "what was thought is not said"


def test_turns_without_a_tokenizer_are_refused_before_anything_is_sent():
    with pytest.raises(RunError, match="has no tokenizer"):
        _conversation(tokenizer=None)


@pytest.fixture
def body(job_for, tiny_model):
    """A function from a prompt and an API to the body of its request, by an engine attached to the stub."""
    with running_stub() as target:

        def render(prompt, api):
            job = replace(job_for(tiny_model("mixtral"), api=api), endpoint=f"http://{target.name}/v1")
            engine = OpenaiEngine(job)
            engine._server = Server("vllm", "1", {"ignore_eos": True})
            return json.loads(engine.render(prompt, "key").partition(b"\r\n\r\n")[2]), engine.tokenizer

        yield render


def test_a_chat_holds_the_conversation_by_who_said_what(body):
    prompt = Prompt("p", (65, 66, 67, 68), 5, parts=((65, 66), (67,), (68,)))
    chat, tokenizer = body(prompt, "chat")
    assert chat["messages"] == [
        {"role": "user", "content": tokenizer.decode((65, 66))},
        {"role": "assistant", "content": tokenizer.decode((67,))},
        {"role": "user", "content": tokenizer.decode((68,))},
    ]
    assert body(prompt, "completions")[0]["prompt"] == [65, 66, 67, 68]


def test_the_end_of_sequence_is_ignored_only_for_exact_lengths(body):
    exact, natural = (Prompt("p", (1,), 5, Sampling(exact=exact)) for exact in (True, False))
    assert body(exact, "completions")[0]["ignore_eos"] is True
    assert "ignore_eos" not in body(natural, "completions")[0]


def test_a_greedy_answer_is_asked_for_without_what_has_no_effect_on_it():
    assert sampling_fields(Sampling(seed=3)) == {"temperature": 0.0}
    drawn = Sampling(0.5, 0.9, ("END",), 2, False, 3)
    assert sampling_fields(drawn) == {"temperature": 0.5, "seed": 3, "top_p": 0.9, "stop": ["END"], "n": 2}
    assert drawn.needs == {"temperature", "top_p", "stop", "n", "natural_end"}
    assert Sampling().needs == frozenset()
