"""Pages of rows: filtered, sorted and cut on the server, with cursors that hold through insertions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec
from sqlalchemy import ColumnElement, Integer, Row, Select, Text, and_, cast, func, or_, select
from sqlalchemy.orm import Session, aliased

from moecap_leaderboard.cursors import decoded, encoded
from moecap_leaderboard.database import Database
from moecap_leaderboard.metrics import is_sortable
from moecap_leaderboard.problems import ProblemError
from moecap_leaderboard.states import TIERS, tier_of
from moecap_leaderboard.tables import Document, Figure, Submission
from moecap_leaderboard.times import rfc3339

__all__ = [
    "MAX_LIMIT",
    "Filters",
    "Page",
    "all_items",
    "conditions",
    "has_more",
    "items_of",
    "page",
    "require_tier",
    "rows_of",
]

MAX_LIMIT = 200
_BATCH = 1000
_NAMED = 500
"""Rows that one query names."""

ListedRow: TypeAlias = Row[*tuple[Any, ...]]
"""The columns of a row that its item shows, with its summary as JSON."""

_LISTED = (
    *(Submission.id, Submission.result, Submission.kind, Submission.state, Submission.owner, Submission.configuration),
    *(Submission.signed, Submission.recomputed, Submission.reproduced_by, Submission.ranked),
    *(Submission.published_us, Submission.version, cast(Submission.summary, Text).label("summary")),
)
_AS_JSON = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class Filters:
    """Which rows: each that is given must hold, and of several values one. The columns bear the same names."""

    kind: Literal["measured", "projected", "imported", "all"] = "measured"
    state: Literal["published", "withdrawn", "invalidated"] = "published"
    versions: Literal["newest", "all"] = "newest"
    ranked: Literal["true", "false", "any"] = "any"
    tier: str | None = None
    q: str | None = None
    model: tuple[str, ...] = ()
    family: tuple[str, ...] = ()
    hardware: tuple[str, ...] = ()
    engine: tuple[str, ...] = ()
    precision: tuple[str, ...] = ()
    task: tuple[str, ...] = ()
    owner: tuple[str, ...] = ()
    configuration: tuple[str, ...] = ()
    devices: tuple[int, ...] = ()
    concurrency_min: int | None = None
    concurrency_max: int | None = None
    input_len_min: int | None = None
    input_len_max: int | None = None
    output_len_min: int | None = None
    output_len_max: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows and where the next ones begin; ``None`` at the end."""

    items: list[dict[str, Any]]
    next: str | None


_EQUAL = ("model", "family", "hardware", "engine", "precision", "owner", "configuration", "devices")
_BOUNDED = ("concurrency", "input_len", "output_len")


def conditions(filters: Filters) -> list[ColumnElement[bool]]:
    """The filters in SQL."""
    found: list[ColumnElement[bool]] = [Submission.state == filters.state]
    if filters.kind != "all":
        found.append(Submission.kind == filters.kind)
    if filters.versions == "newest" and filters.state == "published":
        found.append(Submission.newest.is_(True))
    if filters.ranked != "any":
        found.append(Submission.ranked == (filters.ranked == "true"))
    for name in _EQUAL:
        if values := getattr(filters, name):
            column = getattr(Submission, name)
            found.append(column == values[0] if len(values) == 1 else column.in_(values))
    for name in _BOUNDED:
        column = getattr(Submission, name)
        if (least := getattr(filters, f"{name}_min")) is not None:
            found.append(column >= least)
        if (most := getattr(filters, f"{name}_max")) is not None:
            found.append(column <= most)
    if filters.task:
        # a search would pass over the case in SQLite and not in Postgres
        found.append(
            or_(*(func.replace(Submission.tasks, f" {name} ", "") != Submission.tasks for name in filters.task))
        )
    if filters.q:
        found.append(Submission.names.contains(filters.q.lower(), autoescape=True))
    if filters.tier is not None:
        found.append(_at_least(filters.tier))
    return found


def require_tier(tier: str) -> None:
    """Refuse a name that is no tier.

    Raises:
        ProblemError: If it is none.
    """
    if tier not in TIERS:
        raise ProblemError("bad-request", f"no tier {tier[:40]!r}; known: {', '.join(TIERS)}")


def _at_least(tier: str) -> ColumnElement[bool]:
    require_tier(tier)
    reached = {
        "self_reported": Submission.state != "",
        "signed": or_(Submission.signed, Submission.recomputed),
        "recomputed": Submission.recomputed.is_(True),
        "reproduced": and_(Submission.recomputed, Submission.reproduced_by > 0),
    }
    return reached[tier]


