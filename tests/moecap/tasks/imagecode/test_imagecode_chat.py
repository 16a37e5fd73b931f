"""Ten images through an OpenAI-compatible endpoint: what is sent, what is read, and what a run keeps of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vision_server import VisionServer

from moecap.observations.reader import read_observations
from moecap.observations.recorder import RequestRecord
from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.settings import with_settings
from moecap.tasks.imagecode.chat import order_of, stated_image
from moecap.tasks.imagecode.crops import ATTRIBUTES, attribute_values, cells_of
from moecap.tasks.imagecode.facts import Facts
from moecap.tasks.imagecode.pairs import yes_logprob
from moecap.tasks.imagecode.questions import Question
from moecap.tasks.imagecode.scores import imagecode_metrics
from moecap.verification.recomputation import verify_run


def seen(text, pixels, _body):
    """What an eye would say that measures the crops: the number of the one that is meant."""
    name = next(name for name, (description, _) in ATTRIBUTES.items() if description in text)
    values = [attribute_values(name, cells_of(crop)) for crop in pixels]
    return f"The image is {int(np.argmax(values)) + 1}."


def asked(tmp_path, model, server, *arguments, **changes):
    options = {
        "model": str(model),
        "backend": "openai",
        "hw": "h100",
        "warmup": {"max_batches": 1},
        "endpoint": f"{server.url}/v1",
        "precision": "fp32",
        "num_requests": 2,
        "input_len": 8,
        "output_len": 4,
        "concurrency": 2,
        "task": ("imagecode",),
        "task_arg": ("retriever=chat", *arguments),
        "limit": 12,
        "output": str(tmp_path / "run"),
        **changes,
    }
    return run(with_settings(options, ()), Reporter(quiet=True))


def samples_of(directory):
    return [json.loads(line) for line in (directory / "samples.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def honest(tmp_path_factory, tiny_model):
    """A whole run against a server that sees."""
    with VisionServer(seen) as server:
        outcome = asked(tmp_path_factory.mktemp("chat"), tiny_model("mixtral"), server)
    assert outcome.error is None, outcome.problem
    return outcome.directory, outcome.result, server.shown


@pytest.mark.engine
def test_a_server_that_sees_finds_every_image(honest):
    directory, result, shown = honest
    assert result.metrics["accuracy.imagecode"].value == 1
    assert result.metrics["task.imagecode_chat_accuracy"].value == 1
    assert result.metrics["task.imagecode_chat_accuracy_video"].value == 1
    assert result.metrics["task.imagecode_chat_unanswered"].value == 0
    assert len(shown) == len(samples_of(directory)) == 12
    assert {s["gold"] for s in samples_of(directory)} != {0}
    assert verify_run(directory).ok


@pytest.mark.engine
def test_a_request_is_one_message_with_ten_labelled_pictures_and_asks_for_a_number(honest):
    _, _, shown = honest
    for request in shown:
        assert request["labels"] == [f"Image {number}:" for number in range(1, 11)]
        assert {pixels.shape for pixels in request["pixels"]} == {(96, 96, 3)}
        assert request["body"]["max_tokens"] == 16
        assert request["body"]["temperature"] == 0
        assert request["text"].endswith("Answer with the number of that image, from 1 to 10, and nothing else.")


@pytest.mark.engine
def test_latencies_and_tokens_of_each_request_are_kept(honest):
    directory, result, _ = honest
    observations = read_observations(directory)
    requests = observations.requests[observations.requests["prompt_id"].str.startswith("imagecode/")]
    assert len(requests) == 12
    assert (requests["stage"] == "score").all()
    assert (requests["input_tokens"] == 1050).all()
    own = observations.tables["imagecode"]["requests"].set_index("item")["seconds"]
    lasted = (requests["ended_ns"] - requests["sent_ns"]) / 1e9
    expected = dict(zip(requests["prompt_id"].str.removeprefix("imagecode/"), lasted, strict=True))
    assert own.to_dict() == pytest.approx(expected)
    assert result.metrics["task.imagecode_chat_seconds_p50"].value == pytest.approx(float(np.median(lasted)))
    assert result.metrics["task.imagecode_chat_input_tokens"].value == 1050
    assert result.metrics["task.imagecode_chat_output_tokens"].value == 1


@pytest.mark.engine
def test_another_order_changes_what_is_shown_and_nothing_of_what_is_right(honest, tmp_path, tiny_model):
    with VisionServer(seen) as server:
        outcome = asked(tmp_path, tiny_model("mixtral"), server, "order_seed=3")
    assert outcome.error is None, outcome.problem
    assert outcome.result.metrics["accuracy.imagecode"].value == 1
    own, other = samples_of(honest[0]), samples_of(outcome.directory)
    assert [(s["id"], s["gold"], s["picked"]) for s in own] == [(s["id"], s["gold"], s["picked"]) for s in other]
    assert [s["answer"] for s in own] != [s["answer"] for s in other]


@pytest.mark.engine
def test_a_server_that_always_says_one_is_right_by_chance(tmp_path, tiny_model):
    with VisionServer(lambda *_: "1") as server:
        outcome = asked(tmp_path, tiny_model("mixtral"), server, limit=40)
    golds = [sample["gold"] for sample in samples_of(outcome.directory)]
    assert [golds.count(place) for place in range(10)] == [4] * 10
    assert outcome.result.metrics["accuracy.imagecode"].value == 0.1


@pytest.mark.engine
def test_answers_without_a_number_and_requests_that_fail_are_wrong_and_counted(tmp_path, tiny_model):
    turn = iter(range(100))

    def say(*request):
        number = next(turn)
        broken = (500, {"Content-Type": "application/json"}, {"error": {"message": "out of memory"}})
        return ("I cannot tell.", broken, seen(*request))[number % 3]

    with VisionServer(say) as server:
        outcome = asked(tmp_path, tiny_model("mixtral"), server, concurrency=1, limit=6)
    assert outcome.error is None, outcome.problem
    found = samples_of(outcome.directory)
    assert [sample["outcome"] for sample in found] == ["unanswered", "failed", "answered"] * 2
    assert [sample["scores"]["accuracy"] for sample in found] == [0, 0, 1] * 2
    metrics = outcome.result.metrics
    assert metrics["task.imagecode_chat_accuracy"].value == pytest.approx(1 / 3)
    assert metrics["task.imagecode_chat_unanswered"].value == 4
    assert metrics["task.imagecode_chat_failed_requests"].value == 2
    assert metrics["accuracy.imagecode_failed"].value == pytest.approx(1 / 3)
    assert verify_run(outcome.directory).ok


@pytest.mark.engine
def test_a_server_that_takes_fewer_images_ends_the_run_with_what_to_do(tmp_path, tiny_model):
    said = {"error": {"message": "At most 1 image(s) may be provided in one prompt."}}
    with VisionServer(lambda *_: (400, {"Content-Type": "application/json"}, said)) as server:
        outcome = asked(tmp_path, tiny_model("mixtral"), server)
    assert outcome.error is not None
    assert "takes no ten images" in outcome.problem
    assert "At most 1 image" in outcome.problem
    assert "pairs=true" in outcome.problem


@pytest.mark.engine
def test_pairs_pick_the_image_of_which_yes_is_likeliest(tmp_path, tiny_model):
    def say(text, pixels, body):
        (crop,) = pixels
        assert (body["logprobs"], body["top_logprobs"], body["max_tokens"]) == (True, 20, 1)
        asked_for = next(name for name, (description, _) in ATTRIBUTES.items() if description in text)
        value = float(attribute_values(asked_for, cells_of(crop)))
        top = [{"token": "Yes", "logprob": value - 5}, {"token": " yes", "logprob": value - 6}]
        content = [{"token": "No", "logprob": -0.1, "top_logprobs": [{"token": "No", "logprob": -0.1}, *top]}]
        return {"delta": {"content": "No"}, "logprobs": {"content": content}}

    with VisionServer(say) as server:
        outcome = asked(tmp_path, tiny_model("mixtral"), server, "pairs=true", limit=4)
    assert outcome.error is None, outcome.problem
    metrics = outcome.result.metrics
    assert metrics["task.imagecode_pairs_accuracy"].value == 1
    assert metrics["task.imagecode_pairs_mrr"].value == 1
    assert metrics["task.imagecode_pairs_input_tokens"].value == 10 * 150
    assert len(server.shown) == 40
    assert verify_run(outcome.directory).ok


@pytest.mark.engine
def test_pairs_need_log_probabilities(tmp_path, tiny_model):
    with VisionServer(lambda *_: "yes") as server:
        outcome = asked(tmp_path, tiny_model("mixtral"), server, "pairs=true", limit=2)
    assert "no log-probabilities" in outcome.problem


@pytest.mark.engine
def test_the_released_images_are_sent_as_they_are_in_the_order_of_their_numbers(tmp_path, tiny_model, released):
    with VisionServer(lambda *_: '{"image": 3}') as server:
        export = tmp_path / "out.json"
        arguments = ("split=test", f"export={export}")
        outcome = asked(tmp_path, tiny_model("mixtral"), server, *arguments, data=str(released), limit=0)
    assert outcome.error is None, outcome.problem
    for request in server.shown:
        shades = [pixels.mean() for pixels in request["pixels"]]
        assert shades == sorted(shades)
    assert json.loads(export.read_text()) == {
        "MSR-VTT-videoTestVideo_video1-shot1_0": [2, 2],
        "open-images-7_ab12": [2],
        "YouCook2-video9-shot3_1": [2],
    }
    assert "accuracy.imagecode" not in outcome.result.metrics  # the test split has no labels
    assert verify_run(outcome.directory).ok


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("3", 3),
        ("Image 10.", 10),
        ("The 7th one", 7),
        ("image 0, no: 4", 4),
        ("12 or 2", 2),
        ('{"image": 8}', 8),
        ('Here: ```json\n{"image": "6"}\n```', 6),
        ('{"image": 11} 3', None),
        ('{"image": "' + "9" * 5000 + '"}', None),
        ('{"image": true}', None),
        ("<think>1 or 2?</think>9", 9),
        ("none of them", None),
        ("3.5", None),
        ("", None),
    ],
)
def test_the_first_number_from_one_to_ten_is_the_answer(answer, number):
    assert stated_image(answer) == number


@given(st.text(max_size=60))
def test_whatever_a_model_says_is_a_number_of_an_image_or_none(answer):
    assert stated_image(answer) in {None, *range(1, 11)}


@given(st.text(max_size=20), st.integers(0, 1000))
def test_an_order_has_every_image_once_and_is_the_same_again(key, seed):
    question = Question("set", key, "", 0, "video", "", "")
    assert sorted(order_of(question, seed)) == list(range(10))
    assert order_of(question, seed) == order_of(question, seed)
    assert order_of(question, None) == tuple(range(10))


def test_yes_is_counted_however_it_is_written_and_is_at_most_as_likely_as_the_last_token_told():
    assert yes_logprob({"Yes": np.log(0.2), " yes": np.log(0.1), "No": np.log(0.6)}) == pytest.approx(np.log(0.3))
    assert yes_logprob({"No": -0.1, "Maybe": -3.0}) == -3.0
    assert yes_logprob({}) is None


def test_a_question_with_a_failed_request_adds_no_tokens_of_its_others():
    facts = Facts()
    for name in ("a", "b", "c"):
        question = Question(name, "0", "", 0, "video", "", name)
        facts.describe(question)
        facts.picked("pairs", 0, question, 0)
        for image in range(10):
            failed, untold = (name, image) == ("b", 3), (name, image) == ("c", 4)
            record = RequestRecord(0, "score", "p", 0, 0, 1, 1)
            record.ended_ns, record.status = 10**9, "failed" if failed else "completed"
            record.input_tokens, record.output_tokens = (None, None) if failed or untold else (100, 1)
            facts.requested(question, image, record)
    found = imagecode_metrics(facts.frames())
    assert (found["pairs_input_tokens"].value, found["pairs_input_tokens"].n) == (1000, 1)
    assert (found["pairs_seconds"].value, found["pairs_seconds"].n) == (10, 2)
