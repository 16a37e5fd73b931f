"""Answers with what a cache needs: a tag of their content and how long they hold."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from fastapi import Depends, Header, Request, Security
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from starlette.responses import Response

from moecap_leaderboard.keys import Caller, allowed
from moecap_leaderboard.service import Service

__all__ = [
    "FRAMED",
    "CallerOf",
    "Listed",
    "ServiceOf",
    "answer",
    "bytes_answer",
    "caller_with",
    "describing",
    "media",
    "written",
]

FRAMED = "frame-ancestors 'self' https://huggingface.co"
"""Who may show a page inside of theirs: this service, and the hub, where a Space stands in a frame."""

T = TypeVar("T")


class Listed(BaseModel, Generic[T]):
    """A list, or a part of one that ``next`` goes on from."""

    items: list[T]
    next: str | None


def describing(kind: type[BaseModel], *statuses: int) -> dict[int | str, dict[str, Any]]:
    """What the description of the API says of an answer.

    Args:
        kind: What is answered, as a client of this package reads it.
        statuses: With which statuses beside 200 or, of what is made, with which alone.
    """
    return {status: {"model": kind, "description": _MEANINGS[status]} for status in statuses or (200,)}


def media(*types: str) -> dict[int | str, dict[str, Any]]:
    """What the description of the API says of a file, which is of one of these media types."""
    return {200: {"description": "The file", "content": {name: {} for name in types}}}


_MEANINGS = {200: "It is so", 201: "It was made", 202: "It is being checked"}


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


ServiceOf = Annotated[Service, Depends(_service)]


_BEARER = Security(HTTPBearer(auto_error=False, scheme_name="key", bearerFormat="moecap_ID_SECRET"))
"""Says in the description of the API how a key is given; the header itself is read below."""


def _caller(
    service: ServiceOf,
    authorization: Annotated[str | None, Header(include_in_schema=False)] = None,
    described: Annotated[object, _BEARER] = None,
) -> Caller | None:
    return service.keys.caller(authorization)


CallerOf = Annotated[Caller | None, Depends(_caller)]


def caller_with(scope: str) -> Any:
    """A dependency that gives the caller, who must have a scope."""

    def needed(caller: CallerOf) -> Caller:
        return allowed(caller, scope)

    return Depends(needed)


def answer(request: Request, content: object, *, seconds: int, headers: Mapping[str, str] | None = None) -> Response:
    """Public JSON.

    Args:
        request: What was asked.
        content: What is answered.
        seconds: How long a cache may keep it.
        headers: Further headers.
    """
    return bytes_answer(request, msgspec.json.encode(content), "application/json", seconds=seconds, headers=headers)


def bytes_answer(
    request: Request, body: bytes, media: str, *, seconds: int, headers: Mapping[str, str] | None = None
) -> Response:
    """Public bytes with their tag, or nothing where the client has them."""
    tag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
    kept = {"ETag": tag, "Cache-Control": f"public, max-age={seconds}", **(headers or {})}
    known = request.headers.get("if-none-match", "")
    if known == "*" or tag in [text.strip() for text in known.split(",")]:
        vary = ", ".join(filter(None, (kept.get("Vary"), "Accept-Encoding")))
        return Response(status_code=304, headers=kept | {"Vary": vary})
    return Response(body, headers=kept, media_type=media)


def written(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON that no cache keeps."""
    kept = {"Cache-Control": "no-store", **(headers or {})}
    return Response(msgspec.json.encode(content), status, kept, "application/json")
