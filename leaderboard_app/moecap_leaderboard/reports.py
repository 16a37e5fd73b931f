"""A submission, and a result with all that is known of it, as the API gives them."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Row as SqlRow
from sqlalchemy import select
from sqlalchemy.orm import Session

from moecap.result import RESULT_FILE
from moecap_leaderboard.blobs import Blobs
from moecap_leaderboard.listing import items_of
from moecap_leaderboard.problems import ProblemError
from moecap_leaderboard.states import TOMBSTONES, tier_of
from moecap_leaderboard.tables import Audit, Document, SentFile, Submission
from moecap_leaderboard.times import rfc3339

__all__ = ["file_sizes", "files_of", "history", "published", "result_report", "row_or_tombstone", "submission_report"]


def submission_report(session: Session, row: Submission) -> dict[str, Any]:
    """What became of a submission, with the report of the rules and its history."""
    document = session.get(Document, row.id)
    return {
        "id": row.id,
        "result": row.result,
        "kind": row.kind,
        "state": row.state,
        "owner": row.owner,
        "created": rfc3339(row.created_us),
        "url": f"/api/v1/results/{row.result}",
        "tier": tier_of(signed=row.signed, recomputed=row.recomputed, reproduced_by=row.reproduced_by),
        "ranked": row.ranked and row.state == "published",
        "unranked_because": row.summary["unranked_because"],
        "reproduces": row.reproduces,
        "rules": document.rules if document else [],
        "withheld": document.withheld if document else [],
        "not_recomputed": document.not_recomputed if document else [],
        "history": history(session, row),
    }


def history(session: Session, row: Submission) -> list[dict[str, Any]]:
    """The audit log of a submission, the first line first."""
    lines = session.scalars(select(Audit).where(Audit.submission == row.id).order_by(Audit.number))
    return [
        {
            "time": rfc3339(line.time_us),
            "actor": line.actor,
            "action": line.action,
            "state": line.state,
            "reason": line.reason,
        }
        for line in lines
    ]


def published(session: Session, result: str) -> Submission:
    """The row of a result that is on the board.

    Raises:
        ProblemError: If there is none, or its tombstone alone.
    """
    row = row_or_tombstone(session, result)
    if row.state != "published":
        said = f"result {result[:16]} was {row.state}; its history says why"
        raise ProblemError("gone", said, history=history(session, row))
    return row


def row_or_tombstone(session: Session, result: str) -> Submission:
    """The row of a result that is on the board, else the newest of its tombstones.

    Raises:
        ProblemError: If there is neither.
    """
    chosen = select(Submission).where(Submission.result == result).order_by(Submission.created_us.desc())
    rows = session.scalars(chosen.where(Submission.state.in_(("published", *TOMBSTONES)))).all()
    if not rows:
        raise ProblemError("not-found", f"no result {result[:64]}; GET /api/v1/results lists them")
    return next((row for row in rows if row.state == "published"), rows[0])


def result_report(session: Session, blobs: Blobs, row: Submission) -> dict[str, Any]:
    """A row with its result, its recomputation, its history and the rows beside it."""
    document = session.get(Document, row.id)
    assert document is not None
    if document.record is not None:
        content = document.record
    else:
        content = json.loads(blobs.path(files_of(session, row)[RESULT_FILE]).read_bytes())
    others = select(*_REFERENCE).where(
        Submission.configuration == row.configuration,
        Submission.owner == row.owner,
        Submission.state == "published",
        Submission.id != row.id,
    )
    repeats = select(*_REFERENCE, Submission.reproduces_within).where(
        Submission.reproduces == row.result, Submission.state == "published"
    )
    return items_of(session, [row])[0] | {
        "result": content,
        "recomputed_metrics": document.recomputed,
        "rules": document.rules,
        "withheld": document.withheld,
        "not_recomputed": document.not_recomputed,
        "history": history(session, row),
        "other_versions": [_reference(other) for other in session.execute(others.order_by(Submission.version.desc()))],
        "reproductions": [
            _reference(other) | {"within": other.reproduces_within}
            for other in sorted(session.execute(repeats), key=lambda other: other.published_us or 0)
        ],
    }


def files_of(session: Session, row: Submission) -> dict[str, str]:
    """Digests of the files that were sent, by their names."""
    chosen = select(SentFile.name, SentFile.sha256).where(SentFile.submission == row.id).order_by(SentFile.name)
    return dict(session.execute(chosen).all())


def file_sizes(session: Session, row: Submission) -> dict[str, int]:
    """Bytes of the files that were sent, by their names."""
    chosen = select(SentFile.name, SentFile.bytes).where(SentFile.submission == row.id).order_by(SentFile.name)
    return dict(session.execute(chosen).all())


_REFERENCE = (Submission.result, Submission.owner, Submission.version, Submission.published_us)


def _reference(row: SqlRow[*tuple[Any, ...]]) -> dict[str, Any]:
    return {
        "id": row.result,
        "owner": row.owner,
        "version": row.version,
        "published": rfc3339(row.published_us),
        "url": f"/api/v1/results/{row.result}",
    }
