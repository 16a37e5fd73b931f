"""A model that hears, behind an endpoint: a server that decodes what it is sent and really tells the language."""

import base64
import io
import json

import numpy as np
import pytest
import soundfile
from local_server import LocalServer

from moecap.data.audio import RATE
from moecap.data.speech_lists import manifest_of
from moecap.errors import RunError
from moecap.observations.reader import read_observations
from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.settings import with_settings
from moecap.tasks.spoken_lid.chat import named_language, question
from moecap.tasks.spoken_lid.features import mfcc
from moecap.tasks.spoken_lid.pooled import PooledClassifier
from moecap.tasks.spoken_lid.utterances import Utterance, read_utterance
from moecap.verification.recomputation import verify_run

NAMES = {"hin": "Hindi", "rus": "Russian", "tha": "Thai"}


@pytest.mark.parametrize(
    ("answer", "language"),
    [
        ("Hindi", "hin"),
        (" hindi.", "hin"),
        ("The language is **Thai**.", "tha"),
        ("hin", "hin"),
        ("HI", "hin"),
        ("<think>Hindi or Thai?</think>Russian", "rus"),
        ("Hindi or Thai", ""),
        ("It is hi, I hin", ""),  # codes within a sentence are words
        ("Hindihindi", ""),
        ("English", ""),
        ("", ""),
    ],
)
def test_an_answer_names_one_language_or_none(answer, language):
    assert named_language(answer, tuple(NAMES)) == language


def test_codes_that_are_words_do_not_count_within_a_sentence():
    labels = ("sun", "kan", "ind", "xyz")
    assert named_language("The sun kan ind", labels) == ""
    assert named_language("sun", labels) == "sun"
    assert named_language("It is Sundanese", labels) == "sun"
    assert named_language("xyz", labels) == "xyz"


def test_a_name_within_a_longer_name_does_not_count():
    assert [named_language(said, ("deu", "nds")) for said in ("It is Low German.", "German", "German, Low German")] == [
        "nds", "deu", "",
    ]  # fmt: skip


class Hearing(LocalServer):
    """An endpoint whose model is the regression of the method, trained on the list that it is given."""

    def __init__(self, folder, broken=lambda _number: False):
        self.classifier = PooledClassifier(normalises=False)
        listed = manifest_of(folder / "train.tsv", None)
        self.classifier.fit([read_utterance(o.id, o.language, o.domain, o.speaker, o.path) for o in listed])
        self.broken, self.heard, self.texts = broken, [], set()

    def answer(self, method, target, headers, content):
        if target == "/v1/models":
            return 200, {}, {"data": [{"id": "hearing"}]}
        if method != "POST":
            return 404, {}, {}
        body = json.loads(content)
        assert body["stream"]
        if target == "/v1/completions":
            return self.streamed([{"choices": [{"index": 0, "text": "a"}]}] * body["max_tokens"], body["max_tokens"])
        assert target == "/v1/chat/completions"
        (message,) = body["messages"]
        text, sound = message["content"]
        assert (message["role"], text["type"], sound["type"]) == ("user", "text", "input_audio")
        assert sound["input_audio"]["format"] == "wav"
        samples, rate = soundfile.read(io.BytesIO(base64.b64decode(sound["input_audio"]["data"])), dtype="float32")
        assert (rate, samples.ndim) == (RATE, 1)
        self.texts.add(text["text"])
        self.heard.append(samples)
        if self.broken(len(self.heard)):
            return 400, {}, {"error": {"message": "no audio here"}}
        (language,) = self.classifier.answer([Utterance("", "", "", "", mfcc(samples), len(samples) / RATE, rate)])
        said = f"I hear {NAMES[language]}." if len(self.heard) % 5 else "I cannot tell."
        delta = {"role": "assistant", "content": said}
        return self.streamed([{"choices": [{"index": 0, "delta": delta, "finish_reason": "stop"}]}], 4)

    def streamed(self, chunks, tokens):
        usage = {"choices": [], "usage": {"prompt_tokens": 60, "completion_tokens": tokens}}
        events = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in (*chunks, usage))
        return 200, {"Content-Type": "text/event-stream"}, f"{events}data: [DONE]\n\n".encode()


def asked(server, folder, tiny_model, output, *arguments):
    options = {
        "model": str(tiny_model("mixtral")),
        "hw": "a100",
        "backend": "openai",
        "endpoint": server.url,
        "task": ["spoken_lid"],
        "task_arg": ["classifiers=chat", "test=test.tsv", *arguments],
        "data": str(folder),
        "limit": 0,
        "num_requests": 2,
        "concurrency": 1,
        "input_len": 8,
        "output_len": 4,
        "output": str(output),
    }
    return run(with_settings(options, ()), Reporter(quiet=True))


@pytest.mark.engine
def test_a_model_behind_an_endpoint_is_sent_every_sound_and_its_answers_are_scored(lists, tiny_model, tmp_path):
    with Hearing(lists) as server:
        outcome = asked(server, lists, tiny_model, tmp_path / "run")
    assert outcome.error is None
    test = manifest_of(lists / "test.tsv", None)
    assert len(server.heard) == len(test) == 12
    assert server.texts == {question(("hin", "rus", "tha"))}
    for one, samples in zip(test, server.heard, strict=True):  # one at a time, so in their order
        np.testing.assert_allclose(samples, soundfile.read(one.path)[0], atol=2 / 32768)
    own = server.classifier.answer([read_utterance(o.id, o.language, o.domain, o.speaker, o.path) for o in test])
    told = [answer if number % 5 else None for number, answer in enumerate(own, 1)]
    samples = [json.loads(line) for line in (tmp_path / "run/samples.jsonl").read_text().splitlines()]
    assert [sample["answer"] for sample in samples] == told
    assert [sample["said"] == "I cannot tell." for sample in samples] == [answer is None for answer in told]
    metrics = outcome.result.metrics
    right = np.mean([answer == one.language for answer, one in zip(told, test, strict=True)])
    assert metrics["accuracy.spoken_lid"].value == pytest.approx(right)
    assert metrics["task.spoken_lid_lists_chat_accuracy"].value == pytest.approx(right)
    assert metrics["task.spoken_lid_lists_chat_unparsed"].value == pytest.approx(2 / 12)
    assert metrics["task.spoken_lid_lists_chat_failed"].value == 0
    assert "task.spoken_lid_lists_chat_new_speakers_accuracy" not in metrics  # nothing was trained
    requests = read_observations(tmp_path / "run").requests
    scored = requests[requests["stage"] == "score"]
    assert (scored["status"] == "completed").all()
    assert (scored["input_tokens"] == 60).all()
    assert len(scored) == 12
    assert verify_run(tmp_path / "run").ok


@pytest.mark.engine
def test_a_failed_request_is_wrong_and_counted_and_a_server_that_takes_no_sound_ends_the_run(
    lists, tiny_model, tmp_path
):
    with Hearing(lists, broken=lambda number: number in (3, 4)) as server:
        outcome = asked(server, lists, tiny_model, tmp_path / "run")
    assert outcome.result.metrics["task.spoken_lid_lists_chat_failed"].value == pytest.approx(2 / 12)
    with Hearing(lists, broken=lambda _number: True) as server:
        outcome = asked(server, lists, tiny_model, tmp_path / "none")
    assert isinstance(outcome.error, RunError)
    assert "no recording was answered (HTTP 400: no audio here)" in str(outcome.error)
