"""Whether a store is whole: each row has its files, findings and history, and nothing is there without a row."""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import rfc8785
from sqlalchemy import and_, case, func, select, text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session, aliased

from moecap.errors import NotAvailableError
from moecap.files import file_sha256
from moecap.result import RESULT_FILE
from moecap_leaderboard.blobs import blob_files, blob_path
from moecap_leaderboard.database import Database, newest_schema
from moecap_leaderboard.states import LIVE, MODERATED
from moecap_leaderboard.submissions import content_sha256
from moecap_leaderboard.tables import Audit, Document, EvaluationRequest, Figure, SentFile, Submission

__all__ = ["Integrity", "check_store"]

_AT_ONCE = 1000

_FIRST = ("received", "published")
"""States in which a history begins: of results, and of figures that no run gave."""

_FOLLOWS = {"received": ("published", "pending", "rejected")} | {
    state: (*MODERATED[state], "withdrawn") for state in LIVE
}
"""States that follow from each."""


@dataclass(frozen=True, slots=True)
class Integrity:
    """What a check found.

    Attributes:
        submissions: How many there are, by state.
        files: Files that they name, each content once.
        bytes: What these take.
        unnamed: Files that no submission names, as one leaves behind that was not acknowledged: they do no harm.
        problems: What is wrong, a line each.
    """

    submissions: Mapping[str, int]
    files: int
    bytes: int
    unnamed: int
    problems: tuple[str, ...]


def check_store(database: Database, folder: Path) -> Integrity:
    """Read the whole store, as it is at one moment; the service may go on meanwhile.

    Args:
        database: The database.
        folder: Where the observation files are.

    Raises:
        NotAvailableError: If the schema is another than this version's.
    """
    if database.schema != newest_schema():
        raise NotAvailableError(
            f"the store has schema {database.schema} and this moecap checks {newest_schema()}; moecap serve changes it"
        )
    if database.is_sqlite and (damage := tuple(_damage(database))):
        return Integrity({}, 0, 0, 0, damage)
    with database.reading() as session:
        if not database.is_sqlite:
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        problems = [*_rows(session, folder), *_orphans(session), *_versions(session)]
        states = dict(session.execute(select(Submission.state, func.count()).group_by(Submission.state)).all())
        named = session.execute(select(SentFile.sha256, SentFile.bytes).distinct()).all()
    there, size = 0, 0
    for sha256, count in named:
        path = blob_path(folder, sha256)
        if not path.is_file():
            problems.append(f"file {sha256} is missing")
            continue
        there, size = there + 1, size + count
        if path.stat().st_size != count or file_sha256(path) != sha256:
            problems.append(f"file {sha256} is damaged: its content has another digest")
    unnamed = sum(1 for _ in blob_files(folder)) - there
    return Integrity(states, len(named), size, max(0, unnamed), tuple(problems))


def _damage(database: Database) -> Iterator[str]:
    """What SQLite finds in its own file."""
    try:
        with database.reading() as session:
            lines = session.scalars(text("PRAGMA integrity_check")).all()
    except DatabaseError as error:
        lines = [str(error.orig)]
    yield from (f"SQLite: {line}" for line in lines if line != "ok")


def _rows(session: Session, folder: Path) -> Iterator[str]:
    """Each submission with its files, its findings and its history."""
    columns = (Submission.id, Submission.state, Submission.result, Submission.content_sha256, Submission.published_us)
    last = ""
    while rows := session.execute(
        select(*columns).where(Submission.id > last).order_by(Submission.id).limit(_AT_ONCE)
    ).all():
        first, last = rows[0].id, rows[-1].id
        history, files = defaultdict[str, list[str]](list), defaultdict[str, dict[str, str]](dict)
        for one, state in session.execute(
            select(Audit.submission, Audit.state).where(Audit.submission.between(first, last)).order_by(Audit.number)
        ):
            history[one].append(state)
        for one, name, sha256 in session.execute(
            select(SentFile.submission, SentFile.name, SentFile.sha256).where(SentFile.submission.between(first, last))
        ):
            files[one][name] = sha256
        found = select(Document.submission, Document.record).where(Document.submission.between(first, last))
        records: dict[str, Any] = dict(session.execute(found).all())
        for row in rows:
            said = [*_history(row.state, history[row.id])]
            if (row.id in records) == (row.state == "received"):
                said.append(
                    "it has findings before it was examined" if row.id in records else "its findings are missing"
                )
            if row.state == "published" and row.published_us is None:
                said.append("it is published at no time")
            if files[row.id]:
                said += _content(session, row.content_sha256, row.result, files[row.id], folder)
            elif (record := records.get(row.id)) is None:
                said.append("it has no files")
            elif hashlib.sha256(rfc8785.dumps(record)).hexdigest() != row.content_sha256:
                said.append("its record is not the one of its identity")
            yield from (f"submission {row.id}: {line}" for line in said)


