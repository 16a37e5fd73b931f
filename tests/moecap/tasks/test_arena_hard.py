"""Arena-Hard against a judge behind real HTTP, which is sometimes busy, vague, contradictory or broken."""

import json
import os
import re
import signal
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from moecap.errors import BadInputError, NotAvailableError, UnknownNameError
from moecap.metrics.accuracy import accuracy_metrics
from moecap.metrics.corpus_scores import corpus_metrics
from moecap.observations.recorder import RequestRecord
from moecap.tasks import judge
from moecap.tasks.arena_hard import ArenaHard, battle_points
from moecap.tasks.judge import verdict_of
from moecap.tasks.offline import score_predictions

SETTINGS = """
TOLD = "Judge fairly."
JUDGE_SETTINGS = {
    "hard_prompt": {"baseline": "base-1", "system_prompt": TOLD},
    "creative_writing": {"baseline": "base-2", "system_prompt": "Judge kindly."},
    "arena-hard-v0.1": {"baseline": "base-0", "system_prompt": TOLD},
}
raise SystemExit("this file is read and never executed")
"""


SHOWN = re.compile(r"<\|The Start of Assistant [AB]'s Answer\|>\n(.*?)\n<\|The End", re.S)
"""An answer as the judge is shown it."""


class Judging(BaseHTTPRequestHandler):
    """Prefers the longer answer; misbehaves as the question asks it to."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        server.seen.append((self.headers.get("Authorization"), body))
        prompt = body["messages"][1]["content"]
        question = prompt.split("\n")[1]
        with server.lock:
            server.tries[prompt] += 1
            tried = server.tries[prompt]
        if question == "slow":
            server.reached.set()
            server.released.wait(60)
        if question == "busy" and tried < 3:
            return self._send(429 if tried == 1 else 503, b"{}")
        if question == "broken":
            return self._send(500, b"no")
        if question == "garbled":
            return self._send(200, b'{"choices": [')
        if question in ("moved", "refused"):
            return self._send(302 if question == "moved" else 401, b"{}", Location="/elsewhere")
        if question == "cut":
            self.close_connection = True
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")
            return None
        first, second = SHOWN.findall(prompt)
        label = "A>>B" if len(first) > len(second) else "B>A" if len(first) < len(second) else "A=B"
        said = {
            "vague": "Both have merits.",
            "late": f"[[{label}]]" if len(body["messages"]) > 2 else "Let me think about it.",
            "contradictory": "[[A>B]] or rather [[B>A]]",
            "unknown": "[[A]] wins, or [[A<>B]]",
            "turned": f"[[{label.replace('B>A', 'A<B')}]]",
        }.get(question, f"My final verdict is: [[{label}]]")
        content = None if question == "mute" else said
        answer = {"model": "judge-2026", "choices": [{"message": {"role": "assistant", "content": content}}]}
        return self._send(200, json.dumps(answer).encode())

    def do_GET(self):
        self.server.seen.append((self.headers.get("Authorization"), None))
        self._send(404, b"")

    def _send(self, status, content, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_arguments):
        """Nothing on stderr."""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(judge, "WAIT_S", 0.01)
    with ThreadingHTTPServer(("127.0.0.1", 0), Judging) as running:
        running.seen, running.tries, running.lock = [], Counter(), threading.Lock()
        running.reached, running.released = threading.Event(), threading.Event()
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.released.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def repository(tmp_path):
    """A folder in the layout of the authors' repository."""

    def made(questions, version="v2.0", category="hard_prompt"):
        folder = tmp_path / "data" / f"arena-hard-{version}"
        (folder / "model_answer").mkdir(parents=True)
        (tmp_path / "utils").mkdir()
        (tmp_path / "utils" / "judge_utils.py").write_text(SETTINGS)
        old = version == "v0.1"
        rows = [
            {"question_id": q, "cluster": "c", "turns": [{"content": q}]}
            if old
            else {"uid": q, "category": category, "prompt": q}
            for q in questions
        ]
        answers = [
            {"question_id": q, "model_id": "m", "choices": [{"turns": [{"content": "middling"}]}]}
            if old
            else {"uid": q, "messages": [{"role": "user"}, {"role": "assistant", "content": {"answer": "middling"}}]}
            for q in questions
        ]
        (folder / "question.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        for name in ("base-0", "base-1", "base-2"):
            path = folder / "model_answer" / f"{name}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in answers))
        return tmp_path

    return made


def _asked(server, options, folder, **arguments):
    task = ArenaHard()
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    given = {"judge": url, "judge_model": "judge", "chat": "false", **arguments}
    return task, task.items(options(None, folder, **given))


def test_a_better_answer_wins_both_games_and_a_worse_one_loses_both(
    server, repository, options, answered, byte_tokenizer
):
    task, items = _asked(server, options, repository(["one", "two", "three", "turned"]))
    answers = ["a much longer answer", "bad", "middling", "bad"]
    samples = answered(task, items, answers, byte_tokenizer)
    # the longer one wins by B>A as assistant B (1 of 1) and by A>>B as assistant A (3 of 3); the shorter loses likewise
    assert [sample["scores"]["accuracy"] for sample in samples] == [1.0, 0.0, 0.5, 0.0]
    assert [game["label"] for game in samples[0]["games"]] == ["B>A", "A>>B"]
    assert [game["label"] for game in samples[3]["games"]] == ["A>>B", "A<B"]
    assert samples[0]["judge"]["baseline"] == "base-1"
    assert {game["model"] for game in samples[0]["games"]} == {"judge-2026"}
    assert {body["max_tokens"] for _, body in server.seen} == {16000} == {samples[0]["judge"]["output_tokens"]}
    weighted = corpus_metrics(samples)["task.arena_hard_weighted"]
    assert weighted.value == pytest.approx((4 + 0 + 1 + 0) / (4 + 4 + 2 + 4))
    places = [SHOWN.findall(body["messages"][1]["content"]) for _, body in server.seen]
    assert ["middling", answers[0]] in places
    assert [answers[0], "middling"] in places


FAILURES = ["vague", "contradictory", "unknown", "mute", "broken", "garbled", "refused", "cut"]


def test_a_judge_that_fails_gives_no_score_and_is_counted(server, repository, options, answered, byte_tokenizer):
    task, items = _asked(server, options, repository([*FAILURES, "fine", "late", "busy"]))
    samples = answered(task, items, ["a much longer answer"] * 11, byte_tokenizer)
    assert [sample["scores"] for sample in samples[:8]] == [{"judge_failed": 1}] * 8
    assert [sample["scores"]["accuracy"] for sample in samples[8:]] == [1.0] * 3
    problems = {sample["id"]: sample["games"][0]["problem"] for sample in samples}
    assert problems["vague"] == "no label"
    assert problems["contradictory"] == "several different labels"
    assert problems["mute"] == "an answer without text"
    assert problems["broken"] == "status 500"
    assert problems["refused"] == "status 401"
    metrics = accuracy_metrics(samples)
    assert (metrics["accuracy.arena_hard"].value, metrics["accuracy.arena_hard"].n) == (1.0, 3)
    assert metrics["accuracy.arena_hard_judge_failed"].value == pytest.approx(8 / 11)


def test_an_answer_that_failed_or_was_cut_off_loses_and_no_judge_is_asked(
    server, repository, options, answered, byte_tokenizer
):
    task, items = _asked(server, options, repository(["one", "two", "three"]))
    answers = [("half an answ", "length"), ("", "failed"), "<think>all thought"]
    samples = answered(task, items, answers, byte_tokenizer)
    assert [sample["scores"]["accuracy"] for sample in samples] == [0.0] * 3
    assert [sample["outcome"] for sample in samples] == ["truncated", "failed", "unanswered"]
    assert server.seen == []


UNJUDGED = {"judge_failed": 1}


def test_an_interrupt_ends_the_judging_and_what_is_unjudged_is_counted_and_no_tie(
    server, repository, options, answered, byte_tokenizer
):
    limits = {"judge_parallel": 1, "judge_tokens": 99}
    task, items = _asked(server, options, repository(["one", "slow", "two", "three"]), **limits)
    prompts = task.prompts(items, byte_tokenizer)
    records = [RequestRecord(n, "load", p.id, 0, 0, len(p.tokens), p.output_tokens) for n, p in enumerate(prompts)]
    for record in records:
        record.complete(None, 1, "stop", "a much longer answer")

    def interrupt():
        server.reached.wait(60)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    samples = []
    with pytest.raises(KeyboardInterrupt):
        samples.extend(task.samples(items, prompts, records, byte_tokenizer))
    assert not server.released.is_set()  # nobody waited for the judge
    assert [sample["id"] for sample in samples] == ["one", "slow", "two", "three"]
    assert samples[0]["scores"]["accuracy"] == 1.0
    assert [sample["scores"] for sample in samples[1:]] == [UNJUDGED] * 3
    assert {body["max_tokens"] for _, body in server.seen} == {99}
    assert {game["problem"] for sample in samples[1:] for game in sample["games"]} == {
        "not asked: the run ended before"
    }
    metrics = accuracy_metrics(samples)
    assert (metrics["accuracy.arena_hard"].n, metrics["accuracy.arena_hard_judge_failed"].value) == (1, 0.75)


def test_answers_of_a_run_that_ended_before_its_time_are_not_judged_and_can_be_later(
    server, repository, options, answered, byte_tokenizer, tmp_path
):
    folder = repository(["one", "two"])
    task, items = _asked(server, options, folder)
    task.stop_asking()
    samples = answered(task, items, ["an answer", ("half", "length")], byte_tokenizer)
    assert [sample["scores"] for sample in samples] == [UNJUDGED, {"accuracy": 0.0, "judge_failed": 0}]
    assert server.seen == []
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    given = {"judge": url, "judge_model": "judge", "chat": "false"}
    later = score_predictions(ArenaHard(), options(None, folder, **given), path, None)
    assert [sample["scores"]["accuracy"] for sample in later] == [1.0, 0.0]


def test_the_key_goes_to_the_judge_and_nowhere_else(server, repository, options, answered, byte_tokenizer, monkeypatch):
    monkeypatch.setenv(judge.KEY_VARIABLE, "a-secret")
    task, items = _asked(server, options, repository(["one"]))
    samples = answered(task, items, ["x"], byte_tokenizer)
    assert {key for key, _ in server.seen} == {"Bearer a-secret"}
    assert "a-secret" not in json.dumps(samples)
    facts = task.facts(items, byte_tokenizer)
    assert "in a folder of the user's, v2.0; judge judge" in facts.source
    assert "baseline base-1" in facts.source


def test_the_key_does_not_follow_a_redirection(server, repository, options, answered, byte_tokenizer, monkeypatch):
    monkeypatch.setenv(judge.KEY_VARIABLE, "a-secret")
    task, items = _asked(server, options, repository(["moved"]))
    (sample,) = answered(task, items, ["x"], byte_tokenizer)
    assert {(key, body is None) for key, body in server.seen} == {("Bearer a-secret", False), (None, True)}
    assert [game["problem"] for game in sample["games"]] == ["status 404", "status 404"]


@pytest.mark.parametrize(
    ("version", "category", "baseline", "told"),
    [
        ("v0.1", "", "base-0", "Judge fairly."),
        ("v2.0", "hard_prompt", "base-1", "Judge fairly."),
        ("v2.0", "creative_writing", "base-2", "Judge kindly."),
    ],
)
def test_baseline_and_instructions_are_those_of_the_repository(
    server, repository, options, answered, byte_tokenizer, version, category, baseline, told
):
    folder = repository(["one"], version, category)
    task, items = _asked(server, options, folder, version=version)
    (sample,) = answered(task, items, ["x"], byte_tokenizer)
    assert sample["judge"]["baseline"] == baseline
    assert server.seen[0][1]["messages"][0] == {"role": "system", "content": told}


def test_what_is_missing_is_named(server, repository, options, tmp_path):
    folder = repository(["one"])
    with pytest.raises(BadInputError, match="needs --task-arg judge="):
        ArenaHard().items(options(None, folder))
    with pytest.raises(BadInputError, match=r"leave the password out.*MOECAP_JUDGE_API_KEY"):
        ArenaHard().items(options(None, folder, judge="http://me:pw@host/v1", judge_model="x"))
    with pytest.raises(UnknownNameError, match="no version of Arena-Hard named 'v3'"):
        _asked(server, options, folder, version="v3")
    with pytest.raises(UnknownNameError, match="base-1"):
        _asked(server, options, folder, baseline="base-9")
    with pytest.raises(NotAvailableError, match="lmarena/arena-hard-auto"):
        _asked(server, options, None)
    (tmp_path / "utils" / "judge_utils.py").unlink()
    with pytest.raises(NotAvailableError, match=r"judge_utils\.py"):
        _asked(server, options, folder)
    told = tmp_path / "told.txt"
    told.write_text("Judge.")
    assert len(_asked(server, options, folder, baseline="base-1", instructions=told)[1]) == 1


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("[[A>B]]", ("A>B", False)),
        ("first [[A>B]], and again [[A>B]]", ("A>B", False)),
        ("[[A>B]] [[A>>B]]", (None, False)),
        ("[[A]]", (None, True)),
        ("A>B", (None, True)),
        ("", (None, True)),
    ],
)
def test_a_label_counts_only_as_it_is_asked_for(text, verdict):
    assert verdict_of(text) == verdict


@pytest.mark.parametrize(
    ("as_b", "as_a", "points"),
    [
        ("B>>A", "A>>B", (6.0, 6.0)),
        ("A>B", "A>B", (1.0, 2.0)),
        ("A=B", "B>>A", (0.5, 4.0)),
        ("A<<B", "B<A", (4.0, 4.0)),
        (None, "A>B", None),
        ("A>B", None, None),
    ],
)
def test_points_of_two_games_by_hand(as_b, as_a, points):
    assert battle_points(as_b, as_a) == points
