"""The client against good and bad servers: every failure is named, bounded in time, and nothing is retried."""

import asyncio
import itertools
import time

import pytest
from scripted_server import answer, chunked

from moecap.errors import BadInputError
from moecap.load import connection
from moecap.load.connection import Target
from moecap.load.connection_pool import ConnectionPool
from moecap.load.loop import run_loop


def _ask(server, count=1, timeout=5.0, pause=0.0):
    async def work():
        replies = []
        async with ConnectionPool(server.target, timeout) as pool:
            for _ in range(count):
                replies.append(await pool.ask(server.target.request("/v1/x", b"{}"), lambda _reply: None))
                await asyncio.sleep(pause)
        return replies

    return run_loop(work())


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8000/v1/", ("127.0.0.1", 8000, False, "/v1")),
        ("localhost:80", ("localhost", 80, False, "")),
        ("https://example.org", ("example.org", 443, True, "")),
        ("http://[::1]:9/a/b", ("::1", 9, False, "/a/b")),
    ],
)
def test_urls_are_read(url, expected):
    target = Target.parse(url)
    assert (target.host, target.port, target.tls, target.prefix) == expected


@pytest.mark.parametrize(
    "url", ["ftp://x", "http://", "http://x:99999", "http://user:key@x", "http://x?key=1", "http://x:y"]
)
def test_other_urls_are_refused(url):
    with pytest.raises(BadInputError, match="endpoint"):
        Target.parse(url)


def test_a_key_is_sent_and_never_printed():
    target = Target.parse("http://x", {"Authorization": "Bearer sk-123"})
    assert b"Authorization: Bearer sk-123\r\n" in target.request("/a", b"{}")
    assert "sk-123" not in repr(target)


def test_one_connection_carries_many_requests(server):
    running = server([(0, answer("{}"))])
    replies = _ask(running, 3)
    assert [r.status for r in replies] == [200] * 3
    assert [r.body for r in replies] == [b"{}"] * 3
    assert running.connections == 1
    assert running.requests[0][0].startswith(b"POST /v1/x HTTP/1.1\r\nHost: 127.0.0.1:")


def test_each_read_of_the_socket_has_its_time(server):
    first, second, end = chunked(b"data: 1\n\n", b"data: 2\n\n")
    reply = _ask(server([(0.05, first), (0.1, second), (0.1, end)]))[0]
    assert [body for _, body in reply.reads] == [b"data: 1\n\n", b"data: 2\n\n"]
    since = [(t - reply.sent_ns) * 1e-9 for t in (*(t for t, _ in reply.reads), reply.ended_ns)]
    assert since[0] < since[1] < since[2]
    assert all(found > due - 0.005 for found, due in zip(since, (0.05, 0.15, 0.25), strict=True))


def test_bytes_that_look_like_the_end_of_a_body_do_not_end_it(server):
    head, first, end = chunked(
        b"data: 1\n\n",
        b"say\r\n0\r\n\r\n",
    )
    looks_whole = first.removesuffix(b"\r\n")
    running = server([(0.02, head), (0.05, looks_whole), (0.05, b"\r\n"), (0.05, end)])
    replies = _ask(running, 2)
    assert [(r.body, r.error) for r in replies] == [(b"data: 1\n\nsay\r\n0\r\n\r\n", None)] * 2
    assert running.connections == 1


def test_a_body_cut_at_every_byte_and_longer_than_a_batch_is_whole(server):
    pieces = [b"data: %d\n\n" % i for i in range(60)]
    stream = b"".join(chunked(*pieces)[1:-1]) + b"0\r\nX-Trailer: 1\r\n\r\n"
    head = chunked(pieces[0])[0]
    sizes = itertools.cycle([1, 2, 3, 50])
    cuts = [0, *itertools.takewhile(lambda at: at < len(stream), itertools.accumulate(sizes)), len(stream)]
    running = server([(0, head), *((0.001, stream[a:b]) for a, b in itertools.pairwise(cuts))])
    for reply in _ask(running, 2):
        assert (reply.error, reply.body) == (None, b"".join(pieces))
        times = [time_ns for time_ns, _ in reply.reads]
        assert times == sorted(times)
        assert len(set(times)) > 20
    assert running.connections == 1


def test_framing_that_breaks_later_in_an_answer_is_named_and_what_came_before_is_kept(server):
    head, second, _ = chunked(b"data: 1\n\n", b"data: 2\n\n")
    reply = _ask(server([(0.02, head), (0.05, second), (0.05, b"zz\r\nnonsense\r\n"), (30, b"")]), timeout=1.0)[0]
    assert "does not speak HTTP/1.1" in reply.error
    assert reply.body == b"data: 1\n\ndata: 2\n\n"