def page(
    session: Session,
    filters: Filters,
    sort: str,
    limit: int,
    cursor: str | None,
    *,
    among: Sequence[str] | None = None,
    as_json: bool = False,
) -> Page:
    """One page.

    Args:
        session: Where to read.
        filters: Which rows.
        sort: ``published`` or the name of a metric; with ``-`` in front the largest first.
        limit: Most rows.
        cursor: Where the page before ended.
        among: Ids of the submissions that the filters leave, where it is known that these are few.
        as_json: As of :func:`items_of`.

    Raises:
        ProblemError: If the sort is none, or the cursor is not of these filters and this sort.
    """
    order = _Order.of(sort, among)
    mark = hashlib.sha256(repr((filters, sort)).encode()).hexdigest()[:12]
    place = _decoded(cursor, mark) if cursor else None
    rows, places = order.rows(session, filters, limit + 1, place)
    following = encoded(mark, *places[limit - 1]) if len(rows) > limit else None
    return Page(items_of(session, rows[:limit], as_json=as_json), following)


def all_items(database: Database, filters: Filters, sort: str, *, as_json: bool = False) -> Iterator[dict[str, Any]]:
    """Every row, read a part at a time; between two parts, while a slow reader takes one, no connection is held.

    Args:
        database: Where to read.
        filters: Which rows.
        sort: As of :func:`page`.
        as_json: As of :func:`items_of`.
    """
    order, place = _Order.of(sort), None
    while True:
        with database.reading() as session:
            rows, places = order.rows(session, filters, _BATCH, place)
            items = items_of(session, rows, as_json=as_json)
        yield from items
        if len(rows) < _BATCH:
            return
        place = places[-1]


def has_more(session: Session, filters: Filters, than: int) -> bool:
    """Whether filters leave more rows than so many."""
    some = select(Submission.id).where(*conditions(filters)).limit(than + 1)
    return (session.scalar(select(func.count()).select_from(some.subquery())) or 0) > than


_Place = tuple[int, float | int, str]
"""Where a row stands: 0 among those that have the metric, 1 among the others; its sort key; its id."""


@dataclass(frozen=True, slots=True)
class _Order:
    """An order of rows; those without the metric come last, the newest first."""

    metric: str | None
    descending: bool
    among: Sequence[str] | None

    @classmethod
    def of(cls, sort: str, among: Sequence[str] | None = None) -> _Order:
        name = sort.removeprefix("-")
        if name != "published" and not is_sortable(name):
            raise ProblemError(
                "bad-request", f"rows cannot be sorted by {name[:80]!r}; GET /api/v1/schema names the metrics"
            )
        return cls(None if name == "published" else name, sort.startswith("-"), among)

    def rows(
        self, session: Session, filters: Filters, limit: int, place: _Place | None
    ) -> tuple[list[ListedRow], list[_Place]]:
        """The next rows after a place, and the place of each."""
        connection = session.connection()  # which makes no objects of rows
        rows: list[ListedRow] = []
        places: list[_Place] = []
        if self.metric is not None and (place is None or place[0] == 0):
            for row in connection.execute(self._with_metric(filters, limit, place)):
                rows.append(row)
                places.append((0, row.value, row.id))
            place = None
        if len(rows) < limit:
            for row in connection.execute(self._by_time(filters, limit - len(rows), place)):
                rows.append(row)
                places.append((1, row.published_us or 0, row.id))
        return rows, places

    def _with_metric(self, filters: Filters, limit: int, place: _Place | None) -> Select[*tuple[Any, ...]]:
        chosen = select(*_LISTED, Figure.value).join(Figure, Figure.submission == Submission.id)
        name = Figure.name if self.among is None else Figure.name + ""
        chosen = chosen.where(name == self.metric, *self._conditions(filters))
        # few rows, as a model has, are sorted; else SQLite would walk the whole index of the metric to find them
        few = filters.model or filters.configuration or self.among is not None
        key = Figure.value + 0 if few else Figure.value
        return _after(chosen, key, Figure.submission, self.descending, place).limit(limit)

    def _by_time(self, filters: Filters, limit: int, place: _Place | None) -> Select[*tuple[Any, ...]]:
        chosen = select(*_LISTED).where(*self._conditions(filters))
        if self.metric is not None:
            figure = aliased(Figure)
            has = select(figure.submission).where(figure.submission == Submission.id, figure.name == self.metric)
            chosen = chosen.where(~has.exists())
        descending = self.descending or self.metric is not None
        return _after(chosen, Submission.published_us, Submission.id, descending, place).limit(limit)

    def _conditions(self, filters: Filters) -> list[ColumnElement[bool]]:
        if self.among is None:
            return conditions(filters)
        # by their ids and by no other index, as the empty texts tell SQLite
        return [Submission.id.in_(self.among), Submission.state + "" == filters.state]


