"""An open load on an HTTP/1.1 server: requests are due by a clock, whether or not the ones before were answered.

The time of an answer counts from when its request was due, with what it waited for a free connection or was sent late.
One process and one thread; an answer is read to its end and thrown away, but for one of many, which is handed on whole.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np

SECONDS = 300.0
"""After so long a request counts as failed."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request.

    Attributes:
        kind: What it is counted under.
        parts: Its bytes.
        status: What must be answered.
        check: Says what is wrong with the body of an answer; called where it is given.
    """

    kind: str
    parts: tuple[bytes, ...]
    status: int = 200
    check: Callable[[bytes], str | None] | None = None


@dataclass(slots=True)
class Answer:
    """What became of a request; times are seconds of one clock.

    Attributes:
        kind: What it is counted under.
        due: When it had to be sent.
        sent: When it was.
        first: When the first byte of its answer came.
        done: When the last one came.
        bytes: Of the body, as it came over the wire.
        error: What went wrong; empty where nothing did.
    """

    kind: str
    due: float
    sent: float = 0.0
    first: float = 0.0
    done: float = 0.0
    bytes: int = 0
    error: str = ""


def poisson(rate: float, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Times of arrivals from 0, so many a second on average."""
    times = np.cumsum(rng.exponential(1 / rate, int(rate * seconds * 1.5 + 100)))
    return times[times < seconds]


class _Connection(asyncio.Protocol):
    """One connection: sends a request, reads its answer to the end, and says that it is free."""

    def __init__(self, free: Callable[[_Connection], None]) -> None:
        self._free = free
        self.transport: asyncio.Transport | None = None
        self.asked: Asked | None = None
        self.answer: Answer | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def send(self, asked: Asked, answer: Answer) -> None:
        self.asked, self.answer, self._head, self._status = asked, answer, b"", 0
        self._kept: list[bytes] | None = [] if asked.check else None
        self._left: int | None = None
        self._chunked, self._size = False, b""
        answer.sent = time.perf_counter()
        self.transport.writelines(asked.parts)

    def data_received(self, data: bytes) -> None:
        if self.answer is None:
            return
        if not self._status:
            if not self.answer.first:
                self.answer.first = time.perf_counter()
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            self._read_head(head)
        if self._chunked:
            self._read_chunks(data)
        else:
            self._take(data)
            self._left -= len(data)
            if self._left <= 0:
                self._end()

    def _read_head(self, head: bytes) -> None:
        first, *lines = head.split(b"\r\n")
        self._status = int(first.split(b" ", 2)[1])
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        self._chunked = headers.get(b"transfer-encoding") == b"chunked"
        self._left = 0 if self._chunked else int(headers.get(b"content-length", b"0"))

    def _read_chunks(self, data: bytes) -> None:
        """Chunks: a line with the size, the bytes and an empty line; one of size 0 ends the answer."""
        data = self._size + data
        self._size, at = b"", 0
        while at < len(data):
            if self._left:
                part = data[at : at + self._left]
                self._take(part)
                self._left -= len(part)
                at += len(part)
                continue
            end = data.find(b"\r\n", at + 2 if data[at : at + 2] == b"\r\n" else at)
            if end < 0 or (data[at : at + 1] == b"\r" and at + 2 > len(data)):
                self._size = data[at:]
                return
            size = int(data[at:end].strip(), 16)
            at, self._left = end + 2, size
            if not size:
                if data[at : at + 2] != b"\r\n":
                    self._size, self._left = data[end - len(f"{size:x}") :], 0
                    return
                self._end()
                return

    def _take(self, data: bytes) -> None:
        self.answer.bytes += len(data)
        if self._kept is not None:
            self._kept.append(data)

    def _end(self) -> None:
        answer, asked = self.answer, self.asked
        answer.done = time.perf_counter()
        if self._status != asked.status:
            answer.error = f"status {self._status}"
        elif self._kept is not None:
            answer.error = asked.check(b"".join(self._kept)) or ""
        self.answer = self.asked = None
        self._free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.answer is not None:
            self.answer.error, self.answer.done = f"the connection was lost ({exc})", time.perf_counter()
            self.answer = self.asked = None
            self._free(self)


class OpenLoad:
    """A number of connections, and what waits for one of them.

    Args:
        url: The server.
        connections: How many are held open; each is used in turn, and opened again where the server has closed it.
    """

    def __init__(self, url: str, connections: int) -> None:
        parts = urlsplit(url)
        self._address = parts.hostname or "", parts.port or 80
        self._count = connections
        self._idle: deque[_Connection] = deque()
        self._waiting: deque[tuple[Asked, Answer]] = deque()
        self._open: set[asyncio.Task[None]] = set()

    async def run(self, schedule: Sequence[tuple[float, Asked]]) -> list[Answer]:
        """Send each request when it is due (seconds from now), and wait for the answers of all.

        Args:
            schedule: Requests in the order of their times.
        """
        if not self._idle:
            self._idle.extend(_Connection(self._freed) for _ in range(self._count))
            await asyncio.gather(*(self._connect(connection) for connection in self._idle))
        start, answers = time.perf_counter(), []
        for due, asked in schedule:
            if (wait := start + due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            answer = Answer(asked.kind, start + due)
            answers.append(answer)
            self._dispatch(asked, answer)
        end = time.perf_counter() + SECONDS
        while any(not answer.done for answer in answers) and time.perf_counter() < end:
            await asyncio.sleep(0.05)
        for answer in answers:
            if not answer.done:
                answer.error, answer.done = f"no answer in {SECONDS:.0f} s", time.perf_counter()
        return answers

    def _dispatch(self, asked: Asked, answer: Answer) -> None:
        if not self._idle:
            self._waiting.append((asked, answer))
            return
        connection = self._idle.popleft()
        if connection.transport is not None and not connection.transport.is_closing():
            connection.send(asked, answer)
            return
        task = asyncio.get_running_loop().create_task(self._send_anew(connection, asked, answer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _send_anew(self, connection: _Connection, asked: Asked, answer: Answer) -> None:
        try:
            await self._connect(connection)
        except OSError as error:
            answer.error, answer.done = f"no connection ({error})", time.perf_counter()
            self._freed(connection)
            return
        connection.send(asked, answer)

    async def _connect(self, connection: _Connection) -> None:
        await asyncio.get_running_loop().create_connection(lambda: connection, *self._address)

    def _freed(self, connection: _Connection) -> None:
        self._idle.append(connection)
        if self._waiting:
            self._dispatch(*self._waiting.popleft())


def most_at_once(answers: Sequence[Answer]) -> int:
    """The most requests that were under way at one time."""
    events = sorted([(a.sent, 1) for a in answers if a.sent] + [(a.done, -1) for a in answers if a.sent])
    return int(max(np.cumsum([step for _, step in events]), default=0))
