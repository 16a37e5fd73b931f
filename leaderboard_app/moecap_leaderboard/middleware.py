"""Around every request: limits on bodies and rates, and what Prometheus counts."""

from __future__ import annotations

import asyncio
import time

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moecap_leaderboard.problems import ProblemError
from moecap_leaderboard.rates import Buckets, client_of
from moecap_leaderboard.settings import Limits

__all__ = ["QUESTION", "UPLOAD", "BodyLimit", "Head", "Measured", "RateLimit", "Secured", "problem_response"]

_READS = ("GET", "HEAD", "OPTIONS")
_UNLIMITED = ("/healthz",)
"""What tells whether the service is well, which those who restart it ask."""
_FILES = ("/assets/", "/static/", "/look/")
"""Files of the pages, some dozens a page, which browsers keep."""
_FILES_A_READ = 10
_SECURE = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
"""What a browser may do with an answer that does not say it itself: nothing."""
UPLOAD = "/gradio_api/upload"
"""Where a page's file is kept for a while without a key."""
_WRITES_AN_UPLOAD = 30
QUESTION = "/gradio_api/run/predict"
"""Where pages POST what they ask; nothing is written by it."""


def problem_response(problem: ProblemError, instance: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """A problem as the API answers it."""
    if "retry_after" in problem.members:
        headers = {**(headers or {}), "Retry-After": str(problem.members["retry_after"])}
    if problem.kind == "no-key":
        headers = {**(headers or {}), "WWW-Authenticate": "Bearer"}
    body = problem.as_json(instance)
    return JSONResponse(
        body, problem.status, {"Cache-Control": "no-store", **_SECURE, **(headers or {})}, "application/problem+json"
    )


class BodyLimit:
    """Refuses bodies beyond a size, whether or not they say it before, and those that stop or trickle.

    Args:
        app: Who answers.
        limit: Most bytes of a body.
        seconds: How long nothing may come.
        bytes_per_second: What must come on average after the first so many seconds; a body of ``limit`` may then take
            ``seconds + limit / bytes_per_second``.
    """

    def __init__(self, app: ASGIApp, limit: int, seconds: float = 60.0, bytes_per_second: float = 16_000.0) -> None:
        self._app, self._limit, self._seconds, self._rate = app, limit, seconds, bytes_per_second

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"content-length", b"0")
        problem = ProblemError(
            "too-large", f"the body is larger than {self._limit} bytes; send less", limit=self._limit
        )
        if not said.isdigit() or int(said) > self._limit:
            await problem_response(problem, scope["path"])(scope, receive, send)
            return
        left, whole, since = self._limit, False, time.monotonic()

        async def counted() -> Message:
            nonlocal left, whole
            late = since + self._seconds + (self._limit - left) / self._rate - time.monotonic()
            try:
                message = await asyncio.wait_for(receive(), None if whole else min(self._seconds, late))
            except TimeoutError:
                text = (
                    f"nothing more of the body came for {self._seconds:g} s"
                    if late > self._seconds
                    else f"the body came at less than {self._rate:g} bytes a second"
                )
                raise ProblemError("too-slow", f"{text}; send it again") from None
            whole = not message.get("more_body", False)
            left -= len(message.get("body", b""))
            if left < 0:
                raise problem
            return message

        await self._app(scope, counted, send)


class RateLimit:
    """Refuses what a client asks beyond its rate: a bucket each for reads, pages' files, uploads and the rest."""

    def __init__(self, app: ASGIApp, limits: Limits, writes: Buckets) -> None:
        self._app, self._writes = app, writes
        self._reads = Buckets(limits.reads_per_second, limits.reads_at_once)
        self._files = Buckets(limits.reads_per_second * _FILES_A_READ, limits.reads_at_once * _FILES_A_READ)
        uploads = limits.writes_per_minute / _WRITES_AN_UPLOAD
        self._uploads = Buckets(uploads / 60, max(1, int(uploads)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["path"] in _UNLIMITED:
            await self._app(scope, receive, send)
            return
        left, wait = self._buckets(scope["method"], scope["path"]).take(client_of(scope))
        if wait:
            problem = ProblemError("too-many-requests", f"too many requests; wait {wait} s", retry_after=wait)
            await problem_response(problem, scope["path"], {"X-RateLimit-Remaining": "0"})(scope, receive, send)
            return

        async def with_rest(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-ratelimit-remaining", str(left).encode())]
            await send(message)

        await self._app(scope, receive, with_rest)

    def _buckets(self, method: str, path: str) -> Buckets:
        if method not in _READS:
            if path == UPLOAD:
                return self._uploads
            return self._reads if path == QUESTION else self._writes
        return self._files if path.startswith(_FILES) else self._reads


class Head:
    """Answers HEAD like GET without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        asked = {**scope, "method": "GET"}

        async def without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        try:
            await self._app(asked, receive, without_body)
        finally:
            scope["route"] = asked.get("route")


class Secured:
    """Tells browsers to do nothing with an answer but what it was made for, unless the answer says what that is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=list(message["headers"]))
                for name, value in _SECURE.items():
                    headers.setdefault(name, value)
                message = {**message, "headers": headers.raw}
            await send(message)

        await self._app(scope, receive, secured)


class Measured:
    """Counts requests and their seconds by route, method and status."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        self._count = Counter("moecap_http_requests", "Requests", ("method", "route", "status"), registry=registry)
        self._seconds = Histogram(
            "moecap_http_seconds",
            "Seconds from a request to the end of its answer",
            ("method", "route"),
            registry=registry,
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, start = 500, time.perf_counter()

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if scope["method"] in (*_READS, "POST", "PATCH", "DELETE") else "other"
            self._count.labels(method, route, str(status)).inc()
            self._seconds.labels(method, route).observe(time.perf_counter() - start)
