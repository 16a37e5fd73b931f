"""Looks at a server's own metrics before and after a load, and at a few of them once a second during it.

The looks during a load go over a connection of their own, which no request can be given, and what they bring is read
after the load: for the client a look is one small request a second. The server renders its text, which takes it some
milliseconds of one processor.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from moecap.errors import BadInputError
from moecap.load.connection import Reply, Target
from moecap.load.connection_pool import ConnectionPool
from moecap.load.loop import run_loop
from moecap.observations.recorder import Recorder
from moecap_backends.exposition import read_exposition, watched_lines

__all__ = ["ServerMetrics"]

PATH = "/metrics"
TIMEOUT_SECONDS = 10.0
EVERY_SECONDS = 1.0
SETTLED_SECONDS = 0.3
"""Wait before the look after a load: engines count an answer just after they have handed out its last token."""


class ServerMetrics:
    """What a server says of itself around one load.

    Args:
        target: The server.
        wanted: Whether to look at all.
    """

    def __init__(self, target: Target, *, wanted: bool = True) -> None:
        self._target = target
        self._looks: list[tuple[int, str, bytes]] = []
        self._published = wanted

    def before(self) -> None:
        """The look before the load; a server that publishes nothing is not looked at again."""
        if self._published:
            self._look("before")

    def after(self) -> None:
        """The look after a load that came to its end."""
        if self._published:
            time.sleep(SETTLED_SECONDS)
            self._look("after")

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Looks at what is watched until it is left; for use inside the loop that drives the load."""
        if not self._published:
            yield
            return
        watch = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watch.cancel()
            await asyncio.wait({watch})  # unlike awaiting it, this keeps an interruption of the load apart

    def record(self, recorder: Recorder) -> None:
        """Hand over what was seen."""
        for time_ns, moment, body in self._looks:
            with contextlib.suppress(BadInputError):  # a page at that path that is something else
                recorder.server_metrics(time_ns, moment, [(s.name, s.labels, s.value) for s in read_exposition(body)])
        self._looks.clear()

    def _look(self, moment: str) -> None:
        async def ask() -> None:
            async with ConnectionPool(self._target, TIMEOUT_SECONDS) as pool:
                await self._ask(pool, moment, lambda body: body)

        run_loop(ask())

    async def _watch(self) -> None:
        async with ConnectionPool(self._target, TIMEOUT_SECONDS) as pool:
            while self._published:
                await asyncio.sleep(EVERY_SECONDS)
                await self._ask(pool, "during", watched_lines)

    async def _ask(self, pool: ConnectionPool, moment: str, kept: Callable[[bytes], bytes]) -> None:
        reply = await pool.ask(self._target.request(PATH), _unheard)
        if reply.error is None and reply.status == 200:
            self._looks.append((reply.ended_ns, moment, kept(reply.body)))
        elif moment == "before":
            self._published = False


def _unheard(_reply: Reply) -> None:
    """Nobody needs to know when a look was sent."""
