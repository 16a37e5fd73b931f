"""Connections that say nothing, too slowly or too much are closed, and answers go on meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time

import pytest
import uvicorn

from moecap_leaderboard.connections import BoundedProtocol

REQUEST = b"GET / HTTP/1.1\r\nHost: board\r\n\r\n"


async def _app(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


class Impatient(BoundedProtocol):
    head_seconds = 0.5


@contextlib.contextmanager
def _serving(protocol, app=_app):
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=protocol, lifespan="off", log_level="critical", limit_concurrency=3)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield listening.getsockname()
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()


@pytest.fixture(scope="module")
def impatient():
    with _serving(Impatient) as address:
        yield address


@pytest.fixture(scope="module")
def patient():
    with _serving(BoundedProtocol) as address:
        yield address


def _all(connection):
    """Everything until the other end closes."""
    parts = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            parts += part
    return parts


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHost: board\r\nX: "], ids=["nothing", "half a header"])
def test_a_connection_whose_headers_do_not_come_is_closed(impatient, begun):
    with socket.create_connection(impatient, 60) as connection:
        connection.sendall(begun)
        assert _all(connection) == b""


def test_a_second_request_that_stalls_is_closed_too(impatient):
    with socket.create_connection(impatient, 60) as connection:
        connection.sendall(REQUEST)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET")
        _all(connection)


def test_a_body_may_come_later_than_headers_may(impatient):
    with socket.create_connection(impatient, 60) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: board\r\nConnection: close\r\nContent-Length: 2\r\n\r\n")
        time.sleep(1)
        connection.sendall(b"ab")
        assert _all(connection).startswith(b"HTTP/1.1 200")


def test_headers_without_end_are_refused(patient):
    with socket.create_connection(patient, 60) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(b"GET / HTTP/1.1\r\nHost: board\r\nX: ")
        for _ in range(1000):
            connection.sendall(b"y" * 65536)
        pytest.fail("64 MB of one header were taken")


def test_a_body_larger_than_headers_may_be_is_taken(patient):
    body = b"z" * 1_000_000
    with socket.create_connection(patient, 60) as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: board\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        connection.sendall(body)
        assert _all(connection).startswith(b"HTTP/1.1 200")


def test_more_connections_than_allowed_are_told_so(patient):
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(socket.create_connection(patient, 60))
        last = stack.enter_context(socket.create_connection(patient, 60))
        last.sendall(REQUEST)
        assert last.recv(65536).startswith(b"HTTP/1.1 503")


async def _hasty(scope, receive, send):
    """Answer before the body is whole, with more than all buffers hold."""
    body = b"x" * 20_000_000 if scope["path"] == "/large" else b"no"
    await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


class Unwaiting(Impatient):
    answer_seconds = 0.5


@pytest.fixture(scope="module")
def hasty():
    with _serving(Unwaiting, _hasty) as address:
        yield address


def test_a_body_that_trickles_on_after_its_answer_holds_no_connection(hasty):
    with socket.create_connection(hasty, 60) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(b"POST / HTTP/1.1\r\nHost: board\r\nContent-Length: 100000\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 401")
        for _ in range(10_000):
            connection.sendall(b"a")
            time.sleep(0.05)
        pytest.fail("the rest of the body was waited for")


def test_a_body_that_is_sent_on_after_its_answer_is_passed_over(hasty):
    with socket.create_connection(hasty, 60) as connection:
        for _ in range(3):
            connection.sendall(b"POST / HTTP/1.1\r\nHost: board\r\nContent-Length: 1000000\r\n\r\n" + b"z" * 1_000_000)
            answer = b""
            while not answer.endswith(b"\r\n\r\nno"):
                answer += connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize("close", [b"", b"Connection: close\r\n"])
def test_an_answer_that_nobody_takes_is_given_up(hasty, close):
    with socket.create_connection(hasty, 60) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: board\r\n" + close + b"\r\n")
        time.sleep(2)
        assert len(_all(connection)) < 20_000_000, "it was kept until it was taken"
