"""The event loop: uvloop where it exists, else asyncio's own; and one whose timers keep to the microsecond."""

from __future__ import annotations

import asyncio
import importlib.util
import select
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["LOOP_NAME", "run_exact_loop", "run_loop"]

T = TypeVar("T")

LOOP_NAME = "uvloop" if importlib.util.find_spec("uvloop") is not None else "asyncio"


def run_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a fresh loop."""
    if LOOP_NAME == "uvloop":
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work)
    with asyncio.Runner() as runner:
        return runner.run(work)


def run_exact_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop of asyncio that wakes within some 0.1 ms of a timer, and sleeps until then.

    uvloop rounds timers to milliseconds and spins through what is left of the last one, which takes a whole core from
    a client on the same machine; asyncio's own loop rounds them up to milliseconds.
    """
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(_exact_selector())) as runner:
        return runner.run(work)


def _exact_selector() -> selectors.BaseSelector:
    if not hasattr(selectors, "EpollSelector"):
        return selectors.DefaultSelector()

    class ExactSelector(selectors.EpollSelector):
        """``epoll`` waits whole milliseconds; ``select`` on its descriptor waits microseconds."""

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            if timeout is not None and timeout > 0:
                select.select([self.fileno()], [], [], timeout)
                timeout = 0
            return super().select(timeout)

    return ExactSelector()