def _history(state: str, states: Sequence[str]) -> Iterator[str]:
    """The lines of the audit log lead to the state that a submission has."""
    if not states:
        yield "the audit log does not know it"
        return
    if states[0] not in _FIRST:
        yield f"its history begins with {states[0]}"
    for one, following in itertools.pairwise(states):
        if following not in _FOLLOWS.get(one, ()):
            yield f"its history goes from {one} to {following}"
    if states[-1] != state:
        yield f"it is {state}, and its history ends with {states[-1]}"


def _content(session: Session, content: str, result: str, files: Mapping[str, str], folder: Path) -> Iterator[str]:
    """The files of a submission are those of its identity, and its result has the id that the row says."""
    tries = session.scalar(select(func.count()).where(Submission.result == result)) or 1
    if all(content_sha256(files, attempt) != content for attempt in range(tries)):
        yield "its files are not those of its identity"
    path = blob_path(folder, files[RESULT_FILE]) if RESULT_FILE in files else None
    if path is None:
        yield f"it has no {RESULT_FILE}"
    elif path.is_file():  # one that is missing is named apart
        try:
            stated = msgspec.json.decode(path.read_bytes())["id"]
        except (msgspec.DecodeError, LookupError, TypeError):
            stated = None
        if stated != result:
            yield f"its {RESULT_FILE} is of another result"


def _orphans(session: Session) -> Iterator[str]:
    """What is there without its submission."""
    for table in (Audit, Document, Figure, SentFile):
        there = select(Submission.id).where(Submission.id == table.submission).exists()
        if count := session.scalar(select(func.count()).select_from(table).where(~there)):
            yield f"{count} rows of {table.__tablename__} are of no submission"
    asked = select(EvaluationRequest.id).outerjoin(Submission, Submission.id == EvaluationRequest.submission)
    lost = asked.where(EvaluationRequest.submission.is_not(None), Submission.id.is_(None))
    yield from (f"request {one}: its submission is missing" for one in session.scalars(lost))


def _versions(session: Session) -> Iterator[str]:
    """One live row of a result, one newest version of an owner's configuration, and as many reproductions as stated."""
    twice = select(Submission.result).where(Submission.state.in_(LIVE)).group_by(Submission.result)
    yield from (f"result {one} is on the board twice" for one in session.scalars(twice.having(func.count() > 1)))

    group = (Submission.owner, Submission.configuration, Submission.kind)
    newest = func.sum(case((Submission.newest, 1), else_=0))
    highest = func.max(case((Submission.newest, Submission.version)))
    versions = select(*group).where(Submission.state == "published").group_by(*group)
    wrong = versions.having((newest != 1) | (highest != func.max(Submission.version)))
    for owner, configuration, kind in session.execute(wrong):
        yield f"{kind} rows of {owner}, configuration {configuration}: not the last version alone is the newest"
    hidden = select(Submission.id).where(Submission.newest, Submission.state != "published")
    yield from (f"submission {one}: the newest version, and not on the board" for one in session.scalars(hidden))

    other = aliased(Submission)
    repeats = and_(other.reproduces == Submission.result, other.reproduces_within, other.state == "published")
    count = select(func.count(func.distinct(other.owner))).where(repeats).scalar_subquery()
    counted = select(Submission.id).where(Submission.state == "published", Submission.reproduced_by != count)
    yield from (f"submission {one}: another number of reproductions than stated" for one in session.scalars(counted))
