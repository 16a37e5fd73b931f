"""The event loop: uvloop where it exists, else asyncio's own."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["LOOP_NAME", "run_loop"]

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
