"""What was drawn last, so that it is drawn once: those who ask for the same meanwhile wait for the one drawing."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

from moecap_leaderboard.examiners import Examiners

__all__ = ["KeptDrawings"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class KeptDrawings(Generic[K, V]):
    """The last drawings by what they are of.

    Args:
        examiners: Whose places for drawings those who wait hold.
        most: How many are kept; the one that nobody asked for longest goes first.
    """

    def __init__(self, examiners: Examiners, most: int) -> None:
        self._examiners, self._most = examiners, most
        self._kept: OrderedDict[K, V] = OrderedDict()
        self._coming: dict[K, Future[V]] = {}
        self._lock = threading.Lock()

    def get(self, key: K, draw: Callable[[], V]) -> V:
        """A drawing that is kept, that is being made, or that is made now.

        Args:
            key: What it is of.
            draw: Makes it; what it raises reaches all who wait.

        Raises:
            NotAvailableError: If too many wait for drawings.
        """
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        with self._examiners.drawing():
            with self._lock:
                if key in self._kept:
                    return self._kept[key]
                other = self._coming.get(key)
                if other is None:
                    mine = self._coming[key] = Future()
            return other.result() if other is not None else self._drawn(key, draw, mine)

    def _drawn(self, key: K, draw: Callable[[], V], mine: Future[V]) -> V:
        try:
            found = draw()
        except BaseException as error:
            with self._lock:
                del self._coming[key]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._coming[key]
            self._kept[key] = found
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        mine.set_result(found)
        return found
