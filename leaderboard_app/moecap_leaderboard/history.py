"""What changes a submission's state, with its line in the audit log, and what follows for the rows beside it."""

from __future__ import annotations

from sqlalchemy import ColumnElement, func, select, text, update
from sqlalchemy.orm import Session

from moecap_leaderboard.tables import Audit, Submission, now_us

__all__ = ["log", "move", "one_at_a_time", "publish"]

_STATES_LOCK = 0x73746174
"""Number of the lock under which states change (Postgres)."""


def one_at_a_time(session: Session) -> None:
    """Let no other transaction change states until this one ends; SQLite has one writer at a time anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _STATES_LOCK})


def log(session: Session, submission: Submission, actor: str, action: str, reason: str | None = None) -> None:
    """Add a line to the audit log."""
    session.add(
        Audit(
            submission=submission.id,
            time_us=now_us(),
            actor=actor,
            action=action,
            state=submission.state,
            reason=reason,
        )
    )


def publish(session: Session, submission: Submission, actor: str, reason: str | None = None) -> None:
    """Put a row on the board: the newest version of its owner and configuration."""
    versions = _versions(submission)
    last = session.scalar(select(func.max(Submission.version)).where(*versions))
    session.execute(update(Submission).where(*versions, Submission.newest).values(newest=False))
    submission.state, submission.published_us = "published", now_us()
    submission.version, submission.newest = (last or 0) + 1, True
    session.flush()
    log(session, submission, actor, "publish", reason)
    _count_reproductions(session, submission.reproduces)
    _count_reproductions(session, submission.result)


def move(session: Session, submission: Submission, state: str, actor: str, action: str, reason: str | None) -> None:
    """Take a submission to a state in which it is not on the board; the version before it is the newest again."""
    submission.state, submission.newest = state, False
    session.flush()
    log(session, submission, actor, action, reason)
    versions = (*_versions(submission), Submission.state == "published")
    last = session.scalar(select(func.max(Submission.version)).where(*versions))
    if last is not None:
        session.execute(update(Submission).where(*versions).values(newest=Submission.version == last))
    _count_reproductions(session, submission.reproduces)


def _versions(submission: Submission) -> tuple[ColumnElement[bool], ...]:
    return (
        Submission.configuration == submission.configuration,
        Submission.owner == submission.owner,
        Submission.kind == submission.kind,
    )


def _count_reproductions(session: Session, result: str | None) -> None:
    """Count the other owners whose published repetitions lie within the margins."""
    if result is None:
        return
    repeats = select(func.count(func.distinct(Submission.owner))).where(
        Submission.reproduces == result, Submission.reproduces_within, Submission.state == "published"
    )
    count = session.scalar(repeats) or 0
    session.execute(
        update(Submission)
        .where(Submission.result == result, Submission.state == "published")
        .values(reproduced_by=count)
    )
