"""Sessions of several turns and requests of several choices, against hand calculation."""

import pandas as pd
import pytest

from moecap.metrics.latency import token_latencies
from moecap.metrics.sessions import session_metrics, session_spans, turn_times
from moecap.metrics.window import steady_state

S = 1_000_000_000


def _turn(request, session, turn, due, sent, first, last, *, ended=None, wait=None, status="completed"):
    done = status == "completed"
    return {
        "request": request,
        "stage": "load",
        "scheduled_ns": int(due * S),
        "sent_ns": int(sent * S),
        "first_token_ns": int(first * S) if done else None,
        "last_token_ns": int(last * S) if done else None,
        "ended_ns": int((last if ended is None else ended) * S),
        "status": status,
        "session": session,
        "turn": turn,
        "wait_ns": None if wait is None else int(wait * S),
    }


TWO_TURNS = [
    _turn(0, 0, 0, 0.0, 0.1, 1.1, 3.0, ended=3.2),
    _turn(1, 0, 1, 8.2, 8.2, 8.7, 10.0, wait=5.0),
]


def test_the_time_of_a_session_is_that_of_its_parts():
    metrics = session_metrics(pd.DataFrame([*TWO_TURNS, _turn(2, 1, 0, 0.0, 0.0, 1.0, 10.0)]))
    assert metrics["session.e2e.p50"].value == pytest.approx(10.0)
    assert metrics["session.prefill_share"].value == pytest.approx((1.0 + 0.5 + 1.0) / 20)
    assert metrics["session.decode_share"].value == pytest.approx((1.9 + 1.3 + 9.0) / 20)
    assert metrics["session.tool_share"].value == pytest.approx(5.0 / 20)
    assert metrics["session.client_share"].value == pytest.approx((0.1 + 0.2) / 20)
    assert metrics["session.turns_mean"].value == pytest.approx(1.5)
    assert metrics["session.e2e.p50"].n == 2


def test_what_each_turn_takes_is_a_mean_over_the_sessions_that_completed():
    failed = [_turn(3, 2, 0, 0, 0, 1, 2), _turn(4, 2, 1, 2, 2, 0, 2.5, wait=0, status="failed")]
    rows = pd.DataFrame([*TWO_TURNS, _turn(2, 1, 0, 0.0, 0.0, 2.0, 10.0), *failed])
    times = turn_times(rows.assign(input_tokens=[10, 30, 20, 99, None], input_tokens_asked=99))
    assert times.index.tolist() == [0, 1]
    assert times["sessions"].tolist() == [2, 1]
    assert times["tool"].tolist() == [0, 5]
    assert times["prefill"].tolist() == pytest.approx([(1.0 + 2.0) / 2, 0.5])
    assert times["decode"].tolist() == pytest.approx([(1.9 + 8.0) / 2, 1.3])
    assert times["input_tokens"].tolist() == [15, 30]
    assert turn_times(pd.DataFrame([_turn(0, None, None, 0, 0, 1, 2)])).empty
    assert turn_times(rows.iloc[3:].assign(input_tokens=9, input_tokens_asked=9)).empty


def test_a_session_of_which_a_turn_failed_is_in_no_profile():
    failed = [_turn(2, 1, 0, 0, 0, 1, 2), _turn(3, 1, 1, 2, 2, 0, 2.5, wait=0, status="failed")]
    metrics = session_metrics(pd.DataFrame([*TWO_TURNS, *failed]))
    assert metrics["session.tool_share"].value == pytest.approx(0.5)
    assert metrics["session.turns_mean"].n == 1
    alone = session_metrics(pd.DataFrame(failed))
    assert {m.reason for m in alone.values()} == {"no session completed"}


def test_single_requests_have_no_profile_of_sessions_and_the_reason():
    metrics = session_metrics(pd.DataFrame([_turn(0, None, None, 0, 0, 1, 2)]))
    assert {m.reason for m in metrics.values()} == {"no request of the load is a turn of a session"}


def test_a_session_is_in_flight_while_its_tool_runs():
    """Two sessions with tools in between: never two requests at once, and the load is steady all the same."""
    other = [_turn(2, 1, 0, 0.0, 0.0, 1.0, 4.0), _turn(3, 1, 1, 9.0, 9.0, 9.5, 12.0, wait=5.0)]
    requests = pd.DataFrame([*TWO_TURNS, *other])
    assert steady_state(requests, concurrency=2) == (0, 10 * S)
    assert session_spans(requests)["ended_ns"].tolist() == [10 * S, 12 * S]


def test_an_open_loop_of_sessions_is_steady_by_their_first_turns():
    rows = [
        row
        for i in range(20)
        for row in (_turn(2 * i, i, 0, i, i, i + 0.1, i + 0.2), _turn(2 * i + 1, i, 1, i + 50, i + 50, i + 51, i + 52))
    ]
    assert steady_state(pd.DataFrame(rows), concurrency=None) == (2 * S, 17 * S)


def test_the_gaps_of_a_choice_are_between_its_own_tokens():
    """Two choices, both answered at 1.0, 1.5 and 2.5 s: six tokens, and no gap of nothing between the two."""
    requests = pd.DataFrame([_turn(0, None, None, 0, 0, 1.0, 2.5)])
    rows = [(t, n, c) for t, n in ((1.0, 1), (1.5, 3), (2.5, 5)) for c in (0, 1)]
    chunks = pd.DataFrame(
        [{"request": 0, "time_ns": int(t * S), "tokens": n + c, "kind": "content", "choice": c} for t, n, c in rows]
    )
    values = token_latencies(requests, chunks)
    assert sorted(values["itl"]) == pytest.approx([0.5, 0.5, 1.0, 1.0])
    assert values["tpot"] == pytest.approx([1.5 / 2])
    assert values["ttft"] == pytest.approx([1.0])
    assert values["e2e"] == pytest.approx([2.5])
