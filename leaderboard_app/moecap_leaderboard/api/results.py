"""Reading the board: lists, one result, comparisons, fronts and exports."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import numpy as np
from fastapi import APIRouter, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import Response, StreamingResponse

from moecap.client.answers import Row
from moecap.errors import BadInputError, NotAvailableError
from moecap.metrics.direction import better_of
from moecap.result import RESULT_FILE, Result
from moecap_leaderboard.api.answers import FRAMED, Listed, ServiceOf, answer, bytes_answer, describing, media
from moecap_leaderboard.api.filters import MAX_COMPARED, ComparedQuery, ExportQuery, ListQuery, ParetoQuery
from moecap_leaderboard.columns import Columns
from moecap_leaderboard.comparison import compared, front
from moecap_leaderboard.exports import MEDIA, exported
from moecap_leaderboard.listing import Filters, all_items, has_more, items_of, page, rows_of
from moecap_leaderboard.metrics import is_sortable
from moecap_leaderboard.packing import packed
from moecap_leaderboard.problems import ProblemError
from moecap_leaderboard.rates import client_of
from moecap_leaderboard.reports import files_of, published, result_report

__all__ = ["router"]

router = APIRouter(tags=["results"])

_LIST_SECONDS = 15
_RESULT_SECONDS = 60
_WAIT_SECONDS = 60
_MOST_POINTS = 2000
_MOST_EXPORTED_HERE = 1000
"""Rows that are exported by a thread of the service; more by a process of its own."""


@router.get("/results", responses=describing(Listed[Row]))
def results(request: Request, service: ServiceOf, query: Annotated[ListQuery, Query()]) -> Response:
    """Rows of the board, filtered, sorted and cut."""
    filters = query.filters()
    among = service.columns.few(filters)
    with service.database.reading() as session:
        found = page(session, filters, query.sort, query.limit, query.cursor, among=among, as_json=True)
    return answer(request, {"items": found.items, "next": found.next}, seconds=_LIST_SECONDS)


@router.get("/results/{identifier}", responses=describing(Row))
def result(request: Request, service: ServiceOf, identifier: str) -> Response:
    """One result with its recomputation, the report of the rules and its history."""
    with service.database.reading() as session:
        found = result_report(session, service.blobs, published(session, identifier))
    return answer(request, found, seconds=_RESULT_SECONDS)


@router.get("/results/{identifier}/result.json", responses=describing(Result))
def result_file(request: Request, service: ServiceOf, identifier: str) -> Response:
    """The bytes of result.json as they were submitted."""
    with service.database.reading() as session:
        row = published(session, identifier)
        digest = files_of(session, row).get(RESULT_FILE)
    if digest is None:
        raise ProblemError(
            "not-found", f"result {identifier[:16]} is {row.kind} and has no result.json; GET it without that"
        )
    return bytes_answer(request, service.blobs.path(digest).read_bytes(), "application/json", seconds=_RESULT_SECONDS)


@router.get("/results/{identifier}/observations", response_class=Response, responses=media("application/gzip"))
def observations(request: Request, service: ServiceOf, identifier: str) -> Response:
    """The observation files with result.json, as one archive."""
    with service.database.reading() as session:
        row = published(session, identifier)
        files = files_of(session, row)
    if len(files) < 2:
        raise ProblemError("not-found", f"no observations came with result {identifier[:16]}; it is {row.kind}")
    tag = f'W/"{row.content_sha256[:32]}"'
    headers = {"ETag": tag, "Cache-Control": f"public, max-age={_RESULT_SECONDS}"}
    if tag in [text.strip() for text in request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    headers["Content-Disposition"] = f'attachment; filename="moecap-{identifier[:16]}.tar.gz"'
    stored = {name: service.blobs.path(digest) for name, digest in files.items()}
    return StreamingResponse(packed(stored), headers=headers, media_type="application/gzip")


@router.get("/results/{identifier}/report.html", response_class=Response, responses=media("text/html"))
def report(request: Request, service: ServiceOf, identifier: str) -> Response:
    """The report of the run as one page: radar, roofline, experts, latencies and the rest, from its observations."""
    with service.database.reading() as session:
        row = published(session, identifier)
        files = files_of(session, row)
    if len(files) < 2:
        raise ProblemError("not-found", f"no observations came with result {identifier[:16]}; it is {row.kind}")
    try:
        page = service.reports.page(row.id, files)
    except BadInputError as error:
        raise ProblemError("not-found", f"the report of {identifier[:16]} cannot be drawn: {error}") from None
    except NotAvailableError as error:
        raise ProblemError("unavailable", str(error), retry_after=_WAIT_SECONDS) from None
    headers = {"Content-Security-Policy": f"sandbox allow-scripts allow-downloads allow-popups; {FRAMED}"}
    return bytes_answer(request, page, "text/html; charset=utf-8", seconds=_RESULT_SECONDS, headers=headers)


@router.get("/compare")
def compare(request: Request, service: ServiceOf, query: Annotated[ComparedQuery, Query()]) -> Response:
    """Two to eight results side by side, relative to the first."""
    ids = [text.strip() for text in query.ids.split(",") if text.strip()]
    if not 2 <= len(ids) <= MAX_COMPARED:
        raise ProblemError("bad-request", f"ids names {len(ids)} results; give 2 to {MAX_COMPARED}")
    with service.database.reading() as session:
        rows = [published(session, identifier) for identifier in ids]
        if len(set(ids)) < len(ids):
            raise ProblemError("bad-request", "ids names a result twice; give each once")
        items = items_of(session, rows)
    return answer(request, compared(items), seconds=_RESULT_SECONDS)


@router.get("/pareto")
def pareto(request: Request, service: ServiceOf, query: Annotated[ParetoQuery, Query()]) -> Response:
    """Rows that have two metrics, and which of them no other one beats in both."""
    for name in (query.x, query.y):
        if not is_sortable(name):
            raise ProblemError("bad-request", f"no metric {name[:80]!r} to compare by; GET /api/v1/schema names them")
    filters = query.filters()
    content = service.answers.of(
        (query.x, query.y, filters), lambda session: _front(service.columns, session, query.x, query.y, filters)
    )
    return bytes_answer(request, content, "application/json", seconds=_LIST_SECONDS)


def _front(columns: Columns, session: Session, x_name: str, y_name: str, filters: Filters) -> bytes:
    """What is answered to the question for a front."""
    with columns.present() as now:
        x, y = now.metric(x_name), now.metric(y_name)
        places = now.newest(now.rows(filters) & ~np.isnan(x) & ~np.isnan(y), _MOST_POINTS)
        points = dict(zip(now.ids(places), zip(x[places].tolist(), y[places].tolist(), strict=True), strict=True))
    rows = [row for row in rows_of(session, list(points)) if row.state == filters.state]
    found = [points[row.id] for row in rows]
    beaten = front(found, (better_of(x_name), better_of(y_name)))
    items = items_of(session, rows, as_json=True)
    for item, (a, b), best in zip(items, found, beaten, strict=True):
        del item["flags"], item["metrics"]  # of as many as 2,000 rows
        item |= {"x": a, "y": b, "on_front": best}
    return msgspec.json.encode({"x": _axis(x_name), "y": _axis(y_name), "items": items, "next": None})


def _axis(name: str) -> dict[str, str]:
    return {"name": name, "better": better_of(name)}


@router.get("/export.{form}", response_class=Response, responses=media(*MEDIA.values()))
def export(
    request: Request,
    service: ServiceOf,
    form: Literal["csv", "parquet", "json"],
    query: Annotated[ExportQuery, Query()],
) -> Response:
    """Every row as a file, streamed."""
    headers = {
        "Content-Disposition": f'attachment; filename="moecap.{form}"',
        "Cache-Control": f"public, max-age={_RESULT_SECONDS}",
    }
    filters = query.filters()
    with service.database.reading() as session:
        page(session, filters, query.sort, 1, None)  # what is wrong with the query is said before the answer begins
        many = has_more(session, filters, _MOST_EXPORTED_HERE)
    if many:
        try:
            written = service.exports.of(filters, query.sort, form, client_of(request.scope))
        except NotAvailableError as error:
            raise ProblemError("unavailable", str(error), retry_after=_WAIT_SECONDS) from None
        zipped = written.compressed and "gzip" in request.headers.get("accept-encoding", "")
        headers |= {"Vary": "Accept-Encoding"} | ({"Content-Encoding": "gzip"} if zipped else {})
        return StreamingResponse(written.parts(zipped), headers=headers, media_type=MEDIA[form])
    rows = all_items(service.database, filters, query.sort, as_json=form == "json")
    return StreamingResponse(exported(rows, form), headers=headers, media_type=MEDIA[form])
