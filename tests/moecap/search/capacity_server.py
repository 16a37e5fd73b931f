"""An endpoint of known capacity: a fixed number of requests are answered at once, each on a schedule; others queue.

``python capacity_server.py SLOTS FIRST GAP`` serves as ``moecap.load.stub`` does, but for the queue in front of its
slots. An answer of n tokens takes D = FIRST + (n - 1)·GAP seconds of a slot, so SLOTS/D requests a second are the most.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from moecap.load.loop import run_exact_loop
from moecap.load.stub import StubProtocol

PATH = Path(__file__)


class Slots:
    """Which answers run, and which wait for one to end."""

    def __init__(self, count: int) -> None:
        self.free, self.waiting = count, deque()

    def ask(self, begin) -> None:
        self.waiting.append(begin)
        self._go_on()

    def ended(self) -> None:
        self.free += 1
        self._go_on()

    def _go_on(self) -> None:
        while self.free and self.waiting:
            self.free -= 1
            self.waiting.popleft()()


class QueueingProtocol(StubProtocol):
    """One connection; its answers begin when a slot is free."""

    def __init__(self, first: float, gap: float, slots: Slots) -> None:
        super().__init__(first, gap)
        self._slots = slots

    def _emit(self, loop, due, gap, total, sent):
        if sent:
            super()._emit(loop, due, gap, total, sent)
            return
        first = due - loop.time()

        def begin() -> None:
            now = loop.time()
            loop.call_at(now + first, super(QueueingProtocol, self)._emit, loop, now + first, gap, total, 0)
            loop.call_at(now + first + (total - 1) * gap, self._slots.ended)

        self._slots.ask(begin)


async def _serve(slots: int, first: float, gap: float) -> None:
    loop = asyncio.get_running_loop()
    shared = Slots(slots)
    server = await loop.create_server(lambda: QueueingProtocol(first, gap, shared), "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await loop.run_in_executor(None, sys.stdin.read)


@contextlib.contextmanager
def capacity_server(slots: int, first: float, gap: float) -> Iterator[str]:
    """The server in a process of its own, as the URL of its API."""
    command = [sys.executable, str(PATH), str(slots), str(first), str(gap)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        process.stdin.close()


if __name__ == "__main__":
    run_exact_loop(_serve(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
