"""Closed and open loops against a stub of known schedule."""

import gc
import itertools
import json
import time

import numpy as np
import pytest

from moecap.load.answers import decode_answer
from moecap.load.calibration import calibrate, running_stub
from moecap.load.connection_pool import ConnectionPool
from moecap.load.driver import Turn, drive_closed, drive_open, undisturbed
from moecap.load.loop import run_loop


@pytest.fixture(scope="module")
def stub():
    with running_stub() as target:
        yield target


def _turn(target, name="t", wait=0.0, **settings):
    body = json.dumps(settings).encode()
    return Turn(name, lambda _replies: target.request("/v1/completions", body), wait)


def _closed(target, sessions, concurrency):
    log, heard = [], []

    async def work():
        async with ConnectionPool(target, 30) as pool:
            await drive_closed(pool, sessions, concurrency, log, heard.append)

    run_loop(work())
    return log, heard


def _open(target, sessions, arrivals):
    log, heard = [], []

    async def work():
        async with ConnectionPool(target, 30) as pool:
            await drive_open(pool, sessions, np.asarray(arrivals), log, heard.append)

    run_loop(work())
    return log, heard


def _in_flight(log):
    edges = sorted([(e.reply.sent_ns, 1) for e in log] + [(e.reply.ended_ns, -1) for e in log])
    return np.cumsum([change for _, change in edges])


def test_a_closed_loop_keeps_its_number_in_flight_and_sends_every_session_once(stub):
    sessions = [[_turn(stub, max_tokens=4, first=0.03, gap=0.005)] for _ in range(30)]
    log, heard = _closed(stub, sessions, 5)
    assert sorted(e.session for e in log) == list(range(30))
    assert len(heard) == 30
    assert _in_flight(log).max() == 5
    answers = [decode_answer(e.reply) for e in log]
    assert {a.error for a in answers} == {None}
    assert {a.output_tokens for a in answers} == {4}


def test_the_slot_is_filled_again_within_milliseconds(stub):
    log, _ = _closed(stub, [[_turn(stub, max_tokens=2, first=0.02)] for _ in range(20)], 1)
    idle = [(b.reply.sent_ns - a.reply.ended_ns) * 1e-9 for a, b in itertools.pairwise(log)]
    assert np.median(idle) < 0.005


def test_an_open_loop_sends_on_time_whatever_the_server_does(stub):
    """No coordinated omission: answers take 0.5 s, arrivals come every 0.05 s all the same."""
    arrivals = [0.05 * i for i in range(10)]
    begin = time.monotonic_ns()
    log, _ = _open(stub, [[_turn(stub, max_tokens=2, first=0.5)] for _ in arrivals], arrivals)
    scheduled = np.array([e.scheduled_ns for e in log])
    assert np.diff(scheduled) * 1e-9 == pytest.approx([0.05] * 9, abs=1e-6)
    late = np.array([e.reply.sent_ns - e.scheduled_ns for e in log]) * 1e-9
    assert (late >= 0).all()
    assert np.median(late) < 0.02
    assert _in_flight(log).max() >= 8
    assert scheduled[0] >= begin


def test_the_turns_of_a_session_follow_their_answers_and_their_waits(stub):
    seen = []

    def second(replies):
        seen.append(decode_answer(replies[-1]).output_tokens)
        return stub.request("/v1/completions", b'{"max_tokens": 3}')

    session = [_turn(stub, "first", max_tokens=5, first=0.05), Turn("second", second, wait=0.2)]
    log, _ = _closed(stub, [session], 1)
    assert [(e.session, e.turn) for e in log] == [(0, 0), (0, 1)]
    assert seen == [5]
    assert (log[1].reply.sent_ns - log[0].reply.ended_ns) * 1e-9 > 0.195
    assert log[1].scheduled_ns - log[0].reply.ended_ns == 200_000_000


def test_a_failed_turn_ends_its_session_and_no_other(server):
    from scripted_server import answer

    running = server([(0, answer('{"error":"full"}', status="503 Service Unavailable"))])
    turn = Turn("t", lambda _replies: running.target.request("/", b"{}"))
    log, _ = _closed(running.target, [[turn, turn], [turn, turn]], 2)
    assert [(e.session, e.turn, e.reply.status) for e in log] == [(0, 0, 503), (1, 0, 503)]


def test_an_interrupted_load_keeps_what_it_has(stub):
    log = []

    async def work():
        async with ConnectionPool(stub, 30) as pool:
            raise_after = [_turn(stub, max_tokens=400, gap=0.01)]

            def stop(_exchange):
                raise KeyboardInterrupt

            await drive_closed(pool, [[_turn(stub, max_tokens=2)], raise_after], 2, log, stop)

    with pytest.raises(KeyboardInterrupt):
        run_loop(work())
    assert len(log) == 2
    assert log[0].reply.error is None
    assert log[1].reply.error in ("interrupted", "not finished when the run ended")


def test_the_times_are_those_of_the_stub(stub):
    """The error of each time stamp against the stub's own, which it writes into the chunk."""
    log, _ = _closed(stub, [[_turn(stub, max_tokens=40, first=0.02, gap=0.005)] for _ in range(10)], 10)
    errors = []
    for exchange in log:
        for time_ns, body in exchange.reply.reads:
            sent = [int(part.split(b"}")[0]) for part in body.split(b'"sent_ns":')[1:]]
            errors += [(time_ns - s) * 1e-9 for s in sent]
    assert len(errors) == 400
    assert min(errors) >= 0
    assert np.median(errors) < 0.005


def test_the_collector_is_off_inside_and_on_again_after():
    assert gc.isenabled()
    with undisturbed():
        assert not gc.isenabled()
        assert gc.get_freeze_count() > 0
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_the_calibration_gives_the_price_of_a_chunk():
    found = calibrate(16)
    assert found.streams == 16
    assert found.chunks == 16 * round(found.chunks / 16) > 1000
    assert found.chunks_per_second == pytest.approx(1 / found.cpu_seconds_per_chunk)
    assert 1_000 < found.chunks_per_second < 1_000_000
