"""Columns in memory: they leave the rows that the database leaves, after whatever happened to it."""

from __future__ import annotations

import secrets
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from moecap.errors import BadInputError
from moecap.metrics.value import Metric
from moecap_leaderboard import columns as module
from moecap_leaderboard import kept_answers
from moecap_leaderboard.columns import Columns
from moecap_leaderboard.facets import FACETS, spreads
from moecap_leaderboard.figures import FigureModel, FiguresRecord, FigureWorkload
from moecap_leaderboard.figures_store import add_figures
from moecap_leaderboard.history import move, one_at_a_time, publish
from moecap_leaderboard.listing import Filters, all_items, conditions, page
from moecap_leaderboard.problems import ProblemError
from moecap_leaderboard.tables import Figure, Submission

TASKS = ("gsm8k", "mmlu", "mmlu_pro")


def _record(number, engine, tasks, tpot, concurrency):
    return FiguresRecord(
        kind="imported" if number % 3 else "projected",
        model=FigureModel(id=f"org/Model{number % 4}-7B", name=f"Model{number % 4}-7B"),
        hardware=f"h{number % 2}00-sxm",
        hardware_name=f"H{number % 2}00",
        devices=1 + number % 3,
        engine=engine,
        engine_version=f"{engine} 1",
        precision="fp8",
        workload=FigureWorkload(concurrency=concurrency, tasks=tasks, output_len=number, input_len=7),
        metrics={} if tpot is None else {"tpot": Metric(value=tpot, unit="s")},
        source=secrets.token_hex(8),
    )


RECORDS = st.builds(
    _record,
    st.integers(0, 9),
    st.sampled_from(["vllm", "sglang"]),
    st.lists(st.sampled_from(TASKS), unique=True, max_size=3).map(tuple),
    st.none() | st.floats(1e-6, 1e6),
    st.none() | st.integers(1, 64),
)
BOUND = st.none() | st.integers(0, 20)
FILTERS = st.builds(
    Filters,
    kind=st.sampled_from(["measured", "imported", "projected", "all"]),
    state=st.sampled_from(["published", "published", "published", "withdrawn"]),
    versions=st.sampled_from(["newest", "all"]),
    ranked=st.sampled_from(["any", "any", "true", "false"]),
    tier=st.none() | st.sampled_from(["self_reported", "signed", "recomputed", "reproduced"]),
    q=st.none() | st.sampled_from(["model1", "MODEL", "h100", "_", "%", "nothing"]),
    model=st.sampled_from([(), ("org/Model1-7B",), ("org/Model1-7B", "none")]),
    family=st.sampled_from([(), ("model1",)]),
    engine=st.sampled_from([(), ("vllm",), ("sglang", "vllm"), ("trtllm",)]),
    hardware=st.sampled_from([(), ("h000-sxm",)]),
    owner=st.sampled_from([(), ("ada",), ("bob", "carl")]),
    configuration=st.sampled_from([(), ("0123456789abcdef",), ("none", "")]),
    task=st.sampled_from([(), ("mmlu",), ("MMLU",), ("gsm8k", "m_l%")]),
    devices=st.sampled_from([(), (1,), (2, 3)]),
    concurrency_min=BOUND,
    concurrency_max=BOUND,
    input_len_min=BOUND,
    output_len_max=BOUND,
)


def _ids(columns, filters):
    with columns.present() as now:
        return sorted(now.ids(np.flatnonzero(now.rows(filters))))


def _in_sql(database, filters):
    with database.reading() as session:
        return sorted(session.scalars(select(Submission.id).where(*conditions(filters))))


def _values(columns, name):
    with columns.present() as now:
        values = now.metric(name)
        places = np.flatnonzero(~np.isnan(values))
        return dict(zip(now.ids(places), values[places].tolist(), strict=True))


def _values_in_sql(database, name):
    states = ("published", "withdrawn", "invalidated")
    chosen = select(Figure.submission, Figure.value).join(Submission, Submission.id == Figure.submission)
    with database.reading() as session:
        return dict(session.execute(chosen.where(Figure.name == name, Submission.state.in_(states))).all())


