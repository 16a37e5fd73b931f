"""SIGINT and SIGTERM: the first ends the work as one ``KeyboardInterrupt``, and nothing disturbs what ends it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Interruption", "interruptible"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)

PATIENCE_S = 1.0
"""A signal that comes sooner than this after the last is the same request to end, sent again."""


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

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        """Take a signal: raise it, keep it while signals are held, or ignore it as a repetition.

        A repetition counts again after a while: an interrupt can be lost, where a destructor runs for instance.
        """
        if self._held:
            self._waiting = True
        elif time.monotonic() - self._last >= PATIENCE_S:
            self._raise()

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
        raise KeyboardInterrupt


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
    try:
        yield interruption
    finally:
        interruption.hold()
        for number, handler in taken.items():
            signal.signal(number, signal.SIG_IGN if last else handler)
