"""A load that several client processes share is one load: nothing is lost, doubled or out of time."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import psutil
import pytest

from moecap.errors import RunError
from moecap.load import calibration
from moecap.load.answers import decode_answer
from moecap.load.calibration import calibrate, running_stub, streams_of
from moecap.load.connection import Target
from moecap.load.driver import Turn
from moecap.load.loop import run_loop
from moecap.load.messages import Begin, Link, Sent
from moecap.load.processes import drive_processes


@pytest.fixture(scope="module")
def stub():
    with running_stub() as target:
        yield target


@pytest.fixture(autouse=True)
def nobody_left():
    """No client process outlives its load."""
    before = set(_client_processes())
    yield
    assert set(_client_processes()) <= before


def _client_processes():
    children = psutil.Process().children(recursive=True)
    return [c.pid for c in children if "moecap.load.client_process" in c.cmdline()]


def _turn(target, wait=0.0, **settings):
    body = json.dumps(settings).encode()
    return Turn("t", lambda _replies: target.request("/v1/completions", body), wait)


def _drive(target, sessions, concurrency=4, arrivals=None, processes=2, log=None, heard=lambda _exchange: None):
    log = [] if log is None else log
    run_loop(drive_processes(target, 30, sessions, concurrency, arrivals, processes, log, heard))
    return log


def _in_flight(spans):
    edges = sorted(itertools.chain.from_iterable(((begin, 1), (end, -1)) for begin, end in spans))
    return np.cumsum([change for _, change in edges]).max()


@pytest.mark.parametrize("processes", [2, 3])
def test_a_closed_loop_keeps_its_number_of_sessions_in_flight_and_sends_each_turn_once(stub, processes):
    two = [_turn(stub, max_tokens=5, first=0.03, gap=0.005), _turn(stub, 0.06, max_tokens=6, first=0.03, gap=0.005)]
    heard = []
    log = _drive(stub, [two] * 20, 5, processes=processes, heard=heard.append)
    assert Counter((e.session, e.turn) for e in log) == Counter(itertools.product(range(20), range(2)))
    assert {id(e) for e in heard} == {id(e) for e in log}
    answers = [decode_answer(e.reply) for e in log]
    assert {a.error for a in answers} == {None}
    assert [a.output_tokens for a in answers] == [5 + e.turn for e in log]
    of = {(e.session, e.turn): e for e in log}
    assert _in_flight([(of[s, 0].reply.sent_ns, of[s, 1].reply.ended_ns) for s in range(20)]) == 5
    assert {of[s, 1].scheduled_ns - of[s, 0].reply.ended_ns for s in range(20)} == {60_000_000}
    assert [e.reply.sent_ns for e in log] == sorted(e.reply.sent_ns for e in log)


def test_what_a_later_turn_says_follows_from_the_answers_before_it(stub):
    seen = []

    def second(replies):
        seen.append([decode_answer(reply).output_tokens for reply in replies])
        return stub.request("/v1/completions", b'{"max_tokens": 3}') if len(seen) < 4 else None

    sessions = [[_turn(stub, max_tokens=4 + i), Turn("s", second), Turn("s", second)] for i in range(2)]
    log = _drive(stub, sessions, 2)
    assert sorted(tokens[0] for tokens in seen) == [4, 4, 5, 5]
    assert {tuple(tokens[1:]) for tokens in seen} == {(), (3,)}
    assert len(log) == 5  # one session was ended by an absent third turn


def test_arrivals_of_all_processes_count_from_one_moment(stub):
    arrivals = [0.03 * i for i in range(15)]
    log = _drive(stub, [[_turn(stub, max_tokens=2, first=0.3)] for _ in arrivals], arrivals=arrivals, processes=3)
    assert [e.session for e in log] == list(range(15))
    scheduled = np.array([e.scheduled_ns for e in log])
    assert (scheduled - scheduled[0]).tolist() == [round(seconds * 1e9) for seconds in arrivals]
    late = np.array([e.reply.sent_ns for e in log]) - scheduled
    assert (late >= 0).all()
    assert np.median(late) < 20e6


def test_times_are_those_of_the_stub_whose_clock_is_the_same(stub):
    log = _drive(stub, [[_turn(stub, max_tokens=40, first=0.02, gap=0.005)] for _ in range(8)], 8)
    errors = []
    for exchange in log:
        for time_ns, body in exchange.reply.reads:
            errors += [time_ns - int(part.split(b"}")[0]) for part in body.split(b'"sent_ns":')[1:]]
    assert len(errors) == 320
    assert min(errors) >= 0
    assert np.median(errors) < 5e6


def test_a_failed_request_ends_its_session_and_no_other(server):
    from scripted_server import answer

    running = server([(0, answer('{"error":"full"}', status="503 Service Unavailable"))])
    log = _drive(running.target, [[_turn(running.target)] * 2] * 4)
    assert sorted((e.session, e.turn, e.reply.status) for e in log) == [(i, 0, 503) for i in range(4)]
    assert {decode_answer(e.reply).error for e in log} == {"HTTP 503: full"}


def test_every_process_encrypts_and_trusts_what_the_environment_names(server, certificate, monkeypatch):
    from scripted_server import chunked

    first, second, end = chunked(b"data: 1\n\n", b"data: 2\n\n")
    running = server([(0.02, first), (0.02, second), (0.02, end)], tls=certificate[1])
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    log = _drive(running.target, [[_turn(running.target)] * 2] * 6, processes=2)
    assert Counter((e.session, e.turn) for e in log) == Counter(itertools.product(range(6), range(2)))
    assert {e.reply.body for e in log} == {b"data: 1\n\ndata: 2\n\n"}
    assert running.connections == 4  # each slot keeps its own
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(OSError, match=r"(?i)certificate"):
        _drive(running.target, [[_turn(running.target)]] * 4, processes=2)


def test_a_process_that_is_killed_is_named_and_takes_no_ended_answer_with_it(stub):
    log, victims = [], []

    def kill_one(_exchange):
        if len(log) > 6 and not victims:
            time.sleep(0.6)  # both tell what they have of the long answers
            victims.append(min(_client_processes()))
            os.kill(victims[0], signal.SIGKILL)

    long, short = (_turn(stub, max_tokens=n, first=0.01, gap=0.01) for n in (3000, 3))
    sessions = [[long], [long], *([short] for _ in range(40))]
    with pytest.raises(RunError, match=r"client process [12] of 2 ended before its work \(signal SIGKILL\); what was"):
        _drive(stub, sessions, 4, log=log, heard=kill_one)
    ended = [e.reply for e in log if e.reply.error is None]
    assert len(ended) >= 4
    assert all(decode_answer(reply).output_tokens == 3 for reply in ended)
    unended = {e.session: e.reply for e in log if e.session < 2}
    assert sum("ended before its work (signal SIGKILL)" in reply.error for reply in unended.values()) == 1
    assert sum(reply.error in ("interrupted", "not finished when the run ended") for reply in unended.values()) == 1
    assert all(sum(decode_answer(reply).tokens[-1:]) > 10 for reply in unended.values())


def test_an_interrupted_load_keeps_what_every_process_has_seen(stub):
    log = []

    def stop(_exchange):
        raise KeyboardInterrupt

    long = [[_turn(stub, max_tokens=3000, gap=0.01)]] * 3
    with pytest.raises(KeyboardInterrupt):
        _drive(stub, [*long, [_turn(stub, max_tokens=30, gap=0.02)]], 4, log=log, heard=stop)
    assert sorted(e.session for e in log) == [0, 1, 2, 3]
    assert {e.reply.error for e in log if e.session < 3} <= {"interrupted", "not finished when the run ended"}
    assert all(len(e.reply.reads) > 10 for e in log)


def test_a_server_that_nobody_can_reach_ends_the_load_at_once():
    with pytest.raises(OSError, match="refused"):
        _drive(Target.parse("http://127.0.0.1:9"), [[_turn(Target.parse("http://127.0.0.1:9"))]] * 4)


def test_processes_end_when_the_main_one_is_killed(stub):
    code = (
        "import sys; from moecap.load.connection import Target; from moecap.load.driver import Turn\n"
        "from moecap.load.loop import run_loop; from moecap.load.processes import drive_processes\n"
        f"t = Target.parse('http://{stub.name}'); "
        "b = t.request('/v1/completions', b'{\"max_tokens\": 9, \"gap\": 9}')\n"
        "s = [[Turn('t', lambda _: b)]] * 2\n"
        "class Log(list):\n"
        "    def append(self, e): print('sent', flush=True)\n"
        "run_loop(drive_processes(t, 99, s, 2, None, 2, Log(), print))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as main:
        assert main.stdout.readline() == b"sent\n"
        clients = psutil.Process(main.pid).children()
        assert len(clients) == 2
        main.kill()
    _, alive = psutil.wait_procs(clients, timeout=30)
    assert not alive


def test_a_client_process_loads_nothing_heavy():
    code = "import sys, moecap.load.client_process; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers", "numpy", "pandas", "pyarrow", "pydantic"} & {*loaded}


def test_messages_are_whole_however_the_socket_cuts_them():
    class Wire:
        def __init__(self):
            self.written = b""

        def write(self, data):
            self.written += data

        def is_closing(self):
            return False

    told = [Sent(3, 1, 5, 7), Begin(2**40), Sent(0, 0, 0, 0)]
    link, wire = Link(print, print), Wire()
    link.connection_made(wire)
    for message in told:
        link.tell(message)
    for size in (1, 2, 7, 1000):
        heard = []
        other = Link(heard.append, print)
        for start in range(0, len(wire.written), size):
            other.data_received(wire.written[start : start + size])
        assert heard == told


def test_the_calibration_of_several_processes_counts_what_they_and_the_main_one_cost(monkeypatch):
    monkeypatch.setattr(calibration, "usable_processors", lambda: ({0}, 1.0))
    two = calibrate(16, 2)
    assert (two.processes, two.streams) == (2, 16)
    assert two.chunks > 1000
    assert two.chunks_per_second == pytest.approx(1 / two.cpu_seconds_per_chunk)  # they share the one core


@pytest.mark.parametrize(
    ("rate", "choices", "cores", "taken"), [(1.0, 1, 64.0, 1), (1e9, 1, 5.5, 2), (1e9, 1, 2.0, 1), (1.0, 10**9, 5.5, 2)]
)
def test_auto_adds_processes_where_one_is_too_slow_and_there_are_cores(monkeypatch, rate, choices, cores, taken):
    monkeypatch.setattr(calibration, "usable_processors", lambda: ({*range(64)}, cores))
    monkeypatch.setattr(calibration, "STREAM_CHUNKS_PER_SECOND", rate)
    assert calibrate(4, "auto", choices).processes == taken


def test_in_an_open_loop_as_many_answers_stream_at_once_as_the_arrivals_lead_to():
    # 200 tokens a second of each stream: an answer of 400 tokens takes 2 s
    assert streams_of([0.0, 1.0, 2.0, 3.0], [400] * 4) == 2
    assert streams_of([0.0, 0.5, 1.0, 1.5], [400] * 4) == 4
    assert streams_of([0.0, 0.0, 10.0], [2000, 20, 20]) == 2
    rate, tokens = 64, 400  # by Little's law 128 streams, which are 25,600 chunks a second
    assert streams_of([i / rate for i in range(1000)], [tokens] * 1000) == rate * tokens / 200
