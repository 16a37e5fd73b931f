"""Calls in threads that a process does not wait for at its end, since an answer may be minutes away."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

__all__ = ["abandonable_map"]

Given = TypeVar("Given")
Made = TypeVar("Made")


def abandonable_map(make: Callable[[Given], Made], given: Sequence[Given], threads: int) -> Iterator[Made]:
    """What ``make`` gives for each item, in order, several at a time.

    Threads of an iteration that is given up start nothing more, and end with the process if not before.

    Args:
        make: Called in a thread; what it raises, the iteration raises.
        given: What it is called with.
        threads: How many calls there are at a time.
    """
    futures: list[Future[Made]] = [Future() for _ in given]
    waiting = iter(list(zip(futures, given, strict=True)))  # an iterator of a list hands each item to one thread

    def work() -> None:
        for future, item in waiting:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(make(item))
                except BaseException as error:  # for the thread that iterates
                    future.set_exception(error)

    for _ in range(min(threads, len(given))):
        Thread(target=work, daemon=True).start()
    try:
        for future in futures:
            yield future.result()
    finally:
        for future in futures:
            future.cancel()