def _withdraw(database, number):
    with database.writing() as session:
        one_at_a_time(session)
        rows = session.scalars(select(Submission).where(Submission.state == "published").order_by(Submission.id)).all()
        if rows:
            row = rows[number % len(rows)]
            move(session, row, "withdrawn", row.owner, "withdraw", "a mistake")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["ada", "bob"]), st.lists(RECORDS, max_size=6)) | st.integers(0, 9), max_size=5
    ),
    asked=st.lists(FILTERS, min_size=1, max_size=6),
)
def test_rows_and_values_are_those_of_the_database_after_each_change(board, steps, asked):
    """The filters' meaning in SQL is a second implementation, which lists use."""
    database, columns = board.service.database, board.service.columns
    columns.read(["tpot"])
    for step in [None, *steps]:
        if isinstance(step, int):
            _withdraw(database, step)
        elif step is not None:
            add_figures(database, step[1], step[0])
        for filters in asked:
            assert _ids(columns, filters) == _in_sql(database, filters), filters
        assert _values(columns, "tpot") == _values_in_sql(database, "tpot")
        assert _values(columns, "tpot.p99") == {}
    assert _ids(Columns(database), asked[0]) == _in_sql(database, asked[0])


def test_rows_come_to_be_counted_when_others_change_them(board, make_run):
    """The version before is no longer the newest, and what is repeated has been repeated."""
    database, columns = board.service.database, board.service.columns
    run = make_run("vllm-bf16")
    first = board.submit(run).json()
    assert _ids(columns, Filters()) == [first["id"]]
    again = board.submit(run.variant(1)).json()
    assert _ids(columns, Filters()) == [again["id"]]
    assert _ids(columns, Filters(versions="all")) == sorted([first["id"], again["id"]])
    other = board.submit(run.repeated(), owner="bob", reproduces=again["result"]).json()
    assert other["state"] == "published", other
    assert _ids(columns, Filters(tier="reproduced")) == [again["id"]] == _in_sql(database, Filters(tier="reproduced"))
    board.service.submissions.withdraw(again["id"], "ada", "a mistake")
    for filters in (Filters(), Filters(versions="all"), Filters(state="withdrawn"), Filters(tier="reproduced")):
        assert _ids(columns, filters) == _in_sql(database, filters)
    assert _ids(columns, Filters(owner=("ada",))) == [first["id"]]


def test_values_that_were_asked_for_before_there_were_rows_come_with_them(board):
    database, columns = board.service.database, board.service.columns
    assert _values(columns, "tpot") == {}
    add_figures(database, [_record(1, "vllm", (), 0.5, 1)], "ada")
    assert _values(columns, "tpot") == _values_in_sql(database, "tpot")
    assert len(_values(columns, "tpot")) == 1


def test_values_of_names_that_no_row_has_are_not_kept_and_those_of_others_up_to_a_number(board, monkeypatch):
    """Anybody can ask for a front of ``accuracy.`` and any word."""
    monkeypatch.setattr(module, "_MOST_METRICS", 2)
    database, columns = board.service.database, board.service.columns
    metrics = {name: Metric(value=0.5, unit="1") for name in ("tpot", "ttft", "accuracy.a", "accuracy.b")}
    add_figures(database, [_record(1, "vllm", (), None, 1).model_copy(update={"metrics": metrics})], "ada")
    for name in ("tpot", "accuracy.none", "ttft", "tpot", "accuracy.a"):
        assert len(_values(columns, name)) == (name in metrics)
    assert list(columns._metrics) == ["tpot", "accuracy.a"]
    assert len(_values(columns, "ttft")) == 1


def test_after_many_changes_everything_is_read_anew(board, monkeypatch):
    columns, database = board.service.columns, board.service.database
    add_figures(database, [_record(1, "vllm", (), 0.5, 1)], "ada")
    assert len(_ids(columns, Filters(kind="all"))) == 1
    columns.read(["tpot"])
    monkeypatch.setattr(module, "_FEW_CHANGES", 2)
    add_figures(database, [_record(n, "vllm", ("mmlu",), 0.5, n) for n in range(1, 9)], "bob")
    assert _ids(columns, Filters(kind="all")) == _in_sql(database, Filters(kind="all"))
    assert _values(columns, "tpot") == _values_in_sql(database, "tpot")


def test_counts_of_a_facet_add_up_to_the_rows_that_are_listed(board):
    database = board.service.database
    add_figures(database, [_record(n, "vllm" if n % 2 else "sglang", TASKS[: n % 3], None, n) for n in range(9)], "ada")
    found = spreads(board.service.columns, Filters(kind="all"))
    items = list(all_items(database, Filters(kind="all"), "-published"))
    names = {"kind": "kind", "precision": "precision"}
    assert set(found) == set(FACETS)
    for facet, name in names.items():
        assert found[facet] == {value: sum(i[name] == value for i in items) for value in {i[name] for i in items}}
    assert found["engine"] == {"sglang": 5, "vllm": 4}
    assert found["task"] == {"gsm8k": 6, "mmlu": 3}
    assert list(found["task"]) == ["gsm8k", "mmlu"]


