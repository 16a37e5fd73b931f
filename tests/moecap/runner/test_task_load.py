"""Runs whose load is the questions of their tasks: speed, cost and accuracy of the same requests, and what verifies."""

import json
import shutil
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest

from moecap.backend import NATURAL, Prompt
from moecap.config import RunConfig
from moecap.data.gsm8k import load_gsm8k
from moecap.errors import BadInputError, NotAvailableError
from moecap.files import file_sha256
from moecap.result import read_result, write_result
from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.runner.task_load import refuse_questions
from moecap.settings import with_settings
from moecap.tasks.base import prompts_digest
from moecap.verification.recomputation import verify_run
from moecap_backends.openai import OpenaiBackend

pytestmark = pytest.mark.engine

TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"


@pytest.fixture(scope="module")
def options(tmp_path_factory, tiny_model, host_yaml):
    """A run of five GSM8K questions without examples, which the tiny model's 512 tokens hold."""
    folder = tmp_path_factory.mktemp("model") / "tiny-mixtral"
    shutil.copytree(tiny_model("mixtral"), folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return {
        "model": str(folder),
        "hw": str(host_yaml),
        "backend": "transformers",
        "task": ["gsm8k"],
        "task_arg": ["shots=0"],
        "limit": 5,
        "precision": "fp32",
        "concurrency": 2,
        "output_len": 6,
        "warmup": {"max_batches": 1},
    }


def _run(options, directory, **changes):
    outcome = run(with_settings(options | {"output": str(directory)} | changes, ()), Reporter(quiet=True))
    assert outcome.error is None
    return outcome.directory, outcome.result


@pytest.fixture(scope="module")
def loaded(options, tmp_path_factory):
    """One such run."""
    return _run(options, tmp_path_factory.mktemp("loaded") / "run")


def test_the_questions_are_the_requests_of_the_load(loaded, options):
    directory, _ = loaded
    requests = pd.read_parquet(directory / "requests.parquet")
    load = requests[requests["stage"] == "load"]
    samples = [json.loads(line) for line in (directory / "samples.jsonl").read_text().splitlines()]
    assert [s["id"] for s in samples] == ["0", "1", "2", "3", "4"]
    assert sorted(s["request"] for s in samples) == sorted(load["request"])
    asked = [f"Question: {p.question}\nAnswer:" for p in load_gsm8k()[:5]]
    assert [s["prompt"] for s in samples] == asked
    by_request = load.set_index("request")
    for sample, text in zip(samples, asked, strict=True):  # a token of the tiny model is a byte
        assert by_request.loc[sample["request"], "input_tokens"] == len(text.encode())
    assert set(load["finish_reason"]) <= {"stop", "length"}
    assert set(requests["stage"]) == {"warmup", "load"}


def test_the_result_says_what_was_asked(loaded):
    _, result = loaded
    workload, (task,) = result.workload, result.tasks
    assert (workload.dataset, workload.num_requests, workload.output_len, workload.exact) == ("tasks", 5, 6, False)
    assert (task.name, task.items, task.in_load, task.few_shot, task.chat) == ("gsm8k", 5, True, 0, False)
    assert task.prompts_sha256 == prompts_digest([f"Question: {p.question}\nAnswer:" for p in load_gsm8k()[:5]])
    assert workload.dataset_sha256 == task.prompts_sha256
    assert "--dataset tasks" in result.provenance.command
    for name in ("ttft.p50", "decode.s_mbu", "output_tokens_per_second", "accuracy.gsm8k", "accuracy.gsm8k_truncated"):
        assert result.metrics[name].value is not None, name
    assert result.metrics["accuracy.gsm8k"].n == 5
    flags = {flag.name: flag for flag in result.flags}
    assert "no main ranking" in flags["limited_tasks"].text
    truncated = result.metrics["accuracy.gsm8k_truncated"]
    assert ("answers_truncated" in flags) == (truncated.value > 0)
    assert "accuracy_apart" not in flags


def test_it_verifies_and_its_own_configuration_gives_the_same_answers(loaded, options, tmp_path):
    directory, result = loaded
    assert verify_run(directory).ok
    again = result.workload.model_dump(mode="json") | {name: options[name] for name in ("model", "hw")}
    _, second = _run(again, tmp_path / "again")
    answers = [
        pd.read_parquet(d / "requests.parquet").query("stage == 'load'")["answer_sha256"].tolist()
        for d in (directory, tmp_path / "again")
    ]
    assert answers[0] == answers[1]
    assert second.metrics["accuracy.gsm8k"] == result.metrics["accuracy.gsm8k"]


def test_a_named_data_set_is_the_load_and_the_questions_follow(options, prompts, tmp_path):
    directory, result = _run(
        options,
        tmp_path / "apart",
        dataset=str(prompts),
        input_len=8,
        limit=2,
        num_requests=4,
        task_arg=["shots=0", "max_tokens=5"],
    )
    requests = pd.read_parquet(directory / "requests.parquet")
    assert requests["stage"].value_counts().to_dict() == {"warmup": 2, "load": 4, "score": 2}
    assert set(requests.query("stage == 'load'")["output_tokens"]) == {6}
    assert requests.query("stage == 'score'")["output_tokens_asked"].tolist() == [5, 5]
    (task,) = result.tasks
    assert not task.in_load
    assert "accuracy_apart" in {flag.name for flag in result.flags}
    assert result.metrics["accuracy.gsm8k"].n == 2
    assert verify_run(directory).ok


def test_an_open_loop_sends_the_questions_at_their_times(options, tmp_path):
    directory, result = _run(options, tmp_path / "open", engine_arg=["batching=continuous"], rate=50.0, limit=3)
    assert result.workload.load == "open"
    assert result.metrics["accuracy.gsm8k"].n == 3
    assert verify_run(directory).ok


@pytest.mark.parametrize(
    ("changes", "error", "problem"),
    [
        ({"limit": 1}, BadInputError, "1 questions never reach a concurrency of 2"),
        ({"num_requests": 9}, BadInputError, "--num-requests 9: the tasks have 5 questions"),
        (
            {"backend": "auto", "endpoint": "http://127.0.0.1:9", "rate": 9.0, "client_processes": 21},
            BadInputError,
            "client_processes 21 cannot share a load of 5; take at most 5",
        ),
        (
            {"client_processes": 2},
            NotAvailableError,
            "client_processes 2: backend 'transformers' answers in this process and nothing is sent; leave it out",
        ),
        ({"input_len": 128}, BadInputError, "input_len: the requests are the questions of gsm8k; leave it out"),
        ({"lengths": "asked"}, BadInputError, "lengths: the requests are the questions"),
        ({"natural_end": True, "stop": ["x"]}, BadInputError, "stop: the requests are the questions"),
        ({"dataset": "tasks", "task": ["arc_easy"], "task_arg": []}, BadInputError, "no task generates"),
        ({"temperature": 0.5}, NotAvailableError, "temperature: backend 'transformers' cannot do that"),
        ({"dataset_sha256": "0" * 64}, BadInputError, "the SHA-256 of the tasks' prompts is"),
        ({"output_len": 512}, BadInputError, "answers of 512 tokens leave no room for a question in the model's 512"),
        ({"task_arg": ["shots=0", "max_tokens=0"]}, BadInputError, "max_tokens=0: not a whole number from 1"),
        ({"task_arg": ["shots=nine"]}, BadInputError, "shots=nine: not a whole number from 0 to 8"),
        (
            {"backend": "openai", "endpoint": "http://127.0.0.1:9", "engine_arg": ["api=chat"]},
            BadInputError,
            "api=chat: the server puts the model's chat template around all .* task gsm8k is asked without it",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_starts(options, tmp_path, changes, error, problem):
    with pytest.raises(error, match=problem):
        _run(options, tmp_path / "none", **changes)
    assert not (tmp_path / "none").exists()


def test_a_server_that_applies_the_template_does_not_get_whole_what_was_cut():
    backend = OpenaiBackend.variant({"api": "chat"})
    whole = Prompt("whole", (1, 2), 1, NATURAL, messages=(("user", "x"),))
    refuse_questions({"t": (whole,)}, backend)
    with pytest.raises(BadInputError, match="question cut is longer than the model's context holds"):
        refuse_questions({"t": (whole, Prompt("cut", (1,), 1, NATURAL))}, backend)
    refuse_questions({"t": (Prompt("plain", (1,), 1, NATURAL),)}, OpenaiBackend.variant({"api": "completions"}))


class Impatient(Reporter):
    """Interrupts the load once four answers are complete."""

    @contextmanager
    def bar(self, text, total, told=None):
        def done(number):
            if number >= 4:
                raise KeyboardInterrupt

        yield done


def test_an_interrupted_load_keeps_the_questions_that_were_answered(options, tmp_path):
    settings = options | {"limit": 10, "output": str(tmp_path / "cut")}
    outcome = run(with_settings(settings, ()), Impatient(quiet=True))
    samples = [json.loads(line) for line in (outcome.directory / "samples.jsonl").read_text().splitlines()]
    assert [s["id"] for s in samples] == ["0", "1", "2", "3"]
    assert (outcome.result.status, outcome.result.metrics["accuracy.gsm8k"].n) == ("interrupted", 4)
    assert (outcome.result.workload.num_requests, outcome.result.tasks[0].items) == (10, 10)
    assert verify_run(outcome.directory).ok


class Hasty(Reporter):
    """Interrupts the questions that follow the load."""

    @contextmanager
    def bar(self, text, total, told=None):
        if text != "requests":
            raise KeyboardInterrupt
        yield lambda _number: None


def test_an_interruption_after_the_load_keeps_the_answers_of_the_load(options, tmp_path):
    settings = options | {"task": ["arc_easy", "gsm8k"], "task_arg": [], "limit": 3, "output": str(tmp_path / "cut")}
    outcome = run(with_settings(settings | {"output_len": 4}, ()), Hasty(quiet=True))
    assert outcome.result.status == "interrupted"
    samples = [json.loads(line) for line in (outcome.directory / "samples.jsonl").read_text().splitlines()]
    assert [(s["task"], s["id"]) for s in samples] == [("gsm8k", "0"), ("gsm8k", "1"), ("gsm8k", "2")]
    assert {"load", "task.gsm8k"} <= outcome.result.provenance.seconds.keys()
    assert verify_run(outcome.directory).ok


def test_auto_is_the_data_set_where_no_task_generates():
    assert RunConfig().dataset == "auto"
    assert with_settings({"task": ["gsm8k"], "concurrency": 64}, ()).concurrency == 64


def _forged(directory: Path, place: Path, change) -> tuple[str, ...]:
    """The differences or problems of a run whose samples were changed, with digests and id made anew."""
    shutil.copytree(directory, place)
    lines = [json.loads(line) for line in (place / "samples.jsonl").read_text().splitlines()]
    change(lines)
    (place / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = read_result(place)
    digests = result.observations | {"samples.jsonl": file_sha256(place / "samples.jsonl")}
    write_result(place, result.model_copy(update={"observations": digests}).identified())
    found = verify_run(place)
    assert not found.ok
    return (found.problem, *(d.metric for d in found.differences))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda s: s[0].update(scores={"accuracy": 1}), "without an answer has a score|grading the answer again"),
        (lambda s: s[0].update(outcome="answered", scores={"accuracy": 1}), "outcome 'answered'|grading|outcome"),
        (lambda s: s[0].update(answer=f"The answer is {s[0]['gold']}."), "extracted is not what grading"),
        (lambda s: s[1].update(request=s[0]["request"]), "the answer to another item too"),
        (lambda s: s[0].update(request=0), "was sent in the stage warmup"),
        (lambda s: s[0].update(request=99), "request 99 is none of requests.parquet"),
        (lambda s: s[0].update(finish_reason="eos"), "finish_reason is not that of its request"),
        (lambda s: s[0].update(prompt="Easier?"), "tasks.gsm8k.prompts_sha256"),
        (lambda s: s.pop(), "tasks.gsm8k.items"),
        (lambda s: s[0].update(kind="other", scores={"accuracy": 1}), "the kind is 'other' and not generative"),
        (lambda s: s[0].update(scored_when_truncated=True), "scored_when_truncated is not what grading"),
        (lambda s: s.append({"task": "luck", "id": "0", "scores": {"accuracy": 1}}), "tasks.luck"),
    ],
)
def test_changed_samples_are_found(loaded, tmp_path, change, problem):
    import re

    found = _forged(loaded[0], tmp_path / "forged", change)
    assert any(re.search(problem, text) for text in found), found


def _reply(problem, number):
    """What the server below says to a problem, by its place among the questions: delta, finish_reason; or a status."""
    right = {"content": f"So the answer is {problem.answer}."}
    return [
        (right, "stop"),
        ({"content": "The answer is 123456789."}, "stop"),
        (right, "length"),
        500,
        ({"reasoning_content": f"It must be {problem.answer}.", "content": "I do not know."}, "stop"),
        ({"content": f"<think>The answer is {problem.answer}.</think>Hard to say."}, "stop"),
        (right, None),
    ][number]


@contextmanager
def _server():
    """A real HTTP server with OpenAI's chat API that answers the first problems of GSM8K, each in another way."""
    seen = []
    known = {p.question: (p, n) for n, p in enumerate(load_gsm8k()[:7])}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def _send(self, status, kind, body):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            if self.path == "/v1/models":
                self._send(200, "application/json", json.dumps({"data": [{"id": "m", "owned_by": "us"}]}).encode())
            else:
                self._send(404, "text/plain", b"no")

        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = asked["messages"][-1]["content"]
            problem, number = known.get(text.removeprefix("Question: "), (load_gsm8k()[0], 0))
            seen.append(asked)
            reply = _reply(problem, number)
            if isinstance(reply, int):
                self._send(reply, "application/json", b'{"error": {"message": "out of order"}}')
                return
            delta, reason = reply
            deltas = [{name: value} for name, value in delta.items()]
            chunks = [{"choices": [{"index": 0, "delta": d}]} for d in deltas]
            chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
            usage = {"prompt_tokens": 50, "completion_tokens": len(deltas)}
            chunks.append({"choices": [], "usage": usage})
            body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
            self._send(200, "text/event-stream", body.encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()


def test_a_chat_server_is_sent_messages_and_each_way_of_not_answering_stands_apart(options, tmp_path):
    with _server() as (url, seen):
        directory, result = _run(
            options,
            tmp_path / "chat",
            backend="auto",
            endpoint=url,
            limit=7,
            task_arg=["shots=1", "chat=true"],
            engine_arg=["api=chat"],
        )
    samples = [json.loads(line) for line in (directory / "samples.jsonl").read_text().splitlines()]
    outcomes = ["answered", "answered", "truncated", "failed", "unanswered", "unanswered", "answered"]
    assert [s["outcome"] for s in samples] == outcomes
    assert [s["scores"]["accuracy"] for s in samples] == [1, 0, 0, 0, 0, 0, 1]
    assert samples[0]["prompt"].startswith("user: Question: There are 15 trees")
    assert samples[0]["prompt"].endswith("assistant:")
    roles = sorted([m["role"] for m in asked["messages"]] for asked in seen[-7:])
    cut = sum(s.get("cut", False) for s in samples)  # a question that is too long with its example goes without
    assert roles == [["user"]] * cut + [["user", "assistant", "user"]] * (7 - cut)
    assert 0 < cut < 7
    metrics = result.metrics
    assert metrics["accuracy.gsm8k"].value == pytest.approx(2 / 7)
    assert metrics["accuracy.gsm8k"].n == 7
    shares = {name: metrics[f"accuracy.gsm8k_{name}"].value * 7 for name in ("unanswered", "truncated", "failed")}
    assert shares == pytest.approx({"unanswered": 2, "truncated": 1, "failed": 1})
    assert metrics["failed_requests"].value == 1
    assert result.tasks[0].chat is True
    assert verify_run(directory).ok
