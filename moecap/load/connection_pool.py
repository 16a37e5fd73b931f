"""Connections to one server that are kept open between requests, and what ends those that take too long."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable

from moecap.load.connection import Connection, Reply, Target

__all__ = ["ConnectionPool"]

IDLE_NS = 3_000_000_000
"""A kept connection that was idle for longer is not used again: servers close theirs after 5 s (uvicorn)."""

WATCH_SECONDS = 0.25


class ConnectionPool:
    """Connections to one target, kept open between requests.

    Args:
        target: The server.
        timeout: Seconds after which a request has failed.
    """

    def __init__(self, target: Target, timeout: float) -> None:
        self.target = target
        self._timeout_ns = round(timeout * 1e9)
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._tls = ssl.create_default_context() if target.tls else None
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> ConnectionPool:
        self._watch = asyncio.create_task(self._drop_expired())
        return self

    async def __aexit__(self, *exception: object) -> None:
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        for connection in [*self._busy]:
            connection.fail("not finished when the run ended")
        for connection in self._idle:
            connection.close()

    async def warm(self, count: int) -> None:
        """Open connections ahead, so that no request waits for one.

        Raises:
            OSError: If the server cannot be reached.
        """
        self._idle += await asyncio.gather(*(self._connect() for _ in range(count - len(self._idle))))

    async def ask(self, request: bytes, sent: Callable[[Reply], None]) -> Reply:
        """Send a request and wait for the end of its reply; a failure is in the reply and not raised.

        Args:
            request: The whole request.
            sent: Gets the reply, still empty, in the moment in which the request has been sent.
        """
        try:
            connection = self._take() or await self._connect()
        except OSError as error:
            now = time.monotonic_ns()
            reply = Reply(now, ended_ns=now, error=f"cannot connect ({_reason(error)})")
            sent(reply)
            return reply
        self._busy.add(connection)
        try:
            reply, ended = connection.ask(request, self._timeout_ns)
            sent(reply)
            await ended
        except asyncio.CancelledError:
            connection.fail("interrupted")
            raise
        finally:
            self._busy.discard(connection)
            if connection.usable:
                self._idle.append(connection)
        return reply

    def _take(self) -> Connection | None:
        oldest = time.monotonic_ns() - IDLE_NS
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and (not connection.idle_since_ns or connection.idle_since_ns > oldest):
                return connection
            connection.close()
        return None

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        seconds = min(self._timeout_ns * 1e-9, 30.0)
        target = self.target
        try:
            async with asyncio.timeout(seconds):
                _, connection = await loop.create_connection(Connection, target.host, target.port, ssl=self._tls)
        except TimeoutError:
            raise OSError(f"no connection within {seconds:.0f} s") from None
        return connection

    async def _drop_expired(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            for connection in [c for c in self._busy if c.expired]:
                connection.fail(f"no whole answer within {self._timeout_ns / 1e9:g} s")


def _reason(error: OSError) -> str:
    return error.strerror or (str(error).strip().splitlines() or [type(error).__name__])[0]