@pytest.mark.parametrize("sort", ["-published", "published", "tpot", "-tpot"])
def test_few_rows_among_many_are_listed_by_their_ids_as_by_the_filters(board, monkeypatch, sort):
    database, columns = board.service.database, board.service.columns
    records = [_record(n, "vllm" if n % 3 else "sglang", (), 0.1 * (n % 4) or None, n) for n in range(1, 13)]
    add_figures(database, records, "ada")
    narrow, wide = Filters(kind="all", engine=("sglang",)), Filters(kind="all")
    assert columns.few(narrow) is None  # of a small board
    monkeypatch.setattr(module, "LARGE", 10)
    monkeypatch.setattr(module, "_FEW", 5)
    among = columns.few(narrow)
    assert sorted(among) == _in_sql(database, narrow)
    assert columns.few(wide) is None
    assert columns.few(replace(narrow, engine=("vllm",))) is None  # of which there are too many
    assert columns.few(replace(narrow, engine=("none",))) == []

    def walk(few):
        found, cursor = [], None
        while True:
            with database.reading() as session:
                part = page(session, narrow, sort, 3, cursor, among=few)
            found, cursor = found + [item["id"] for item in part.items], part.next
            if cursor is None:
                return found

    assert len(walk(None)) == 4
    assert walk(among) == walk(None)
    assert [item["id"] for item in board.get("/results", kind="all", engine="sglang", sort=sort)["items"]] == walk(None)
    assert board.get("/results", kind="all", engine="none", sort=sort) == {"items": [], "next": None}


def test_a_number_that_no_column_takes_is_refused(board, make_run):
    """One of them, once it was in the database, would have let every count fail."""
    record = _record(1, "vllm", (), None, 2**31)
    with pytest.raises(BadInputError, match="concurrency is 2147483648"):
        add_figures(board.service.database, [record], "ada")

    def longer(content):
        content["workload"]["lengths"], content["workload"]["input_len"] = "data", 2**31

    sent = board.submit(make_run("llamacpp-q8_0").changed(longer))
    assert (sent.status_code, sent.json()["type"]) == (400, "/problems/bad-request")
    assert "input_len" in sent.json()["detail"]
    with board.service.database.writing() as session:  # put there by an older version
        publish(session, session.get_one(Submission, _put(session, 2**31 - 1)), "server")
    assert _ids(board.service.columns, Filters(kind="all", input_len_min=2**31 - 1)) != []


def _put(session, length):
    texts = ("model", "family", "hardware", "engine", "precision", "configuration", "names", "tasks", "content_sha256")
    row = Submission(
        **dict.fromkeys(texts, "x"), id="x" * 32, result="x" * 64, state="received", kind="imported", owner="ada",
        created_us=0, devices=1, input_len=length, summary={},
    )  # fmt: skip
    session.add(row)
    session.flush()
    return row.id


def test_what_is_received_waits_for_those_who_change_states(board, make_run):
    """Else its line in the audit log would be seen before one of a lower number, which columns would never read."""
    run, done = make_run("vllm-bf16"), threading.Event()

    def rows():
        with board.service.database.reading() as session:
            return session.scalar(select(func.count()).select_from(Submission))

    def send():
        board.submit(run)
        done.set()

    with board.service.database.writing() as session:
        one_at_a_time(session)
        session.execute(select(1))  # with which SQLite's one writer begins
        sending = threading.Thread(target=send)
        sending.start()
        assert not done.wait(3)
        assert rows() == 0
    sending.join(120)
    assert (rows(), done.is_set()) == (1, True)


def test_a_front_of_a_large_board_has_no_row_that_was_taken_off_it(board, monkeypatch):
    """Though the columns are a second old, and an answer may be a minute."""
    database = board.service.database
    metrics = {name: Metric(value=0.5, unit="s") for name in ("tpot", "ttft")}
    records = [_record(n, "vllm", (), None, n).model_copy(update={"metrics": metrics}) for n in (1, 2)]
    add_figures(database, records, "ada")
    asked = {"kind": "all", "x": "tpot", "y": "ttft"}
    monkeypatch.setattr(module, "LARGE", 1)
    monkeypatch.setattr(kept_answers, "LARGE", 1)
    _ids(board.service.columns, Filters())
    _withdraw(database, 0)
    assert len(board.get("/pareto", **asked)["items"]) == 1
    _withdraw(database, 0)
    assert len(board.get("/pareto", **asked)["items"]) == 1  # some seconds old
    monkeypatch.setattr(kept_answers, "_OLDEST_SECONDS", 0.0)
    assert board.get("/pareto", **asked)["items"] == []


