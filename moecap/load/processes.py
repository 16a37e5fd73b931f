"""A load that several client processes share: what they see is gathered as if one had sent it all.

Each process has an event loop of its own. Sessions are dealt to them whole and in turns; in a closed loop the
concurrency is divided among them. All start at one moment of the monotonic clock, which is the same for all processes
of a machine, so that their times need no alignment.
"""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from moecap.errors import RunError
from moecap.load.connection import Reply, Target
from moecap.load.driver import Exchange, Session, Turn
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

__all__ = ["drive_processes"]

START_NS = 50_000_000
"""From the moment in which all processes are ready to the start of the load."""

END_SECONDS = 3.0
"""How long a process that was told to stop may take to tell what it has."""


async def drive_processes(
    target: Target,
    timeout: float,
    sessions: Sequence[Session],
    concurrency: int,
    arrivals: Sequence[float] | None,
    processes: int,
    log: list[Exchange],
    ended: Callable[[Exchange], None],
) -> float:
    """Send sessions from several processes, in a closed or an open loop.

    Args:
        target: The server.
        timeout: Seconds after which a request has failed.
        sessions: In the order in which they start.
        concurrency: How many are in flight over all processes; at least one for each (closed loop).
        arrivals: Seconds from the start at which each is sent instead (open loop), ascending, [sessions].
        processes: How many share them.
        log: Gets every exchange when its process tells of it; at the end in the order of sending.
        ended: Hears of each exchange that has ended.

    Returns:
        Processor seconds that all of them took from the start to the end.

    Raises:
        OSError: If the server cannot be reached at all.
        RunError: If a process ends before its work; what it had told is in the log.
    """
    clients = [_Client(f"client process {k + 1} of {processes}", sessions, log, ended) for k in range(processes)]
    try:
        for k, client in enumerate(clients):
            slots = concurrency // processes + (k < concurrency % processes)
            numbers = _dealt(len(sessions), concurrency if arrivals is None else processes, processes, k)
            due = None if arrivals is None else [float(arrivals[number]) for number in numbers]
            await client.open(target, timeout, numbers, slots, due)
        await asyncio.gather(*(client.ready for client in clients))
        begin = time.monotonic_ns() + START_NS
        for client in clients:
            client.link.tell(Begin(begin))
        return sum(await asyncio.gather(*(client.finished for client in clients)))
    finally:
        await asyncio.gather(*(client.end() for client in clients))
        log.sort(key=lambda exchange: 0 if exchange.reply is None else exchange.reply.sent_ns)


def _dealt(count: int, slots: int, processes: int, process: int) -> list[int]:
    """The sessions of one process: every slot in turn gets one, and the slots are dealt to the processes in turn."""
    return [number for number in range(count) if number % slots % processes == process]


class _Client:
    """A client process as the main one sees it."""

    def __init__(
        self, name: str, sessions: Sequence[Session], log: list[Exchange], ended: Callable[[Exchange], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        self._name = name
        self._sessions, self._log, self._heard = sessions, log, ended
        self._in_flight: dict[tuple[int, int], Exchange] = {}
        self._replies: defaultdict[int, list[Reply]] = defaultdict(list)
        self._process: subprocess.Popen[bytes] | None = None
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115
        self._gone: asyncio.Future[None] = loop.create_future()
        self._ending = False
        self.link = Link(self._take, self._lost)
        self.ready: asyncio.Future[None] = loop.create_future()
        self.finished: asyncio.Future[float] = loop.create_future()

    async def open(
        self, target: Target, timeout: float, numbers: Sequence[int], slots: int, arrivals: list[float] | None
    ) -> None:
        """Start the process and give it its share."""
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "moecap.load.client_process", str(theirs.fileno())]
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._messages,
            )
        ours.setblocking(False)
        await asyncio.get_running_loop().create_unix_connection(lambda: self.link, sock=ours)
        dealt = [self._deal(number) for number in numbers]
        where = (target.host, target.port, target.tls, timeout)
        self.link.tell(Load(*where, dealt, slots, arrivals))

    async def end(self) -> None:
        """End the process, if it runs, and take what it still has to tell."""
        self._ending = True
        if self._process is not None:
            self.link.tell(Stop())
            _, silent = await asyncio.wait({self._gone}, timeout=END_SECONDS)
            if silent:
                self._process.kill()
            self.link.close()
            self._wait(END_SECONDS)
        for future in (self.ready, self.finished):
            future.cancel()
        self._messages.close()

    def _deal(self, number: int) -> DealtSession:
        session = self._sessions[number]
        first = session[0].render(())
        assert isinstance(first, bytes)
        return DealtSession(number, first, [turn.wait for turn in session])

    def _take(self, message: Message) -> None:
        try:
            self._heed(message)
        except BaseException as error:  # a loop would take it for a broken connection
            self._fail(error)

    def _heed(self, message: Message) -> None:
        if isinstance(message, Sent):
            place = (message.session, message.turn)
            exchange = Exchange(*place, message.scheduled_ns, Reply(message.sent_ns))
            self._in_flight[place] = exchange
            self._log.append(exchange)
        elif isinstance(message, Reads):
            reply = self._in_flight[message.session, message.turn].reply
            assert reply is not None
            reply.status, reply.headers = message.status, message.headers or reply.headers
            reply.reads += message.reads
        elif isinstance(message, Ended):
            self._ended(message)
        elif isinstance(message, Ready):
            self.ready.set_result(None)
        elif isinstance(message, Unreachable):
            raise OSError(errno.ECONNREFUSED, message.reason)
        elif isinstance(message, Finished) and not self.finished.done():
            self.finished.set_result(message.cpu_seconds)

    def _ended(self, message: Ended) -> None:
        exchange = self._in_flight.pop((message.session, message.turn))
        reply = exchange.reply
        assert reply is not None
        reply.status, reply.headers, reply.error = message.status, message.headers, message.error
        reply.reads += message.reads
        reply.ended_ns = message.ended_ns
        self._heard(exchange)
        session = self._sessions[message.session]
        if reply.error is None and reply.status == 200 and message.turn + 1 < len(session):
            self._next(message.session, session[message.turn + 1], reply)

    def _next(self, number: int, turn: Turn, reply: Reply) -> None:
        replies = self._replies[number]
        replies.append(reply)
        request = turn.render(replies)
        assert request is None or isinstance(request, bytes)
        self.link.tell(Next(number, request))

    def _lost(self) -> None:
        """The process is gone; what it had in flight has failed with it."""
        self._gone.set_result(None)
        if not self._in_flight and (self._ending or self.finished.done()):
            return
        what = f"{self._name} ended before its work ({self._wait(1.0)})"
        now = time.monotonic_ns()
        for exchange in self._in_flight.values():
            assert exchange.reply is not None
            exchange.reply.error, exchange.reply.ended_ns = what, now
        self._in_flight.clear()
        self._fail(RunError(f"{what}; what was measured until then is kept; run it again"))

    def _fail(self, error: BaseException) -> None:
        future: asyncio.Future[Any] = self.finished if self.ready.done() else self.ready
        if not future.done() and not self._ending:
            future.set_exception(error)

    def _wait(self, seconds: float) -> str:
        """Wait for the process to exit, kill it after a while; how it ended, in words."""
        assert self._process is not None
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        if status < 0:
            return f"signal {signal.Signals(-status).name}"
        self._messages.seek(0)
        said = self._messages.read().decode(errors="replace").strip().splitlines()
        return f"exit status {status}" + (f": {said[-1]}" if said else "")
