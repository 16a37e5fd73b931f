"""Requests for an evaluation as tables: those that wait, those that run, and those that have ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from moecap.config import RunConfig
from moecap.report.figures import NO_VALUE, TIMES
from moecap.report.headline import badge, long_date
from moecap.report.markup import Child, Html, data_table, element, join, paragraph
from moecap_leaderboard.evaluation_requests import MAX_ATTEMPTS
from moecap_leaderboard.pages.links import result_url
from moecap_leaderboard.pages.naming import engine_name, plural
from moecap_leaderboard.service import Service

__all__ = ["asked", "queue_tables"]

_SHOWN = 50


def asked(request: Mapping[str, Any]) -> Html:
    """What was just asked for.

    Args:
        request: As the API gives it.
    """
    return element(
        "div",
        element("h2", "It is in the queue ", badge("queued", "queued")),
        paragraph(_wish(request["config"]), "; the API gives its state: "),
        paragraph(element("code", f"GET /api/v1/requests/{request['id']}")),
        role="status",
    )


def queue_tables(service: Service) -> Html:
    """All of the queue that fits a page."""
    queued, claimed = (service.requests.page(state, _SHOWN, None) for state in ("queued", "claimed"))
    ended = service.requests.ended(_SHOWN)
    if not (queued["items"] or claimed["items"] or ended):
        return element(
            "div",
            element("h2", "Nothing was asked for yet"),
            paragraph("The first request goes to the first worker whose machine can serve it."),
            class_="empty",
        )
    return join(
        _table("Waiting", queued["items"], "No request waits.", more=queued["next"] is not None),
        _table("Running", claimed["items"], "No worker runs one.", more=claimed["next"] is not None),
        _table("Ended", ended, "None has ended.", more=len(ended) == _SHOWN),
    )


def _table(title: str, items: Sequence[Mapping[str, Any]], none: str, *, more: bool) -> Html:
    heading = element("h2", title, element("small", f" {len(items)}{' or more' if more else ''}"))
    if not items:
        return join(heading, paragraph(none, class_="missing"))
    heads = ("Asked for", "State", "What became of it", "By", "Since")
    rows = [
        (
            join(_wish(item["config"]), element("small", item["note"]) if item["note"] else None),
            badge(item["state"], item["state"]),
            _outcome(item),
            item["owner"],
            long_date(item["created"]),
        )
        for item in items
    ]
    rest = paragraph("The others: ", element("code", "GET /api/v1/requests"), class_="faint") if more else None
    return join(heading, data_table(f"{title} requests", heads, rows, class_="queue"), rest)


def _wish(config: Mapping[str, Any]) -> str:
    """A configuration in words."""
    try:
        wanted = RunConfig.model_validate(dict(config))
    except ValidationError:  # asked of a version that knew other settings
        return ", ".join(f"{name} {value}" for name, value in config.items())
    hardware = "any hardware" if wanted.hw == "auto" else wanted.hw
    if wanted.num_gpus:
        hardware = f"{wanted.num_gpus} {TIMES} {hardware}"
    parts = [
        f"{wanted.model} on {hardware}",
        "any engine" if wanted.backend == "auto" else engine_name(wanted.backend),
        "" if wanted.precision == "auto" else wanted.precision,
        f"{wanted.input_len} tokens in, {wanted.output_len} out",
        f"{wanted.concurrency} at once" if wanted.load == "closed" else wanted.pace,
        f"tasks {', '.join(wanted.task)}" if wanted.task else "",
    ]
    return ", ".join(filter(None, parts))


def _outcome(item: Mapping[str, Any]) -> Child:
    """What became of a request, in words."""
    tried = f"attempt {item['attempts']} of {MAX_ATTEMPTS}"
    if item["state"] == "completed":
        return element("a", "its result", href=result_url(item["result"])) if item["result"] else "its result is gone"
    if item["state"] == "claimed":
        return f"{item['worker']} has it until {long_date(item['lease_expires'])}; {tried}"
    if item["state"] == "failed":
        return f"failed after {plural(item['attempts'], 'attempt')}: {item['reason'] or 'no reason was given'}"
    if item["state"] == "queued" and item["attempts"]:
        return f"back after {tried}: {item['reason'] or 'no reason was given'}"
    return NO_VALUE
