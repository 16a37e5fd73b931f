"""Bearer keys, and the public keys of signatures."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from moecap.client.answers import Key, PublicKey
from moecap_leaderboard.api.answers import CallerOf, Listed, ServiceOf, answer, caller_with, describing, written
from moecap_leaderboard.keys import OWNER, PUBLIC_KEY, Caller, Scope
from moecap_leaderboard.problems import ProblemError

__all__ = ["router"]

router = APIRouter(tags=["keys"])

Submitter = Annotated[Caller, caller_with("submit")]
Admin = Annotated[Caller, caller_with("admin")]


class NewKey(BaseModel):
    """For whom a key is, what it may do, and until when."""

    model_config = ConfigDict(extra="forbid")
    owner: Annotated[str, Field(max_length=39, json_schema_extra={"pattern": f"^{OWNER}$"})]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=4)]
    expires: datetime | None = None


class NewPublicKey(BaseModel):
    """A public key that ``moecap keys new`` prints."""

    model_config = ConfigDict(extra="forbid")
    public_key: Annotated[str, Field(max_length=43, json_schema_extra={"pattern": f"^{PUBLIC_KEY}$"})]


@router.post("/keys", status_code=201, responses=describing(Key, 201))
def new_key(service: ServiceOf, caller: Admin, body: NewKey) -> Response:
    """Make a key, which is shown here and never again."""
    found, key = service.keys.new(body.owner, body.scopes, body.expires)
    return written(found | {"key": key}, 201)


@router.get("/keys", responses=describing(Listed[Key]))
def keys(service: ServiceOf, caller: Admin) -> Response:
    """All keys, without themselves."""
    return written({"items": service.keys.listed(), "next": None})


@router.get("/keys/me", responses=describing(Key))
def own_key(service: ServiceOf, caller: CallerOf) -> Response:
    """What the key that asks may do."""
    if caller is None:
        raise ProblemError("no-key", "no key was sent: Authorization: Bearer KEY")
    return written(service.keys.get(caller.key))


@router.delete("/keys/{identifier}", status_code=204)
def revoke(service: ServiceOf, caller: Admin, identifier: str) -> Response:
    """End a key."""
    service.keys.revoke(identifier)
    return Response(status_code=204)


@router.post("/signing-keys", status_code=201, responses=describing(PublicKey, 200, 201))
def register(service: ServiceOf, caller: Submitter, body: NewPublicKey) -> Response:
    """Register the public key with which one signs results."""
    found, new = service.keys.register(body.public_key, caller.owner)
    return written(found, 201 if new else 200)


@router.get("/signing-keys", responses=describing(Listed[PublicKey]))
def registered(
    request: Request, service: ServiceOf, owner: Annotated[str | None, Query(max_length=39)] = None
) -> Response:
    """Registered public keys, of one owner or all."""
    return answer(request, {"items": service.keys.registered(owner), "next": None}, seconds=60)


@router.delete("/signing-keys/{public_key}", status_code=204)
def unregister(service: ServiceOf, caller: Submitter, public_key: str) -> Response:
    """End a public key of one's own."""
    service.keys.unregister(public_key, caller)
    return Response(status_code=204)