def test_a_reading_that_fails_leaves_the_rows_that_were_there(board, monkeypatch):
    columns, database = board.service.columns, board.service.database
    add_figures(database, [_record(1, "vllm", (), None, 1)], "ada")
    before = _ids(columns, Filters(kind="all"))
    monkeypatch.setattr(module, "_FEW_CHANGES", 0)
    add_figures(database, [_record(2, "vllm", (), None, 1)], "ada")
    with monkeypatch.context() as patched:
        patched.setattr(module, "_parts", lambda *_: iter([[("no", "row")]]))
        with pytest.raises(ValueError, match="zip"):
            _ids(columns, Filters(kind="all"))
        assert columns._count == 1
        assert columns._ids == before
    assert len(_ids(columns, Filters(kind="all"))) == 2


def test_rows_of_a_large_board_are_followed_a_second_later(board, monkeypatch):
    database, columns = board.service.database, board.service.columns
    add_figures(database, [_record(1, "vllm", (), None, 1)], "ada")
    monkeypatch.setattr(module, "LARGE", 1)
    assert len(_ids(columns, Filters(kind="all"))) == 1
    add_figures(database, [_record(2, "vllm", (), None, 1)], "ada")
    assert len(_ids(columns, Filters(kind="all"))) == 1
    monkeypatch.setattr(module, "_HELD_SECONDS", 0.0)
    with columns._turn:  # another thread is reading what has changed
        assert len(_ids(columns, Filters(kind="all"))) == 1
    assert len(_ids(columns, Filters(kind="all"))) == 2


def test_the_newest_come_first_and_no_more_than_asked(board):
    add_figures(board.service.database, [_record(n, "vllm", (), None, n) for n in range(1, 8)], "ada")
    with board.service.database.reading() as session:
        order = select(Submission.id).order_by(Submission.published_us.desc()).limit(3)
        times = session.scalar(select(func.count(func.distinct(Submission.published_us))))
        newest = list(session.scalars(order))
    assert times == 7
    with board.service.columns.present() as now:
        assert now.ids(now.newest(now.rows(Filters(kind="all")), 3)) == newest


def test_hardware_is_named_as_a_row_on_the_board_says(board):
    database, columns = board.service.database, board.service.columns
    add_figures(database, [_record(1, "vllm", (), None, 1)], "ada")
    assert columns.hardware_names(["h100-sxm", "none"]) == {"h100-sxm": "H100"}
    _withdraw(database, 0)
    with columns.present():
        pass
    assert columns.hardware_names(["h100-sxm"]) == {}


def test_a_tier_that_is_none_is_refused_as_by_lists(board):
    for ask in (lambda f: _ids(board.service.columns, f), conditions):
        with pytest.raises(ProblemError, match="no tier 'best'"):
            ask(Filters(tier="best"))


def test_columns_can_be_asked_while_rows_come(board):
    """Each answer is of one state of the board: what is counted twice is the same."""
    database, columns, seen, stop = board.service.database, board.service.columns, [], threading.Event()

    def ask():
        while not stop.is_set():
            with columns.present() as now:
                rows = now.rows(Filters(kind="all"))
                seen.append((sum(now.values("engine", rows).values()), int(rows.sum()), len(now.metric("tpot"))))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(30):
        add_figures(database, [_record(number, "vllm", (), float(number), 1)], f"owner-{number}")
    stop.set()
    for thread in threads:
        thread.join(60)
    assert all(counted == rows <= length for counted, rows, length in seen)
    assert len(_ids(columns, Filters(kind="all"))) == 30


def test_what_is_put_back_on_the_board_is_counted_again(board):
    database, columns = board.service.database, board.service.columns
    add_figures(database, [_record(1, "vllm", (), None, 1)], "ada")
    _withdraw(database, 0)
    assert _ids(columns, Filters(kind="all")) == []
    with database.writing() as session:
        publish(session, session.scalars(select(Submission)).one(), "server")
    assert len(_ids(columns, Filters(kind="all"))) == 1
