"""What is counted over many rows, kept until the board changes; of a large board some seconds longer."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from moecap_leaderboard.database import Database
from moecap_leaderboard.tables import Audit

__all__ = ["Counts"]

T = TypeVar("T")

LARGE = 10_000
"""Lines of the audit log from which a board is large."""

HELD_SECONDS = 60.0
"""How long a count of a large board holds although the board has changed."""

_OLDEST_SECONDS = 180.0
"""From this age on a count is no longer given while it is made anew."""


@dataclass(slots=True)
class _Kept:
    version: int
    found: Any
    at: float


class Counts:
    """Counts by what they are of.

    Of a small board each is of the present. Of a large one, where counting takes a good part of a second and something
    changes all the time, a count is given for :data:`HELD_SECONDS`, and then until one thread has made it anew.

    Args:
        database: What is counted.
        most: Counts that are kept; the one that nobody asked for longest goes first.
    """

    def __init__(self, database: Database, most: int = 256) -> None:
        self._database, self._most = database, most
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._locks: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()
        self._anew: set[Hashable] = set()
        self._counter = ThreadPoolExecutor(1, "moecap-counts")

    def of(self, key: Hashable, count: Callable[[Session], T]) -> T:
        """What is counted, by this call or by one before.

        Args:
            key: What it is, with the filters that it rests on.
            count: Counts it.
        """
        return self._given(key, count, self._version(), dated=False)

    def of_large(self, key: Hashable, make: Callable[[], T]) -> T:
        """What is made of the rows of a large board and of the time, as old as a count; of a small board always new.

        Args:
            key: What it is.
            make: Makes it.
        """
        version = self._version()
        return make() if version < LARGE else self._given(key, lambda _: make(), version, dated=True)

    def _version(self) -> int:
        with self._database.reading() as session:
            return session.scalar(select(func.max(Audit.number))) or 0

    def _given(self, key: Hashable, count: Callable[[Session], T], version: int, *, dated: bool) -> T:
        with self._lock:
            known = self._kept.get(key)
            if known is not None:
                self._kept.move_to_end(key)
                age = time.monotonic() - known.at
                fresh = known.version == version and not dated
                if fresh or (version >= LARGE and age < _OLDEST_SECONDS):
                    if not fresh and age > HELD_SECONDS and key not in self._anew:
                        self._anew.add(key)
                        self._counter.submit(self._again, key, count)
                    return cast(T, known.found)
            one_at_a_time = self._locks.setdefault(key, threading.Lock())
        with one_at_a_time:
            with self._lock:
                other = self._kept.get(key)
            if other is not None and other is not known and other.version >= version:
                return cast(T, other.found)
            try:
                return self._count(key, count)
            finally:
                with self._lock:
                    if key not in self._kept:  # the count failed, and a lock of each that does would stay
                        self._locks.pop(key, None)

    def _again(self, key: Hashable, count: Callable[[Session], T]) -> None:
        try:
            self._count(key, count)
        finally:
            with self._lock:
                self._anew.discard(key)

    def _count(self, key: Hashable, count: Callable[[Session], T]) -> T:
        version = self._version()
        with self._database.reading() as session:
            found = count(session)
        with self._lock:
            self._kept[key] = _Kept(version, found, time.monotonic())
            self._kept.move_to_end(key)
            if len(self._kept) > self._most:
                old, _ = self._kept.popitem(last=False)
                self._locks.pop(old, None)
        return found

    def close(self) -> None:
        """Wait for the count that is under way."""
        self._counter.shutdown(cancel_futures=True)
