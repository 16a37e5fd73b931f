"""Answers that rest on many rows: of the present on a small board, some seconds old on a large one that changes."""

from __future__ import annotations

import json
import threading

import pytest
from sqlalchemy import func, select

from moecap.errors import NotAvailableError
from moecap.report.section import Drawn
from moecap_leaderboard import kept_answers
from moecap_leaderboard.database import open_database
from moecap_leaderboard.drawn_charts import RunCharts, StoredCharts
from moecap_leaderboard.kept_answers import KeptAnswers
from moecap_leaderboard.tables import Audit, Submission


@pytest.fixture
def store(tmp_path):
    """A store, answers kept of it, and a function that changes the board."""
    database = open_database(f"sqlite:///{tmp_path / 'board.sqlite'}")
    found = KeptAnswers(database, 32)

    def change():
        with database.writing() as session:
            session.add(_submission(session.scalar(select(func.count()).select_from(Submission))))
            session.flush()
            session.add(
                Audit(
                    submission=f"{_rows(session) - 1:032x}",
                    time_us=0,
                    actor="server",
                    action="publish",
                    state="published",
                )
            )

    yield database, found, change
    found.close()
    database.close()


def _submission(number):
    texts = ("model", "family", "hardware", "engine", "precision", "configuration", "names", "tasks")
    return Submission(
        **dict.fromkeys(texts, "x"),
        id=f"{number:032x}",
        content_sha256=f"{number:064x}",
        result=f"{number:064x}",
        state="published",
        kind="measured",
        owner="ada",
        created_us=0,
        devices=1,
        summary={},
    )


def _rows(session):
    return session.scalar(select(func.count()).select_from(Submission))


def test_of_a_small_board_every_change_is_counted_and_nothing_twice(store):
    _, found, change = store
    asked = []

    def count(session):
        asked.append(_rows(session))
        return asked[-1]

    change()
    assert [found.of("rows", count) for _ in range(3)] == [1, 1, 1]
    change()
    assert [found.of("rows", count) for _ in range(3)] == [2, 2, 2]
    assert asked == [1, 2]


def test_a_count_of_a_large_board_holds_a_while_and_is_made_anew_beside_those_who_ask(store, monkeypatch):
    _, found, change = store
    monkeypatch.setattr(kept_answers, "LARGE", 1)
    change()
    assert found.of("rows", _rows) == 1
    change()
    assert found.of("rows", _rows) == 1  # some seconds have not passed
    monkeypatch.setattr(kept_answers, "HELD_SECONDS", 0.0)
    begun, may = threading.Event(), threading.Event()

    def slow(session):
        begun.set()
        may.wait(60)
        return _rows(session)

    assert found.of("rows", slow) == 1
    assert begun.wait(60)
    assert found.of("rows", slow) == 1  # nobody waits for the new one
    may.set()
    found.close()  # which waits for it
    monkeypatch.setattr(kept_answers, "HELD_SECONDS", 60.0)
    assert found.of("rows", _rows) == 2


def test_a_count_of_a_large_board_that_is_too_old_is_not_given(store, monkeypatch):
    _, found, change = store
    monkeypatch.setattr(kept_answers, "LARGE", 1)
    monkeypatch.setattr(kept_answers, "_OLDEST_SECONDS", 0.0)
    change()
    assert found.of("rows", _rows) == 1
    change()
    assert found.of("rows", _rows) == 2


def test_of_many_who_ask_for_the_same_one_counts(store):
    _, found, change = store
    change()
    asked, may = [], threading.Event()

    def slow(session):
        asked.append(None)
        may.wait(60)
        return _rows(session)

    answers = []
    threads = [threading.Thread(target=lambda: answers.append(found.of("rows", slow))) for _ in range(5)]
    for thread in threads:
        thread.start()
    may.set()
    for thread in threads:
        thread.join(60)
    assert (answers, len(asked)) == ([1] * 5, 1)


def test_a_count_that_fails_leaves_nothing_and_is_made_again(store):
    _, found, change = store
    change()

    def fail(session):
        raise RuntimeError("no count")

    for key in ("a", "b", "a"):
        with pytest.raises(RuntimeError, match="no count"):
            found.of(key, fail)
    assert found._locks == {}
    assert found.of("a", _rows) == 1


def test_what_is_made_of_the_time_is_made_each_time_on_a_small_board_and_held_on_a_large_one(store, monkeypatch):
    _, found, change = store
    change()
    made = iter(range(100))
    assert [found.dated("page", lambda: next(made)) for _ in range(2)] == [0, 1]
    monkeypatch.setattr(kept_answers, "LARGE", 1)
    assert [found.dated("page", lambda: next(made)) for _ in range(2)] == [2, 2]
    monkeypatch.setattr(kept_answers, "HELD_SECONDS", 0.0)
    assert found.dated("page", lambda: next(made)) == 2  # although nothing has changed it is made anew beside
    found.close()
    monkeypatch.setattr(kept_answers, "HELD_SECONDS", 60.0)
    assert found.dated("page", lambda: next(made)) == 3


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_pages_of_a_large_board_open_with_the_same_answer_again(board, make_run, monkeypatch):
    """Among them a chart, whose update Gradio takes apart each time."""
    monkeypatch.setattr(kept_answers, "LARGE", 1)
    board.submit(make_run("vllm-bf16"))
    for path in ("/", "/board", "/radar", "/tradeoffs", "/compare"):
        page = board.client.get(path).text
        start = "window.gradio_config = "
        config = json.JSONDecoder().raw_decode(page[page.index(start) + len(start) :])[0]
        event = {"data": [], "fn_index": config["page"][path.strip("/")]["dependencies"][0]}
        first, second = (board.client.post("/gradio_api/run/predict", json=event).json()["data"] for _ in range(2))
        assert any(first)
        assert second == first, path


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_that_too_many_wait_for_a_chart_is_not_kept_and_who_asks_for_one_waits_for_no_other(
    board, make_run, monkeypatch
):
    monkeypatch.setattr(kept_answers, "LARGE", 1)
    board.submit(make_run("vllm-bf16"))
    page = board.client.get("/roofline").text
    start = "window.gradio_config = "
    config = json.JSONDecoder().raw_decode(page[page.index(start) + len(start) :])[0]
    own = set(config["page"]["roofline"]["dependencies"])
    opening = [
        one for one in config["dependencies"] if one["id"] in own and ["load"] in [t[1:] for t in one["targets"]]
    ]
    event = {"data": [], "fn_index": max(opening, key=lambda one: len(one["outputs"]))["id"]}
    drawing, may = threading.Semaphore(0), threading.Event()

    def slow(*arguments):
        drawing.release()
        may.wait(60)
        raise NotAvailableError("too many wait")

    def ask():
        return board.client.post("/gradio_api/run/predict", json=event).text

    monkeypatch.setattr(StoredCharts, "of", slow)
    asked = [threading.Thread(target=ask) for _ in range(2)]
    for thread in asked:
        thread.start()
    try:
        assert all(drawing.acquire(timeout=20) for _ in asked)  # both are where their number has a bound
    finally:
        may.set()
        for thread in asked:
            thread.join(60)
    assert "too many wait" in ask()
    drawn = RunCharts((Drawn("Roofline", "it was drawn by hand"),), None, "measured")
    monkeypatch.setattr(StoredCharts, "of", lambda *arguments: drawn)
    assert "it was drawn by hand" in ask()
