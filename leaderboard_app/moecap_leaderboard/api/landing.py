"""The page at the root: what the service holds and where its API is."""

from __future__ import annotations

from html import escape

from fastapi import APIRouter, Request
from sqlalchemy import func, select
from starlette.responses import Response

from moecap import __version__
from moecap_leaderboard.api.answers import ServiceOf, bytes_answer
from moecap_leaderboard.tables import Submission

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

_KINDS = {
    "measured": "measured by moecap and recomputed here from the observations",
    "imported": "published by others, each with its source; not checked here",
    "projected": "projected by a model of the hardware; nothing was measured",
}

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>moecap leaderboard</title>
<style>
:root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }}
body {{ max-width: 46rem; margin: 3rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse }} td {{ padding: .2rem 1.2rem .2rem 0; vertical-align: top }}
td:first-child {{ text-align: right; font-variant-numeric: tabular-nums }}
code {{ font-size: .95em }}
</style>
<h1>moecap leaderboard</h1>
<p>Accuracy, cost and performance of Mixture-of-Experts language models on real hardware. Every measured number is
recomputed here from the observations of its run.</p>
<table>{rows}</table>
<h2>API</h2>
<ul>
<li><a href="/api/v1/results?kind=all&amp;limit=20">/api/v1/results</a>: rows, with filters, sort and cursor</li>
<li><a href="/api/v1/export.csv?kind=all">/api/v1/export.csv</a>,
<a href="/api/v1/export.parquet?kind=all">.parquet</a>,
<a href="/api/v1/export.json?kind=all">.json</a>: all of them</li>
<li><a href="/api/v1/requests">/api/v1/requests</a>: evaluations that were asked for</li>
<li><a href="/api/v1/schema">/api/v1/schema</a>: schema, metrics and rules</li>
<li><a href="/docs">/docs</a>: every path</li>
</ul>
<p>Send a run: <code>moecap submit RUN --url {url} --token KEY</code></p>
<p><small>moecap {version}</small></p>
</html>
"""


@router.get("/")
def landing(request: Request, service: ServiceOf) -> Response:
    """The page."""
    counted = select(Submission.kind, func.count()).where(Submission.state == "published", Submission.newest)
    with service.database.reading() as session:
        counts = dict(session.execute(counted.group_by(Submission.kind)).all())
    rows = "".join(f"<tr><td>{counts.get(kind, 0)}<td>{kind}<td>{text}</tr>" for kind, text in _KINDS.items())
    url = escape(str(request.base_url).rstrip("/"))
    page = _PAGE.format(rows=rows, url=url, version=escape(__version__))
    return bytes_answer(request, page.encode(), "text/html; charset=utf-8", seconds=15)
