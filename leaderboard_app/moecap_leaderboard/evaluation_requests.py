"""The queue of evaluations that people ask for; a worker holds one by a lease that expires."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from moecap.publishing.requested import request_difference, request_problem
from moecap.result import RESULT_FILE, Result, read_result
from moecap_leaderboard.blobs import Blobs
from moecap_leaderboard.cursors import encoded, time_and_id
from moecap_leaderboard.database import Database
from moecap_leaderboard.history import one_at_a_time
from moecap_leaderboard.keys import Caller
from moecap_leaderboard.problems import ProblemError
from moecap_leaderboard.reports import files_of
from moecap_leaderboard.states import LIVE
from moecap_leaderboard.tables import EvaluationRequest, Submission, now_us
from moecap_leaderboard.times import rfc3339

__all__ = ["LEASE_SECONDS", "MAX_ATTEMPTS", "RequestState", "Requests"]

RequestState = Literal["queued", "claimed", "completed", "failed", "cancelled"]
MAX_ATTEMPTS = 3
LEASE_SECONDS = (60, 3600)
"""The shortest and the longest lease."""


class Requests:
    """All requests."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database, self._blobs = database, blobs

    def add(self, config: Mapping[str, Any], note: str | None, owner: str) -> dict[str, Any]:
        """Queue a run.

        Raises:
            ProblemError: If the configuration is none, or names a path, a file or a server.
        """
        check_config(config)
        row = EvaluationRequest(
            id=uuid.uuid4().hex,
            state="queued",
            config=dict(config),
            note=note,
            owner=owner,
            created_us=now_us(),
            attempts=0,
        )
        with self._database.writing() as session:
            session.add(row)
            session.flush()
            return self._said(session, row)

    def get(self, identifier: str) -> dict[str, Any]:
        """One request.

        Raises:
            ProblemError: If there is none.
        """
        self._expire()
        with self._database.reading() as session:
            return self._said(session, _found(session, identifier))

    def page(self, state: RequestState | None, limit: int, cursor: str | None) -> dict[str, Any]:
        """Requests in the order in which they came, of one state or all."""
        self._expire()
        chosen = select(EvaluationRequest).order_by(EvaluationRequest.created_us, EvaluationRequest.id)
        if state is not None:
            chosen = chosen.where(EvaluationRequest.state == state)
        if cursor is not None:
            created, last = time_and_id(cursor)
            later, same = EvaluationRequest.created_us > created, EvaluationRequest.created_us == created
            chosen = chosen.where(or_(later, and_(same, EvaluationRequest.id > last)))
        with self._database.reading() as session:
            rows = session.scalars(chosen.limit(limit + 1)).all()
            items = [self._said(session, row) for row in rows[:limit]]
        return {
            "items": items,
            "next": encoded(rows[limit - 1].created_us, rows[limit - 1].id) if len(rows) > limit else None,
        }

    def ended(self, limit: int) -> list[dict[str, Any]]:
        """Requests that were completed, failed or cancelled, those that came last first."""
        self._expire()
        chosen = select(EvaluationRequest).where(EvaluationRequest.state.in_(("completed", "failed", "cancelled")))
        last = (EvaluationRequest.created_us.desc(), EvaluationRequest.id.desc())
        with self._database.reading() as session:
            return [self._said(session, row) for row in session.scalars(chosen.order_by(*last).limit(limit))]

    def claim(self, identifier: str, worker: str, seconds: int, caller: Caller) -> dict[str, Any]:
        """Take a queued request; the answer holds the secret of the lease.

        Raises:
            ProblemError: If it is not queued.
        """
        lease = secrets.token_urlsafe(24)
        with self._database.writing() as session:
            row = self._due(session, identifier)
            if row.state != "queued":
                raise ProblemError("not-queued", f"request {identifier} is {row.state}; claim another of GET /requests")
            row.state, row.worker, row.worker_owner = "claimed", worker, caller.owner
            row.attempts += 1
            row.lease_sha256, row.lease_expires_us = _hash(lease), now_us() + seconds * 1_000_000
            return self._said(session, row) | {"lease": lease}

    def renew(self, identifier: str, lease: str, seconds: int) -> dict[str, Any]:
        """Hold a request for longer."""
        with self._database.writing() as session:
            row = self._leased(session, identifier, lease)
            row.lease_expires_us = now_us() + seconds * 1_000_000
            return self._said(session, row)

    def complete(self, identifier: str, lease: str, submission: str, caller: Caller) -> dict[str, Any]:
        """End a request with the submission that answers it.

        Raises:
            ProblemError: If there is no such submission of the worker's on the board or about to be, or it is of
                another run than was asked for.
        """
        with self._database.writing() as session:
            row = self._leased(session, identifier, lease)
            sent = session.get(Submission, submission)
            if sent is None or sent.owner != caller.owner or sent.state not in LIVE:
                raise ProblemError(
                    "conflict", f"submission {submission[:40]} is none of {caller.owner}'s that was accepted"
                )
            if other := request_difference(row.config, self._result(session, sent)):
                raise ProblemError("conflict", f"submission {submission} does not answer request {identifier}: {other}")
            row.state, row.submission, row.lease_sha256, row.lease_expires_us = "completed", submission, None, None
            return self._said(session, row)

    def fail(self, identifier: str, lease: str, reason: str) -> dict[str, Any]:
        """Give a request back; after three attempts it has failed."""
        with self._database.writing() as session:
            row = self._leased(session, identifier, lease)
            row.reason = reason
            _release(row)
            return self._said(session, row)

    def cancel(self, identifier: str, caller: Caller) -> dict[str, Any]:
        """Take a request back that has not ended."""
        with self._database.writing() as session:
            row = self._due(session, identifier)
            if row.owner != caller.owner and not caller.may("moderate"):
                raise ProblemError("no-scope", f"request {identifier} is of {row.owner}; its owner can cancel it")
            if row.state not in ("queued", "claimed"):
                raise ProblemError("conflict", f"request {identifier} is {row.state} already")
            row.state, row.lease_sha256, row.lease_expires_us = "cancelled", None, None
            return self._said(session, row)

    def _due(self, session: Session, identifier: str) -> EvaluationRequest:
        """A request that no other transaction changes meanwhile, its lease given back if it has expired."""
        one_at_a_time(session)
        row = _found(session, identifier)
        if row.state == "claimed" and (row.lease_expires_us or 0) <= now_us():
            row.reason = f"the lease of {row.worker} expired"
            _release(row)
        return row

    def _leased(self, session: Session, identifier: str, lease: str) -> EvaluationRequest:
        row = self._due(session, identifier)
        if row.state != "claimed" or row.lease_sha256 != _hash(lease):
            raise ProblemError(
                "lease-lost", f"request {identifier} is {row.state} and not held by this lease; claim another"
            )
        return row

    def _result(self, session: Session, sent: Submission) -> Result:
        return read_result(self._blobs.path(files_of(session, sent)[RESULT_FILE]))

    def _expire(self) -> None:
        """Give back what is held beyond its lease."""
        over = (EvaluationRequest.state == "claimed", EvaluationRequest.lease_expires_us <= now_us())
        with self._database.reading() as session:
            if session.scalar(select(EvaluationRequest.id).where(*over).limit(1)) is None:
                return
        with self._database.writing() as session:
            one_at_a_time(session)
            for row in session.scalars(select(EvaluationRequest).where(*over)):
                row.reason = f"the lease of {row.worker} expired"
                _release(row)

    def _said(self, session: Session, row: EvaluationRequest) -> dict[str, Any]:
        result = (
            session.scalar(select(Submission.result).where(Submission.id == row.submission)) if row.submission else None
        )
        return {
            "id": row.id,
            "state": row.state,
            "config": row.config,
            "note": row.note,
            "owner": row.owner,
            "created": rfc3339(row.created_us),
            "attempts": row.attempts,
            "worker": row.worker,
            "lease_expires": rfc3339(row.lease_expires_us),
            "submission": row.submission,
            "result": result,
            "reason": row.reason,
        }


def check_config(config: Mapping[str, Any]) -> None:
    """Refuse what no worker takes: paths, files and servers of one machine, and arguments of programs.

    Raises:
        ProblemError: With why.
    """
    try:
        msgspec.json.encode(dict(config))
    except ValueError:
        raise ProblemError("bad-request", "config holds a text that is no Unicode; mend it") from None
    if problem := request_problem(config):
        raise ProblemError("bad-request", f"no worker takes this config: {problem}")


def _found(session: Session, identifier: str) -> EvaluationRequest:
    row = session.get(EvaluationRequest, identifier)
    if row is None:
        raise ProblemError("not-found", f"no request {identifier[:40]}; GET /api/v1/requests lists them")
    return row


def _release(row: EvaluationRequest) -> None:
    row.state = "failed" if row.attempts >= MAX_ATTEMPTS else "queued"
    row.lease_sha256 = row.lease_expires_us = None


def _hash(lease: str) -> str:
    return hashlib.sha256(lease.encode()).hexdigest()
