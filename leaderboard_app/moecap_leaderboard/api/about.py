"""What the service says of itself: its schema, its health, and what Prometheus reads."""

from __future__ import annotations

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import func, select
from starlette.responses import Response

from moecap import __version__
from moecap.publishing.margin import MARGINS
from moecap.result import MAX_RESULT_BYTES, SCHEMA_VERSION, Result
from moecap_leaderboard.api.answers import ServiceOf, answer, written
from moecap_leaderboard.keys import SCOPES
from moecap_leaderboard.metrics import HEADLINES
from moecap_leaderboard.rules import RULES, STANDING_RULES
from moecap_leaderboard.states import STATES, TIERS
from moecap_leaderboard.tables import Submission

__all__ = ["health_router", "router"]

router = APIRouter(tags=["about"])
health_router = APIRouter(include_in_schema=False)

_SCHEMA_SECONDS = 3600


@router.get("/schema")
def schema(request: Request, service: ServiceOf) -> Response:
    """The JSON Schema of a result, the metrics, the rules, and every word that the API uses."""
    rules = [{"id": rule.id, "text": rule.text} for rule in RULES]
    content = {
        "moecap": __version__,
        "schema_version": SCHEMA_VERSION,
        "result": Result.model_json_schema(),
        "metrics": [
            {"name": h.name, "unit": h.unit, "better": h.better, "text": h.text, "sortable": True} for h in HEADLINES
        ],
        "rules": rules + [{"id": key, "text": text} for key, text in STANDING_RULES.items()],
        "reproduction": MARGINS,
        "states": STATES,
        "tiers": TIERS,
        "scopes": SCOPES,
        "limits": {"body_bytes": service.settings.limits.body_bytes, "result_bytes": MAX_RESULT_BYTES},
    }
    return answer(request, content, seconds=_SCHEMA_SECONDS)


@health_router.get("/healthz")
def healthz(service: ServiceOf) -> Response:
    """Whether the store answers and can be written."""
    with service.database.writing() as session:
        session.execute(select(1))
    return written({"status": "ok", "version": __version__})


@health_router.get("/metrics")
def metrics(request: Request, service: ServiceOf) -> Response:
    """Counters and gauges in the text format of Prometheus."""
    with service.database.reading() as session:
        counts = dict(session.execute(select(Submission.state, func.count()).group_by(Submission.state)).all())
    gauge = request.app.state.submissions_gauge
    for state in STATES:
        gauge.labels(state).set(counts.get(state, 0))
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_LATEST)