def _after(
    chosen: Select[*tuple[Any, ...]], key: Any, identifier: Any, descending: bool, place: _Place | None
) -> Select[*tuple[Any, ...]]:
    if place is not None:
        _, value, last = place
        beyond = key < value if descending else key > value
        further = identifier < last if descending else identifier > last
        chosen = chosen.where(or_(beyond, and_(key == value, further)))
    if descending:
        return chosen.order_by(key.desc(), identifier.desc())
    return chosen.order_by(key, identifier)


def rows_of(session: Session, identifiers: Sequence[str]) -> list[ListedRow]:
    """Rows by the ids of their submissions, in this order; one that is not there is left out."""
    found: dict[str, ListedRow] = {}
    for start in range(0, len(identifiers), _NAMED):
        chosen = select(*_LISTED).where(Submission.id.in_(identifiers[start : start + _NAMED]))
        found |= {row.id: row for row in session.connection().execute(chosen)}
    return [found[identifier] for identifier in identifiers if identifier in found]


def items_of(
    session: Session, rows: Sequence[Submission | ListedRow], *, as_json: bool = False
) -> list[dict[str, Any]]:
    """Rows as the API gives them, each with the number of versions and attempts of its owner and configuration.

    Args:
        session: Where to read.
        rows: The rows.
        as_json: Whether what a row says of its model, metrics and so on stays JSON, as it is stored
            (``msgspec.Raw``): of rows that are handed on as JSON and not looked into.
    """
    keys = {row.configuration for row in rows}
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    if keys:
        published = func.sum((Submission.state == "published").cast(Integer))
        counted = (
            select(Submission.configuration, Submission.owner, published, func.count())
            .where(Submission.configuration.in_(keys), Submission.state != "received")
            .group_by(Submission.configuration, Submission.owner)
        )
        found = session.connection().execute(counted)
        counts = {(config, owner): (live, every) for config, owner, live, every in found}
    stated = _not_recomputed(session, rows)
    decode = _AS_JSON.decode if as_json else msgspec.json.decode
    return [
        _item(
            row,
            row.summary if isinstance(row.summary, dict) else decode(row.summary),
            counts.get((row.configuration, row.owner), (0, 0)),
            stated.get(row.id, []),
        )
        for row in rows
    ]


def _not_recomputed(session: Session, rows: Sequence[Submission | ListedRow]) -> dict[str, list[str]]:
    """Metrics that measured rows show as stated, by the submission."""
    measured = [row.id for row in rows if row.kind == "measured"]
    if not measured:
        return {}
    chosen = select(Document.submission, Document.not_recomputed).where(Document.submission.in_(measured))
    return {identifier: names for identifier, names in session.connection().execute(chosen) if names}


def _item(
    row: Submission | ListedRow, summary: Mapping[str, Any], counted: tuple[int, int], not_recomputed: Sequence[str]
) -> dict[str, Any]:
    tombstone = row.state != "published"
    metrics = summary["metrics"] if not_recomputed else ()
    named = _AS_JSON.decode(metrics) if isinstance(metrics, msgspec.Raw) else metrics
    return {
        "id": row.result,
        "submission": row.id,
        "kind": row.kind,
        "state": row.state,
        "tier": tier_of(signed=row.signed, recomputed=row.recomputed, reproduced_by=row.reproduced_by),
        "signed": row.signed,
        "recomputed": row.recomputed,
        "reproduced_by": row.reproduced_by,
        "ranked": row.ranked and not tombstone,
        "unranked_because": [row.state] if tombstone else summary["unranked_because"],
        "model": summary["model"],
        "hardware": summary["hardware"],
        "engine": summary["engine"],
        "precision": summary["precision"],
        "workload": summary["workload"],
        "metrics": {} if tombstone else summary["metrics"],
        "not_recomputed": [] if tombstone else [name for name in not_recomputed if name in named],
        "flags": summary["flags"],
        "source": summary["source"],
        "owner": row.owner,
        "published": rfc3339(row.published_us),
        "configuration": row.configuration,
        "version": row.version,
        "versions": counted[0],
        "attempts": counted[1],
    }


def _decoded(cursor: str, mark: str) -> _Place:
    parts = decoded(cursor)
    if len(parts) == 4:
        theirs, phase, value, last = parts
        number = type(value) in (int, float) and abs(value) < 2**63
        if theirs == mark and phase in (0, 1) and number and isinstance(last, str):
            return phase, value, last
    raise ProblemError("bad-request", "the cursor is not one of these filters and this sort; start again without it")
