"""SIGINT and SIGTERM: the first ends the work as one ``KeyboardInterrupt``, and nothing disturbs what ends it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

__all__ = ["Interruption", "interruptible"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)

PATIENCE_S = 1.0
"""A signal that comes sooner than this after the last is the same request to end, sent again."""

AGAIN_S = 0.01
"""How long after Python dropped the interrupt it is sent again, so that what dropped it has ended."""


class Interruption:
    """The handler of both signals.

    Attributes:
        raised: Whether a signal has ended the work.
    """

    def __init__(self) -> None:
        self.raised = False
        self._held = False
        self._waiting = False
        self._last = -PATIENCE_S
        self._number: int = signal.SIGINT

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """Take a signal: raise it, keep it while signals are held, or ignore it as a repetition.

        A repetition counts again after a while: the code that was interrupted may have dropped it.
        """
        self._number = number
        if self._held:
            self._waiting = True
        elif time.monotonic() - self._last >= PATIENCE_S:
            self._raise()

    def dropped(self) -> None:
        """Send the signal again: Python drops what is raised in a destructor or in a callback of C."""
        self._last = -PATIENCE_S
        timer = threading.Timer(AGAIN_S, os.kill, (os.getpid(), self._number))
        timer.daemon = True
        timer.start()

    def hold(self) -> None:
        """Let signals wait from now on."""
        self._held = True

    def release(self) -> None:
        """Let signals through again.

        Raises:
            KeyboardInterrupt: If one came meanwhile.
        """
        self._held = False
        if self._waiting:
            self._waiting = False
            self._raise()

    def _raise(self) -> None:
        self.raised = True
        self._last = time.monotonic()
        loop = _running_loop()
        if loop is None:
            _interrupt()
        else:  # in the loop's own turn: what is raised in a connection's callback, uvloop takes for its failure
            loop.call_soon_threadsafe(_interrupt)


@contextmanager
def interruptible(*, last: bool = False) -> Iterator[Interruption]:
    """Take both signals for the length of a block; inside another such block that one goes on taking them.

    A signal that the process was told to ignore stays ignored, and outside the main thread there is none to take.

    Args:
        last: The process ends with the block: the signals are ignored from its end on.
    """
    if threading.current_thread() is not threading.main_thread():
        yield Interruption()
        return
    previous = {number: signal.getsignal(number) for number in SIGNALS}
    outer = next((handler for handler in previous.values() if isinstance(handler, Interruption)), None)
    if outer is not None:
        yield outer
        return
    taken = {number: handler for number, handler in previous.items() if handler is not signal.SIG_IGN}
    interruption = Interruption()
    for number in taken:
        signal.signal(number, interruption)
    hook = sys.unraisablehook
    sys.unraisablehook = _watching(interruption, hook)
    try:
        yield interruption
    finally:
        interruption.hold()
        sys.unraisablehook = hook
        for number, handler in taken.items():
            signal.signal(number, signal.SIG_IGN if last else handler)


def _interrupt() -> None:
    raise KeyboardInterrupt


def _running_loop() -> AbstractEventLoop | None:
    """The event loop that runs in this thread; asyncio is not loaded to find that there is none."""
    events = sys.modules.get("asyncio.events")
    return None if events is None else events._get_running_loop()


def _watching(interruption: Interruption, hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """``sys.unraisablehook`` that sends a dropped interrupt again and leaves every other exception to ``hook``."""

    def watch(dropped: Any) -> Any:
        if issubclass(dropped.exc_type, KeyboardInterrupt) and interruption.raised:
            return interruption.dropped()
        return hook(dropped)

    return watch
