"""Asking for an evaluation, and taking one on."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from moecap.client.answers import EvaluationRequest
from moecap_leaderboard.api.answers import Listed, ServiceOf, answer, caller_with, describing, written
from moecap_leaderboard.evaluation_requests import LEASE_SECONDS, RequestState
from moecap_leaderboard.keys import Caller
from moecap_leaderboard.listing import MAX_LIMIT

__all__ = ["router"]

router = APIRouter(prefix="/requests", tags=["requests"])

Submitter = Annotated[Caller, caller_with("submit")]
Worker = Annotated[Caller, caller_with("work")]
Lease = Annotated[str, Field(min_length=1, max_length=100)]
Seconds = Annotated[int, Field(ge=LEASE_SECONDS[0], le=LEASE_SECONDS[1])]

_SECONDS = 900
_ONE = describing(EvaluationRequest)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Wish(_Body):
    """A run that is asked for: keys of the run configuration, and a note."""

    config: Annotated[dict[str, Any], Field(examples=[{"model": "smollm2-moe", "task": ["none"]}])]
    note: Annotated[str | None, Field(max_length=1000)] = None


class Claim(_Body):
    """Who takes a request, and for how long."""

    worker: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[\w .:-]+$")]
    seconds: Seconds = _SECONDS


class Renewal(_Body):
    """For how long a request is held on."""

    lease: Lease
    seconds: Seconds = _SECONDS


class Completion(_Body):
    """Which submission answers a request."""

    lease: Lease
    submission: Annotated[str, Field(max_length=32)]


class Failure(_Body):
    """Why a request could not be answered."""

    lease: Lease
    reason: Annotated[str, Field(min_length=1, max_length=2000)]


@router.post("", status_code=201, responses=describing(EvaluationRequest, 201))
def ask(service: ServiceOf, caller: Submitter, body: Wish) -> Response:
    """Queue a run."""
    found = service.requests.add(body.config, body.note, caller.owner)
    return written(found, 201, {"Location": f"/api/v1/requests/{found['id']}"})


@router.get("", responses=describing(Listed[EvaluationRequest]))
def requests(
    request: Request,
    service: ServiceOf,
    state: RequestState | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """The queue, the first that came first."""
    return answer(request, service.requests.page(state, limit, cursor), seconds=1)


@router.get("/{identifier}", responses=_ONE)
def one(request: Request, service: ServiceOf, identifier: str) -> Response:
    """One request."""
    return answer(request, service.requests.get(identifier), seconds=1)


@router.post("/{identifier}/claim", responses=_ONE)
def claim(service: ServiceOf, caller: Worker, identifier: str, body: Claim) -> Response:
    """Take a queued request."""
    return written(service.requests.claim(identifier, body.worker, body.seconds, caller))


@router.post("/{identifier}/renew", responses=_ONE)
def renew(service: ServiceOf, caller: Worker, identifier: str, body: Renewal) -> Response:
    """Hold a request for longer."""
    return written(service.requests.renew(identifier, body.lease, body.seconds))


@router.post("/{identifier}/complete", responses=_ONE)
def complete(service: ServiceOf, caller: Worker, identifier: str, body: Completion) -> Response:
    """End a request with its submission."""
    return written(service.requests.complete(identifier, body.lease, body.submission, caller))


@router.post("/{identifier}/fail", responses=_ONE)
def fail(service: ServiceOf, caller: Worker, identifier: str, body: Failure) -> Response:
    """Give a request back."""
    return written(service.requests.fail(identifier, body.lease, body.reason))


@router.post("/{identifier}/cancel", responses=_ONE)
def cancel(service: ServiceOf, caller: Submitter, identifier: str) -> Response:
    """Take one's own request back."""
    return written(service.requests.cancel(identifier, caller))
