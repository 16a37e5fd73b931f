"""Sending results, and what becomes of them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, File, Form, Query, Request, UploadFile
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from sqlalchemy import and_, or_, select
from starlette.responses import Response

from moecap.client.answers import Submission as Report
from moecap.errors import BadInputError, NotAvailableError
from moecap.result import MAX_RESULT_BYTES
from moecap_leaderboard.api.answers import CallerOf, Listed, ServiceOf, answer, caller_with, describing, written
from moecap_leaderboard.cursors import encoded, time_and_id
from moecap_leaderboard.keys import Caller
from moecap_leaderboard.listing import MAX_LIMIT
from moecap_leaderboard.problems import ProblemError
from moecap_leaderboard.reception import repeated
from moecap_leaderboard.reports import submission_report
from moecap_leaderboard.states import State
from moecap_leaderboard.tables import Submission

__all__ = ["router"]

router = APIRouter(tags=["submissions"])

Submitter = Annotated[Caller, caller_with("submit")]
Moderator = Annotated[Caller, caller_with("moderate")]
Reason = Annotated[str, Field(min_length=1, max_length=1000)]

_PUBLIC = ("published", "withdrawn", "invalidated")
_WAIT_SECONDS = 60
_KEY_IF_ANY: dict[str, list[dict[str, list[str]]]] = {"security": [{}]}
"""Added to what the description of the API says: none will do."""
_OF_THE_KEY = {"Vary": "Authorization"}
_ONE = describing(Report)

_FILE = WithJsonSchema({"type": "string", "contentMediaType": "application/octet-stream"})
_RESULT_ID = WithJsonSchema({"type": "string", "pattern": "^([0-9a-f]{64})?$"})
"""Parts of a form, which may be left out and are never null."""


class Withdrawal(BaseModel):
    """Why a row is taken off the board."""

    model_config = ConfigDict(extra="forbid")
    reason: Reason


class Moderation(BaseModel):
    """What a moderator decides, and why."""

    model_config = ConfigDict(extra="forbid")
    state: Literal["published", "rejected", "invalidated"]
    reason: Reason


@router.post("/submissions", status_code=201, responses=describing(Report, 200, 201, 202))
def submit(
    service: ServiceOf,
    caller: Submitter,
    result: Annotated[UploadFile, File()],
    observations: Annotated[UploadFile | None, _FILE, File()] = None,
    reproduces: Annotated[str | None, _RESULT_ID, Form(max_length=64)] = None,
) -> Response:
    """Send a result with its observations; it is examined at once."""
    content = result.file.read(MAX_RESULT_BYTES + 1)
    if len(content) > MAX_RESULT_BYTES:
        raise ProblemError("too-large", f"result.json is larger than {MAX_RESULT_BYTES} bytes", limit=MAX_RESULT_BYTES)
    original = repeated(reproduces)
    with tempfile.TemporaryDirectory(prefix="moecap-upload-") as folder:
        archive = None
        if observations is not None:
            archive = Path(folder) / "observations"
            with archive.open("wb") as target:
                shutil.copyfileobj(observations.file, target, 1 << 20)
        try:
            sent = service.submissions.submit(content, archive, caller.owner, original)
        except BadInputError as error:
            raise ProblemError("bad-request", str(error)) from None
        except NotAvailableError as error:
            raise ProblemError("unavailable", str(error), retry_after=_WAIT_SECONDS) from None
    with service.database.reading() as session:
        row = session.get_one(Submission, sent.submission)
        report = submission_report(session, row)
    if report["state"] == "rejected":
        broken = [rule for rule in report["rules"] if rule["outcome"] == "failed"]
        lines = "; ".join(f"{rule['id']}: {rule['detail']}" for rule in broken)
        raise ProblemError("rules-failed", lines, rules=broken, submission=row.id)
    status = 202 if report["state"] == "received" else 201 if sent.new else 200
    return written(report, status, {"Location": f"/api/v1/submissions/{row.id}"})


@router.get("/submissions", openapi_extra=_KEY_IF_ANY, responses=describing(Listed[Report]))
def submissions(
    request: Request,
    service: ServiceOf,
    caller: CallerOf,
    state: State | None = None,
    owner: Annotated[str | None, Query(max_length=39)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """Submissions, the newest first: those that are or were on the board, and one's own."""
    chosen = select(Submission).order_by(Submission.created_us.desc(), Submission.id.desc())
    if caller is None or not caller.may("moderate"):
        mine = Submission.owner == (caller.owner if caller else "")
        chosen = chosen.where(or_(Submission.state.in_(_PUBLIC), mine))
    if state is not None:
        chosen = chosen.where(Submission.state == state)
    if owner is not None:
        chosen = chosen.where(Submission.owner == owner)
    if cursor is not None:
        created, last = time_and_id(cursor)
        same = and_(Submission.created_us == created, Submission.id < last)
        chosen = chosen.where(or_(Submission.created_us < created, same))
    with service.database.reading() as session:
        rows = session.scalars(chosen.limit(limit + 1)).all()
        items = [submission_report(session, row) for row in rows[:limit]]
    following = encoded(rows[limit - 1].created_us, rows[limit - 1].id) if len(rows) > limit else None
    content = {"items": items, "next": following}
    return answer(request, content, seconds=5, headers=_OF_THE_KEY) if caller is None else written(content)


@router.get("/submissions/{identifier}", openapi_extra=_KEY_IF_ANY, responses=_ONE)
def submission(request: Request, service: ServiceOf, caller: CallerOf, identifier: str) -> Response:
    """One submission; what was rejected or waits is shown to its owner and to moderators."""
    with service.database.reading() as session:
        row = session.get(Submission, identifier)
        mine = row is not None and caller is not None and (caller.owner == row.owner or caller.may("moderate"))
        if row is None or not (mine or row.state in _PUBLIC):
            raise ProblemError("not-found", f"no submission {identifier[:40]} that this key may see")
        report = submission_report(session, row)
    public = row.state in _PUBLIC
    return answer(request, report, seconds=5, headers=_OF_THE_KEY) if public else written(report)


@router.post("/submissions/{identifier}/withdraw", responses=_ONE)
def withdraw(service: ServiceOf, caller: Submitter, identifier: str, body: Withdrawal) -> Response:
    """Take one's own row off the board; a tombstone stays."""
    service.submissions.withdraw(identifier, caller.owner, body.reason)
    return _report(service, identifier)


@router.patch("/submissions/{identifier}", responses=_ONE)
def moderate(service: ServiceOf, caller: Moderator, identifier: str, body: Moderation) -> Response:
    """Publish or reject what is pending, or invalidate what is published."""
    service.submissions.moderate(identifier, caller, body.state, body.reason)
    return _report(service, identifier)


def _report(service: ServiceOf, identifier: str) -> Response:
    with service.database.reading() as session:
        return written(submission_report(session, session.get_one(Submission, identifier)))
