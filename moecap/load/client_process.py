"""A client process: sends its share of a load and tells the main process what it sees.

``python -m moecap.load.client_process FD`` talks over the socket FD and ends when the other end does. Requests and
answers are bytes to it; what a later turn says comes from the main process. It tells at once what it has sent, and four
times a second what it has taken apart of the answers in flight, so that a process that dies takes little with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import time
from collections.abc import Sequence

from moecap.load.connection import Reply, Target
from moecap.load.connection_pool import ConnectionPool
from moecap.load.driver import Exchange, Turn, drive_closed, drive_open, undisturbed
from moecap.load.loop import run_loop
from moecap.load.messages import (
    Begin,
    DealtSession,
    Ended,
    Finished,
    Link,
    Load,
    Message,
    Next,
    Reads,
    Ready,
    Sent,
    Stop,
    Unreachable,
)

__all__ = ["ClientProcess", "main"]

TELL_SECONDS = 0.25


class ClientProcess:
    """One process of the client; for the driver it is the log of what is sent."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.link = Link(self._take, self._lost)
        self.gone: asyncio.Future[None] = loop.create_future()
        self._load: asyncio.Future[Load] = loop.create_future()
        self._begin: asyncio.Future[int] = loop.create_future()
        self._next: dict[int, asyncio.Future[bytes | None]] = {}
        self._sessions: list[DealtSession] = []
        self._open: dict[Exchange, int] = {}
        self._began = 0.0
        self._work: asyncio.Task[None] | None = None

    async def work(self) -> None:
        """Do what is asked and tell of it, to the end or until it is stopped."""
        self._work = asyncio.create_task(self._drive(await self._load))
        await asyncio.wait({self._work})
        for exchange in [*self._open]:
            self._ended(exchange)
        problem = None if self._work.cancelled() else self._work.exception()
        if isinstance(problem, OSError):
            self.link.tell(Unreachable(problem.strerror or type(problem).__name__))
        elif problem is not None:
            raise problem
        self.link.tell(Finished(time.process_time() - self._began))
        self.link.close()
        await self.gone

    def append(self, exchange: Exchange) -> None:
        """A request has been sent."""
        assert exchange.reply is not None
        self._open[exchange] = 0
        self.link.tell(Sent(self._number(exchange), exchange.turn, exchange.scheduled_ns, exchange.reply.sent_ns))

    async def _drive(self, load: Load) -> None:
        self._sessions = load.sessions
        sessions = [self._turns(session) for session in load.sessions]
        async with ConnectionPool(Target(load.host, load.port, load.tls, ""), load.timeout) as pool:
            telling = asyncio.create_task(self._tell_of_answers())
            try:
                with undisturbed():
                    if load.arrivals is None:
                        await drive_closed(pool, sessions, load.concurrency, self, self._ended, self._start)
                    else:
                        await drive_open(pool, sessions, load.arrivals, self, self._ended, self._start)
            finally:
                telling.cancel()

    async def _start(self) -> int:
        self.link.tell(Ready())
        begin = await self._begin
        self._began = time.process_time()
        return begin

    def _turns(self, session: DealtSession) -> tuple[Turn, ...]:
        async def asked(_replies: Sequence[Reply]) -> bytes | None:
            self._next[session.number] = asyncio.get_running_loop().create_future()
            return await self._next[session.number]

        name = str(session.number)
        return (Turn(name, lambda _replies: session.first), *(Turn(name, asked, wait) for wait in session.waits[1:]))

    def _number(self, exchange: Exchange) -> int:
        return self._sessions[exchange.session].number

    def _ended(self, exchange: Exchange) -> None:
        reply = exchange.reply
        assert reply is not None
        rest = reply.reads[self._open.pop(exchange) :]
        place = (self._number(exchange), exchange.turn)
        self.link.tell(Ended(*place, reply.status, reply.headers, rest, reply.ended_ns, reply.error))

    async def _tell_of_answers(self) -> None:
        while True:
            await asyncio.sleep(TELL_SECONDS)
            for exchange in [*self._open]:
                self._tell_of(exchange)
                await asyncio.sleep(0)  # reads of other answers come first

    def _tell_of(self, exchange: Exchange) -> None:
        told = self._open.get(exchange)
        if told is None or exchange.reply is None:
            return
        reply = exchange.reply
        new = reply.reads[told:]
        if new:
            self._open[exchange] = told + len(new)
            headers = {} if told else reply.headers
            self.link.tell(Reads(self._number(exchange), exchange.turn, reply.status, headers, new))

    def _take(self, message: Message) -> None:
        if isinstance(message, Load):
            self._load.set_result(message)
        elif isinstance(message, Begin):
            self._begin.set_result(message.at_ns)
        elif isinstance(message, Next):
            self._next.pop(message.session).set_result(message.request)
        elif isinstance(message, Stop):
            self._stop()

    def _stop(self) -> None:
        if not self._load.done():
            self._load.cancel()
        if self._work is not None:
            self._work.cancel()

    def _lost(self) -> None:
        self.gone.set_result(None)
        self._stop()


async def _serve(end: socket.socket) -> None:
    process = ClientProcess()
    await asyncio.get_running_loop().create_unix_connection(lambda: process.link, sock=end)
    with contextlib.suppress(asyncio.CancelledError):
        await process.work()


def main() -> None:
    """Work for the process at the other end of a socket."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they go to all processes; the main one says when to stop
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as end:
        run_loop(_serve(end))


if __name__ == "__main__":
    main()
