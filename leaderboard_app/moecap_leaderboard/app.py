"""The web application: the API under ``/api/v1`` and the pages."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from prometheus_client import CollectorRegistry, Gauge
from sqlalchemy.exc import DataError, OperationalError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as NoConnectionError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.routing import Match, Route

from moecap import __version__
from moecap_leaderboard.api import about, description, keys, requests, results, submissions
from moecap_leaderboard.middleware import BodyLimit, Head, Measured, RateLimit, Secured, problem_response
from moecap_leaderboard.pages.board_columns import compared_metrics
from moecap_leaderboard.pages.site import mount_pages
from moecap_leaderboard.pages.upload_room import UploadRoom, sweeping
from moecap_leaderboard.problems import PROBLEMS, ProblemError
from moecap_leaderboard.service import Service

__all__ = ["create_app"]

API = "/api/v1"

_LOG = logging.getLogger(__name__)

_BUSY_SECONDS = 5
_FULL_SECONDS = 600
_FULL = (errno.ENOSPC, errno.EDQUOT)

_PROBLEM_ANSWERS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": "What is wrong, as problem details (RFC 9457)",
        "content": {
            "application/problem+json": {
                "schema": {
                    "type": "object",
                    "required": ["type", "title", "status", "detail", "instance"],
                    "properties": {
                        "type": {"type": "string", "enum": [f"/problems/{kind}" for kind in PROBLEMS]},
                        "title": {"type": "string"},
                        "status": {"type": "integer"},
                        "detail": {"type": "string"},
                        "instance": {"type": "string"},
                    },
                }
            }
        },
    }
    for status in ("4XX", "5XX")
}

_KINDS = {401: "no-key", 403: "no-scope", 404: "not-found", 405: "no-method", 413: "too-large", 422: "bad-request"}


def create_app(service: Service) -> FastAPI:
    """The application over an open service, which it closes when it ends: the API, and the pages after it.

    Args:
        service: The store and everything that works on it.
    """
    uploads = service.settings.data / "uploads"

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        current_default_thread_limiter().total_tokens += service.examiners.places  # those who wait block no reader
        await run_in_threadpool(service.submissions.resume)
        reading = asyncio.create_task(run_in_threadpool(_read_columns, service))
        async with sweeping(uploads):
            yield
        await asyncio.wait([reading])
        await run_in_threadpool(service.close)

    app = FastAPI(
        title="moecap leaderboard",
        version=__version__,
        summary="Accuracy, cost and performance of Mixture-of-Experts models, recomputed from the observations.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # to where the header Host says
    )
    app.state.service = service
    app.state.registry = CollectorRegistry()
    app.state.submissions_gauge = Gauge(
        "moecap_submissions", "Submissions by state", ("state",), registry=app.state.registry
    )
    for router in (results.router, submissions.router, requests.router, keys.router, about.router):
        app.include_router(router, prefix=API, responses=_PROBLEM_ANSWERS)
    app.include_router(about.health_router)
    app.include_router(description.router)
    mount_pages(app, service, uploads)
    _explain_problems(app)
    limits = service.settings.limits
    app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["GET"], expose_headers=["ETag", "Location"])
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=5)
    app.add_middleware(Head)
    app.add_middleware(BodyLimit, limit=limits.body_bytes)
    app.add_middleware(UploadRoom, folder=uploads, body_bytes=limits.body_bytes)
    app.add_middleware(RateLimit, limits=limits, writes=service.writes)
    app.add_middleware(Secured)
    app.add_middleware(Measured, registry=app.state.registry)
    return app


def _read_columns(service: Service) -> None:
    """Read what pages count and compare; where that fails, whoever asks first tries again."""
    try:
        service.columns.read(compared_metrics())
    except SQLAlchemyError as error:
        _LOG.error("the rows could not be read when the service started: %s", error)


def _no_space() -> ProblemError:
    return ProblemError("unavailable", "the server's disk is full; tell its administrator", retry_after=_FULL_SECONDS)


def _explain_problems(app: FastAPI) -> None:
    """Let every error be problem details."""

    @app.exception_handler(ProblemError)
    async def _known(request: Request, problem: ProblemError) -> Response:
        return problem_response(problem, request.url.path)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        errors = [{"where": ".".join(str(part) for part in one["loc"]), "text": one["msg"]} for one in error.errors()]
        first = f"{errors[0]['where']}: {errors[0]['text']}" if errors else "the request cannot be read"
        problem = ProblemError("bad-request", f"{first}; see /docs", errors=errors)
        return problem_response(problem, request.url.path)

    @app.exception_handler(StatementError)
    async def _unstorable(request: Request, error: StatementError) -> Response:
        if not isinstance(error, DataError) and not isinstance(error.orig, ValueError):
            raise error
        problem = ProblemError(
            "bad-request", "a text or a number cannot be kept: no zero characters, no half characters"
        )
        return problem_response(problem, request.url.path)

    @app.exception_handler(NoConnectionError)
    @app.exception_handler(OperationalError)
    async def _busy(request: Request, error: Exception) -> Response:
        problem = ProblemError(
            "unavailable", "the database does not answer in time; try again", retry_after=_BUSY_SECONDS
        )
        return problem_response(problem, request.url.path)

    @app.exception_handler(OSError)
    async def _no_room(request: Request, error: OSError) -> Response:
        if error.errno not in _FULL:
            raise error
        return problem_response(_no_space(), request.url.path)

    @app.exception_handler(Exception)
    async def _unforeseen(request: Request, error: Exception) -> Response:
        return problem_response(
            ProblemError("internal", "the server failed and has logged why; tell its administrator"), request.url.path
        )

    @app.exception_handler(StarletteHTTPException)
    async def _other(request: Request, error: HTTPException) -> Response:
        if isinstance(error.__cause__, ProblemError):  # raised while a body was read
            return problem_response(error.__cause__, request.url.path)
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _FULL:
            return problem_response(_no_space(), request.url.path)
        problem = ProblemError(
            _KINDS.get(error.status_code, "bad-request"), f"{error.detail}: {request.url.path}; see /docs"
        )
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(_methods(request))
        return problem_response(problem, request.url.path, headers)


def _methods(request: Request) -> list[str]:
    """What may be done at the path of a request; Starlette names the methods of one function alone."""
    matching = (route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE)
    here = [route for route in matching if isinstance(route, Route)]
    found = {method for route in here if route.path == here[0].path for method in route.methods or ()}
    return sorted(found | {"HEAD"} if "GET" in found else found)
