"""Around every request: limits on bodies and rates, and what Prometheus counts."""

from __future__ import annotations

import asyncio
import ipaddress
import threading
import time
from collections import OrderedDict

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moecap_leaderboard.problems import Problem
from moecap_leaderboard.settings import Limits

__all__ = ["BodyLimit", "Head", "Measured", "RateLimit", "problem_response"]

_READS = ("GET", "HEAD", "OPTIONS")
_UNLIMITED = ("/healthz", "/metrics")
_CLIENTS = 20_000
"""Clients that are remembered; the one that was quiet for longest is forgotten first."""


def problem_response(problem: Problem, instance: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """A problem as the API answers it."""
    if "retry_after" in problem.members:
        headers = {**(headers or {}), "Retry-After": str(problem.members["retry_after"])}
    if problem.kind == "no-key":
        headers = {**(headers or {}), "WWW-Authenticate": "Bearer"}
    body = problem.as_json(instance)
    return JSONResponse(
        body, problem.status, {"Cache-Control": "no-store", **(headers or {})}, "application/problem+json"
    )


class BodyLimit:
    """Refuses bodies beyond a size, whether or not they say it before, and those of which nothing more comes."""

    def __init__(self, app: ASGIApp, limit: int, seconds: float = 60.0) -> None:
        self._app, self._limit, self._seconds = app, limit, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"content-length", b"0")
        problem = Problem("too-large", f"the body is larger than {self._limit} bytes; send less", limit=self._limit)
        if not said.isdigit() or int(said) > self._limit:
            await problem_response(problem, scope["path"])(scope, receive, send)
            return
        left, whole = self._limit, False

        async def counted() -> Message:
            nonlocal left, whole
            try:
                message = await asyncio.wait_for(receive(), None if whole else self._seconds)
            except TimeoutError:
                text = f"nothing more of the body came for {self._seconds:g} s; send it again"
                raise Problem("too-slow", text) from None
            whole = not message.get("more_body", False)
            left -= len(message.get("body", b""))
            if left < 0:
                raise problem
            return message

        await self._app(scope, counted, send)


class RateLimit:
    """Refuses what a client asks beyond its rate: a bucket for its reads and one for the rest."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._reads = _Buckets(limits.reads_per_second, limits.reads_at_once)
        self._writes = _Buckets(limits.writes_per_minute / 60, max(1, int(limits.writes_per_minute)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["path"] in _UNLIMITED:
            await self._app(scope, receive, send)
            return
        buckets = self._reads if scope["method"] in _READS else self._writes
        left, wait = buckets.take(_client(scope))
        if wait:
            problem = Problem("too-many-requests", f"too many requests; wait {wait} s", retry_after=wait)
            await problem_response(problem, scope["path"], {"X-RateLimit-Remaining": "0"})(scope, receive, send)
            return

        async def with_rest(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-ratelimit-remaining", str(left).encode())]
            await send(message)

        await self._app(scope, receive, with_rest)


def _client(scope: Scope) -> str:
    """The address that a request comes from; the server takes a proxy's word for it where it is told to.

    Of IPv6 the network of 64 bits, which is one client's as a rule, who would have as many limits as addresses.
    """
    said: str = scope["client"][0] if scope.get("client") else ""
    try:
        address = ipaddress.ip_address(said.partition("%")[0])
    except ValueError:
        return said
    if address.version == 4:
        return said
    return str(address.ipv4_mapped or ipaddress.ip_network((int(address), 64), strict=False))


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


class _Buckets:
    """Tokens of each client: so many a second, so many at once."""

    def __init__(self, rate: float, size: int) -> None:
        self._rate, self._size = rate, size
        self._state: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, client: str) -> tuple[int, int]:
        """Take a token: how many are left, and the seconds to wait where there was none."""
        now = time.monotonic()
        with self._lock:
            tokens, since = self._state.pop(client, (float(self._size), now))
            tokens = min(self._size, tokens + (now - since) * self._rate)
            wait = 0 if tokens >= 1 else int((1 - tokens) / self._rate) + 1
            tokens -= not wait
            self._state[client] = (tokens, now)
            if len(self._state) > _CLIENTS:
                self._state.popitem(last=False)
        return int(tokens), wait


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
