"""Answers that rest on many rows, kept until the board changes; of a large board some seconds longer."""

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

__all__ = ["KeptAnswers"]

T = TypeVar("T")

LARGE = 10_000
"""Lines of the audit log from which a board is large."""

HELD_SECONDS = 60.0
"""How long an answer of a large board holds although the board has changed."""

_OLDEST_SECONDS = 180.0
"""From this age on an answer is no longer given while it is made anew."""


@dataclass(slots=True)
class _Kept:
    version: int
    found: Any
    at: float


class KeptAnswers:
    """Answers by what they are to.

    Of a small board each is of the present. Of a large one, where it takes a good part of a second to make one and
    something changes all the time, an answer is given for :data:`HELD_SECONDS`, and then until one thread has made it
    anew.

    Args:
        database: What they rest on.
        most: Answers that are kept; the one that nobody asked for longest goes first.
    """

    def __init__(self, database: Database, most: int) -> None:
        self._database, self._most = database, most
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._locks: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()
        self._anew: set[Hashable] = set()
        self._maker = ThreadPoolExecutor(1, "moecap-answers")

    def of(self, key: Hashable, make: Callable[[Session], T]) -> T:
        """What is made of rows alone, by this call or by one before.

        Args:
            key: What it is, with the filters that it rests on.
            make: Makes it.
        """
        return self._given(key, make, self._version(), dated=False)

    def dated(self, key: Hashable, make: Callable[[], T]) -> T:
        """What is made of rows and of the time: of a small board always new.

        Args:
            key: What it is.
            make: Makes it.
        """
        version = self._version()
        return make() if version < LARGE else self._given(key, lambda _: make(), version, dated=True)

    def _version(self) -> int:
        with self._database.reading() as session:
            return session.scalar(select(func.max(Audit.number))) or 0

    def _given(self, key: Hashable, make: Callable[[Session], T], version: int, *, dated: bool) -> T:
        with self._lock:
            known = self._kept.get(key)
            if known is not None:
                self._kept.move_to_end(key)
                age = time.monotonic() - known.at
                fresh = known.version == version < LARGE and not dated
                if fresh or (version >= LARGE and age < _OLDEST_SECONDS):
                    if not fresh and age > HELD_SECONDS and key not in self._anew:
                        self._anew.add(key)
                        self._maker.submit(self._again, key, make)
                    return cast(T, known.found)
            one_at_a_time = self._locks.setdefault(key, threading.Lock())
        with one_at_a_time:
            with self._lock:
                other = self._kept.get(key)
            if other is not None and other is not known and other.version >= version:
                return cast(T, other.found)
            try:
                return self._make(key, make)
            finally:
                with self._lock:
                    if key not in self._kept:  # it failed, and a lock of each that does would stay
                        self._locks.pop(key, None)

    def _again(self, key: Hashable, make: Callable[[Session], T]) -> None:
        try:
            self._make(key, make)
        finally:
            with self._lock:
                self._anew.discard(key)

    def _make(self, key: Hashable, make: Callable[[Session], T]) -> T:
        version = self._version()
        with self._database.reading() as session:
            found = make(session)
        with self._lock:
            self._kept[key] = _Kept(version, found, time.monotonic())
            self._kept.move_to_end(key)
            if len(self._kept) > self._most:
                old, _ = self._kept.popitem(last=False)
                self._locks.pop(old, None)
        return found

    def close(self) -> None:
        """Wait for the answer that is being made."""
        self._maker.shutdown(cancel_futures=True)