@pytest.mark.parametrize("whole", [[answer("{}")], chunked(b"{}")])
def test_a_connection_on_which_a_server_speaks_unasked_is_not_used_again(server, whole):
    running = server([*((0, part) for part in whole), (0.05, answer("late", status="408 Request Timeout"))])
    assert [(r.status, r.body) for r in _ask(running, 2, pause=0.4)] == [(200, b"{}")] * 2
    assert running.connections == 2


def test_an_answer_without_end_is_given_up_and_what_came_of_it_is_kept(server, monkeypatch):
    monkeypatch.setattr(connection, "MAX_REPLY_BYTES", 1000)
    reply = _ask(server([*((0.01, part) for part in chunked(*[b"x" * 600] * 50)[:-1]), (30, b"")]), timeout=5.0)[0]
    assert reply.error == "the answer is larger than 1000 bytes"
    assert 1000 < len(reply.body) <= 50 * 600


def test_a_body_without_a_length_ends_with_the_connection(server):
    reply = _ask(server([(0, b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhello")], closes=True))[0]
    assert (reply.status, reply.body, reply.error) == (200, b"hello", None)


def test_an_encrypted_stream_is_read_like_any_other(server, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    first, second, end = chunked(b"data: 1\n\n", b"data: 2\n\n")
    running = server([(0.02, first), (0.05, second), (0.05, end)], tls=certificate[1])
    replies = _ask(running, 2)
    assert [b"".join(body for _, body in r.reads) for r in replies] == [b"data: 1\n\ndata: 2\n\n"] * 2
    assert running.connections == 1


def test_a_server_whose_certificate_nobody_vouches_for_is_refused(server, certificate, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    reply = _ask(server([(0, answer("{}"))], tls=certificate[1]))[0]
    assert "cannot connect" in reply.error
    assert "certificate" in reply.error.lower()


def test_a_continue_before_the_answer_is_not_the_answer(server):
    reply = _ask(server([(0, b"HTTP/1.1 100 Continue\r\n\r\n"), (0.02, answer("{}"))]))[0]
    assert (reply.status, reply.body) == (200, b"{}")


@pytest.mark.parametrize(
    ("script", "closes", "problem"),
    [
        ([(0, b"SSH-2.0-OpenSSH\r\n")], False, "does not speak HTTP"),
        ([(0, None)], False, "before an answer"),
        ([(0.05, b"")], True, "before an answer"),
        ([(0, chunked(b"data: 1\n\n")[0]), (0.05, None)], False, "mid-answer|broke"),
        ([(0, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")], True, "mid-answer"),
        ([(0, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")], False, "does not speak HTTP"),
    ],
)
def test_what_a_bad_server_does_is_named_once_and_not_retried(server, script, closes, problem):
    import re

    running = server(script, closes)
    reply = _ask(running)[0]
    assert re.search(problem, reply.error), reply.error
    assert reply.ended_ns >= reply.sent_ns > 0
    assert len(running.requests) == 1


def test_a_server_that_never_ends_is_given_up_at_the_deadline(server):
    begin = time.monotonic()
    reply = _ask(server([(0, chunked(b"data: 1\n\n")[0]), (30, b"")]), timeout=0.5)[0]
    assert reply.error == "no whole answer within 0.5 s"
    assert reply.reads[0][1] == b"data: 1\n\n"
    assert time.monotonic() - begin < 25  # the rest of the answer would come after 30 s


def test_after_a_failure_the_next_request_has_a_connection_of_its_own(server):
    running = server([(0, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")], closes=True)
    assert [bool(r.error) for r in _ask(running, 2)] == [True, True]
    assert running.connections == 2


def test_a_port_on_which_nobody_listens_is_named():
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        target = Target.parse(f"http://127.0.0.1:{free.getsockname()[1]}")

    async def work():
        async with ConnectionPool(target, 2.0) as pool:
            return await pool.ask(target.request("/"), lambda _reply: None)

    reply = run_loop(work())
    assert reply.error.startswith("cannot connect (")
    assert "127.0.0.1" not in reply.error  # it is stored, and a result names no machine
    assert reply.status == 0


def test_an_interruption_ends_the_replies_in_flight(server):
    running = server([(0, chunked(b"data: 1\n\n")[0]), (30, b"")])
    seen = []

    async def work():
        async with ConnectionPool(running.target, 60) as pool:
            task = asyncio.create_task(pool.ask(running.target.request("/", b"{}"), seen.append))
            await asyncio.sleep(0.2)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    run_loop(work())
    assert seen[0].error == "interrupted"
    assert seen[0].reads
