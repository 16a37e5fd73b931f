"""What rows are filtered, counted and compared by, as columns in memory that follow the database.

A list of fifty rows comes from the database's indexes. To count a hundred thousand rows by seven columns, or to find
the best of their values, a database looks at each row; columns of codes do it in a millisecond or two, each time anew.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Row, Select, func, select
from sqlalchemy.orm import Session

from moecap_leaderboard.database import Database
from moecap_leaderboard.kept_answers import LARGE
from moecap_leaderboard.listing import Filters, require_tier
from moecap_leaderboard.tables import Audit, Figure, Submission

__all__ = ["Columns", "Mask"]

Mask: TypeAlias = NDArray[np.bool_]
"""Of each row whether it is meant."""

_STATES = ("published", "withdrawn", "invalidated")
_TEXTS = ("state", "kind", "family", "model", "hardware", "engine", "precision", "owner", "tasks", "names")
_NUMBERS = ("devices", "concurrency", "input_len", "output_len")
_TRUTHS = ("newest", "ranked", "signed", "recomputed")
_READ = ("id", "configuration", "reproduced_by", "published_us", *_TEXTS, *_NUMBERS, *_TRUTHS)
_ROWS = select(*(getattr(Submission, name) for name in _READ))
_ON_BOARD = (Submission.state + "").in_(_STATES)
"""By no index: each of these states has many rows."""
_EQUAL = ("family", "model", "hardware", "engine", "precision", "owner")
_BOUNDED = ("concurrency", "input_len", "output_len")

_SELECTIVE = (
    *("q", "family", "engine", "precision", "owner", "task", "devices"),
    *(f"{name}_{end}" for name in _BOUNDED for end in ("min", "max")),
)
"""Filters that may leave few rows and by which no index leads to them."""
_FEW = 500
"""Rows that are few: as many as one query names."""
_HELD_SECONDS = 1.0
"""How long the columns of a large board are taken for present."""
_FETCHED = 5000
_NAMED = 500
"""Rows that one query names."""
_FEW_CHANGES = 20_000
"""Lines of the audit log up to which what they changed is read; after more everything is."""
_MOST_METRICS = 100
"""Metrics whose values are kept; the one that nobody asked for longest goes first."""
_NONE = -1
"""In a column of numbers that it has none; the code of a text, and the place of a row, that there is not."""


class Columns:
    """All rows that are or were on the board, as columns; read when first asked for, and then what has changed.

    Every question is answered for the present state of the database, of a large board for that of a second ago at most;
    while one thread reads what has changed, others are answered. In memory a row takes some 270 bytes, and each
    metric that is asked for 12 more.

    Args:
        database: Where the rows are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock, self._turn = threading.RLock(), threading.Lock()
        self._number, self._followed = 0, 0.0
        self._count = 0
        self._ids: list[str] = []
        self._places: dict[str, int] = {}
        self._codes: dict[str, dict[str, int]] = {name: {} for name in _TEXTS}
        self._arrays: dict[str, NDArray[Any]] = {
            **{name: np.empty(0, np.int32) for name in _TEXTS},
            **{name: np.empty(0, np.int64) for name in _NUMBERS},
            **{name: np.empty(0, np.bool_) for name in (*_TRUTHS, "reproduced")},
            "configuration": np.empty(0, np.uint64),
            "published_us": np.empty(0, np.int64),
        }
        self._metrics: OrderedDict[str, NDArray[np.float64]] = OrderedDict()
        self._hardware_names: dict[str, str] = {}

    @contextmanager
    def present(self) -> Iterator[Columns]:
        """Itself, as of now, or of a large board as of a second ago, and unchanged until the end of the block."""
        self._follow()
        with self._lock:
            yield self

    def read(self, metrics: Iterable[str]) -> None:
        """Read the rows and the values of metrics before somebody asks; others may ask between two of them.

        Args:
            metrics: Names of metrics.
        """
        self._follow()
        for name in metrics:
            with self._lock:
                self.metric(name)

    def values(self, name: str, rows: Mask) -> dict[str, int]:
        """How many rows have each value of a column of texts.

        Args:
            name: The column, such as ``engine``.
            rows: Which rows.
        """
        codes = self._codes[name]
        counts = np.bincount(self._column(name)[rows], minlength=len(codes))
        return {text: int(counts[code]) for text, code in codes.items() if counts[code]}

    def metric(self, name: str) -> NDArray[np.float64]:
        """The values of a metric, in its own unit, one a row; NaN where a row has none.

        Args:
            name: The metric.
        """
        if name in self._metrics:
            self._metrics.move_to_end(name)
        else:
            found = np.full(len(self._arrays["kind"]), np.nan)
            with self._database.reading() as session:
                chosen = select(Figure.submission, Figure.value).where(Figure.name == name)
                for part in _parts(session, chosen):
                    identifiers, values = zip(*part, strict=True)
                    places = np.array([self._places.get(identifier, _NONE) for identifier in identifiers])
                    here = places != _NONE  # others are not on the board, or not yet here
                    found[places[here]] = np.array(values)[here]
            if np.isnan(found).all():
                return found[: self._count]  # there is no end of names that no row has
            self._metrics[name] = found
            if len(self._metrics) > _MOST_METRICS:
                self._metrics.popitem(last=False)
        return self._metrics[name][: self._count]

    def newest(self, rows: Mask, most: int) -> NDArray[np.intp]:
        """Places of the rows that were published last, the newest first.

        Args:
            rows: Which rows.
            most: How many at most.
        """
        places = np.flatnonzero(rows)
        return places[np.argsort(-self._column("published_us")[places], kind="stable")[:most]]

    def ids(self, places: NDArray[np.intp]) -> list[str]:
        """The ids of the submissions in some places."""
        return [self._ids[place] for place in places.tolist()]

    def few(self, filters: Filters) -> list[str] | None:
        """The ids of the submissions that filters leave, where these are few among many.

        A database that looks for fifty rows in the order of a list would go through all of them to find so few.

        Args:
            filters: Which rows.
        """
        if not any(getattr(filters, name) for name in _SELECTIVE):
            return None
        with self.present():
            if self._count < LARGE:
                return None
            places = np.flatnonzero(self.rows(filters))
            return self.ids(places) if len(places) <= _FEW else None

    def result_at(self, place: int) -> str:
        """The id of the result in a place."""
        with self._database.reading() as session:
            return session.get_one(Submission, self._ids[place]).result

    def hardware_names(self, identifiers: Collection[str]) -> dict[str, str]:
        """Names of hardware by its ids, each as a row on the board says it.

        Args:
            identifiers: Values of the column ``hardware``.
        """
        with self._lock, self._database.reading() as session:
            for identifier in identifiers:
                if identifier not in self._hardware_names:
                    live = (Submission.hardware == identifier, Submission.state == "published", Submission.newest)
                    summary = session.scalars(select(Submission.summary).where(*live).limit(1)).first()
                    if summary is not None:
                        self._hardware_names[identifier] = str(summary["hardware"]["name"])
            return {i: self._hardware_names[i] for i in identifiers if i in self._hardware_names}

    def rows(self, filters: Filters) -> Mask:
        """Which rows filters leave; what :func:`listing.conditions` says in SQL.

        Raises:
            ProblemError: If there is no such tier.
        """
        rows: Mask = self._column("state") == self._code("state", filters.state)
        if filters.kind != "all":
            rows &= self._column("kind") == self._code("kind", filters.kind)
        if filters.versions == "newest" and filters.state == "published":
            rows &= self._column("newest")
        if filters.ranked != "any":
            rows &= self._column("ranked") == (filters.ranked == "true")
        for name in _EQUAL:
            if values := getattr(filters, name):
                rows &= np.isin(self._column(name), [self._code(name, value) for value in values])
        if filters.devices:
            rows &= np.isin(self._column("devices"), filters.devices)
        if filters.configuration:
            numbers = [number for text in filters.configuration if (number := _number(text))]
            rows &= np.isin(self._column("configuration"), np.array(numbers, np.uint64))
        for name in _BOUNDED:
            rows &= self._between(name, getattr(filters, f"{name}_min"), getattr(filters, f"{name}_max"))
        if filters.task:
            rows &= self._with_texts("tasks", [f" {name} " for name in filters.task])
        if filters.q:
            rows &= self._with_texts("names", [filters.q.lower()])
        if filters.tier is not None:
            rows &= self._at_least(filters.tier)
        return rows

    def _between(self, name: str, least: int | None, most: int | None) -> Mask:
        column = self._column(name)
        rows = np.full(len(column), True) if least is most is None else column != _NONE
        if least is not None:
            rows &= column >= least
        if most is not None:
            rows &= column <= most
        return rows

    def _at_least(self, tier: str) -> Mask:
        require_tier(tier)
        recomputed = self._column("recomputed")
        reached: Mapping[str, Mask] = {
            "self_reported": np.ones_like(recomputed),
            "signed": self._column("signed") | recomputed,
            "recomputed": recomputed,
            "reproduced": recomputed & self._column("reproduced"),
        }
        return reached[tier]

    def _with_texts(self, name: str, parts: Sequence[str]) -> Mask:
        """Which rows have one of some texts within their own."""
        codes = self._codes[name]
        has: Mask = np.fromiter((any(part in text for part in parts) for text in codes), np.bool_, len(codes))
        return np.take(has, self._column(name))

    def _code(self, name: str, value: str) -> int:
        return self._codes[name].get(value, _NONE)

    def _column(self, name: str) -> NDArray[Any]:
        return self._arrays[name][: self._count]

    def _follow(self) -> None:
        """Read what has changed; of a large board no more than once a second, and without keeping others waiting.

        Each change of a row has its line in the audit log, written under the lock of states, or is of a row with the
        same owner and configuration as such a one, or of what it repeats (``history.py``).
        """
        large = self._number >= LARGE
        if (large and time.monotonic() - self._followed < _HELD_SECONDS) or not self._turn.acquire(blocking=not large):
            return
        try:
            with self._database.reading() as session:
                number = session.scalar(select(func.max(Audit.number))) or 0
                if self._number == 0 or not 0 <= number - self._number <= _FEW_CHANGES:
                    self._read_all(session)
                elif number > self._number:
                    self._read_changes(session)
            self._number, self._followed = number, time.monotonic()
        finally:
            self._turn.release()

    def _read_all(self, session: Session) -> None:
        new = Columns(self._database)
        for part in _parts(session, _ROWS.where(_ON_BOARD)):
            new._take(part)
        with self._lock:
            self._count, self._ids, self._places = new._count, new._ids, new._places
            self._codes, self._arrays = new._codes, new._arrays
            self._metrics.clear()  # they are read when they are asked for
            self._hardware_names.clear()

    def _read_changes(self, session: Session) -> None:
        """Read rows that changed, those that may have changed with them, and the values of the former."""
        lines = select(Audit.submission).where(Audit.number > self._number).distinct()
        changed = list(session.scalars(lines))
        about = select(Submission.configuration, Submission.owner, Submission.reproduces)
        for start in range(0, len(changed), _NAMED):
            some = changed[start : start + _NAMED]
            beside = session.execute(about.where(Submission.id.in_(some))).all()
            configurations, owners, repeated = ({row[part] for row in beside if row[part]} for part in range(3))
            # each by an index of its own: asked for together, SQLite would look at every row
            versions = Submission.configuration.in_(configurations) & Submission.owner.in_(owners)
            meant = (Submission.id.in_(some), versions, Submission.result.in_(repeated))
            parts = [part for which in meant for part in _parts(session, _ROWS.where(which, _ON_BOARD))]
            figures = select(Figure.name, Figure.submission, Figure.value).where(Figure.submission.in_(some))
            values = session.connection().execute(figures).all()
            with self._lock:
                for part in parts:
                    self._take(part)
                for name, identifier, value in values:
                    if name in self._metrics and identifier in self._places:
                        self._metrics[name][self._places[identifier]] = value

    def _take(self, rows: Sequence[Row[*tuple[Any, ...]]]) -> None:
        """Put rows in their places."""
        given = dict(zip(_READ, zip(*rows, strict=True), strict=True))
        known = self._places
        places = np.array([known.setdefault(identifier, len(known)) for identifier in given["id"]])
        self._ids += [i for i, place in zip(given["id"], places.tolist(), strict=True) if place >= self._count]
        self._count = len(known)
        self._widen()
        for hardware in set(given["hardware"]):
            self._hardware_names.pop(hardware, None)  # perhaps a row that said it has gone
        for name in _TEXTS:
            codes = self._codes[name]
            self._arrays[name][places] = [codes.setdefault(text, len(codes)) for text in given[name]]
        for name in _NUMBERS:
            self._arrays[name][places] = [_NONE if value is None else value for value in given[name]]
        for name in _TRUTHS:
            self._arrays[name][places] = given[name]
        self._arrays["reproduced"][places] = np.array(given["reproduced_by"]) > 0
        self._arrays["published_us"][places] = [value or 0 for value in given["published_us"]]
        self._arrays["configuration"][places] = [_number(text) for text in given["configuration"]]

    def _widen(self) -> None:
        """Make room for all rows, and for as many again where there was none."""
        if self._count <= len(self._arrays["kind"]):
            return
        for columns, filler in ((self._arrays, 0), (self._metrics, np.nan)):
            for name, column in columns.items():
                wide = np.full(max(1024, 2 * self._count), filler, column.dtype)
                wide[: len(column)] = column
                columns[name] = wide


def _parts(session: Session, chosen: Select[*tuple[Any, ...]]) -> Iterator[Sequence[Row[*tuple[Any, ...]]]]:
    """The rows of a query, some thousands at a time, without what the mapping of objects adds."""
    return session.connection().execute(chosen.execution_options(yield_per=_FETCHED)).partitions()


def _number(configuration: str) -> int:
    """A configuration, which is sixteen hexadecimal digits, as a number; 0 for another text."""
    try:
        number = int(configuration, 16)
    except ValueError:
        return 0
    return number if f"{number:016x}" == configuration else 0
