"""Sends sessions to a server: a fixed number in flight (closed loop), or each at its time (open loop).

A session is one request or several turns, each sent after the answer to the last one and a wait (the time of a tool).
Nothing is retried. While it sends, the garbage collector is off and what exists is frozen. Times are those of the
monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from moecap.load.connection import Reply
from moecap.load.connection_pool import ConnectionPool

__all__ = ["Exchange", "Log", "Session", "Start", "Turn", "drive_closed", "drive_open", "undisturbed"]

READY = 8
"""Connections that are opened before the first arrival of an open loop; more follow as they are needed."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One request of a session.

    Attributes:
        id: Its prompt's id.
        render: Gives the whole request from the replies to the session's earlier turns, at once or when it is awaited;
            ``None`` ends the session.
        wait: Seconds between the end of the last answer and this request.
    """

    id: str
    render: Callable[[Sequence[Reply]], bytes | Awaitable[bytes | None] | None]
    wait: float = 0.0


Session = Sequence[Turn]


@dataclass(slots=True, eq=False)
class Exchange:
    """One request as it was sent, with its reply.

    Attributes:
        session: Number of the session.
        turn: Number of the turn in it.
        scheduled_ns: When it was to be sent, monotonic ns; in a closed loop when its slot was free.
        reply: What came for it, once it has been sent.
    """

    session: int
    turn: int
    scheduled_ns: int
    reply: Reply | None = None


class Log(Protocol):
    """Gets every exchange when it is sent, so that an interruption finds it: a list, for instance."""

    def append(self, exchange: Exchange, /) -> None:
        """Take one that has just been sent."""


Ended = Callable[[Exchange], None]
Start = Callable[[], Awaitable[int]]
"""Hears that the first connections are open; gives the moment at which the load starts, monotonic ns."""


async def _now() -> int:
    return time.monotonic_ns()


async def drive_closed(
    pool: ConnectionPool,
    sessions: Sequence[Session],
    concurrency: int,
    log: Log,
    ended: Ended,
    start: Start = _now,
) -> None:
    """Keep ``concurrency`` sessions in flight until all have ended.

    Args:
        pool: Connections to the server.
        sessions: In the order in which they start.
        concurrency: How many are in flight.
        log: Gets every exchange when it is sent.
        ended: Hears of each exchange that has ended.
        start: Says when the first ones are sent.

    Raises:
        OSError: If the server cannot be reached at all.
    """
    slots = min(concurrency, len(sessions))
    await pool.warm(slots)
    begin = await start()
    await _until(begin)
    queue = iter(enumerate(sessions))

    async def slot() -> None:
        free = begin
        for number, session in queue:
            free = await _run_session(pool, number, session, free, log, ended)

    async with asyncio.TaskGroup() as group:
        for _ in range(slots):
            group.create_task(slot())


async def drive_open(
    pool: ConnectionPool,
    sessions: Sequence[Session],
    arrivals: Sequence[float],
    log: Log,
    ended: Ended,
    start: Start = _now,
) -> None:
    """Start each session at its time, whatever the server does.

    Args:
        pool: Connections to the server.
        sessions: In the order of their arrival.
        arrivals: Seconds from the start at which each is sent, ascending, [sessions].
        log: Gets every exchange when it is sent.
        ended: Hears of each exchange that has ended.
        start: Says when the load starts.

    Raises:
        OSError: If the server cannot be reached at all.
    """
    await pool.warm(min(READY, len(sessions)))
    begin = await start()
    async with asyncio.TaskGroup() as group:
        for number, (session, offset) in enumerate(zip(sessions, arrivals, strict=True)):
            due = begin + round(offset * 1e9)
            await _until(due)
            group.create_task(_run_session(pool, number, session, due, log, ended))


async def _run_session(pool: ConnectionPool, number: int, session: Session, due: int, log: Log, ended: Ended) -> int:
    """Send the turns one after the other; a turn that fails ends the session. Returns when the last one ended, ns."""
    replies: list[Reply] = []
    for index, turn in enumerate(session):
        request = turn.render(replies)  # before the wait, which hides the time that it takes
        if not isinstance(request, bytes | None):
            request = await request
        if request is None:
            break
        if replies:
            due = replies[-1].ended_ns + round(turn.wait * 1e9)
            await _until(due)
        exchange = Exchange(number, index, due)

        def sent(reply: Reply, exchange: Exchange = exchange) -> None:
            exchange.reply = reply
            log.append(exchange)

        reply = await pool.ask(request, sent)
        ended(exchange)
        if reply.error is not None or reply.status != 200:
            return reply.ended_ns
        replies.append(reply)
    return replies[-1].ended_ns if replies else due


async def _until(due_ns: int) -> None:
    """Sleep until a time: never early, and up to a millisecond late, as exact as the timers of the loop are."""
    while (left := due_ns - time.monotonic_ns()) > 0:
        await asyncio.sleep(left * 1e-9)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """The garbage collector frozen and off, and on again afterwards if it was."""
    was_on = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
        gc.unfreeze()
