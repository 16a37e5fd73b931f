"""What a leaderboard answers, as types; members that a later version adds are left out."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from moecap.metrics.value import Metric
from moecap.result import Flag

__all__ = ["EvaluationRequest", "Event", "Key", "PublicKey", "Row", "Rule", "Submission"]

Tier = Literal["self_reported", "signed", "recomputed", "reproduced"]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class Rule(_Answer):
    """What one rule of the leaderboard found.

    Attributes:
        id: Its name.
        text: What it asks for, in a sentence.
        outcome: Whether it holds; ``skipped`` where it does not apply.
        detail: What is the case.
        differences: Numbers that differ, each with ``metric``, ``stored`` and ``recomputed``.
    """

    id: str
    text: str = ""
    outcome: Literal["passed", "failed", "flagged", "skipped"]
    detail: str | None = None
    differences: tuple[dict[str, Any], ...] = ()


class Event(_Answer):
    """One entry of a history: who did what, when, why, and the state that followed."""

    time: datetime
    actor: str
    action: str
    state: str
    reason: str | None = None


class Submission(_Answer):
    """A result that was sent, and what became of it.

    Attributes:
        result: Id of the result.
        tier: How far its numbers are trusted; ``None`` where it is not published.
        unranked_because: Why it is not in the main ranking.
        reproduces: Id of the published result that it repeats.
        withheld: Files that were not sent.
        not_recomputed: Metrics that rest on them and are published as stated.
    """

    id: str
    result: str
    kind: str
    state: Literal["received", "validated", "pending", "published", "rejected", "withdrawn", "invalidated"]
    owner: str
    created: datetime
    url: str | None = None
    tier: Tier | None = None
    ranked: bool = False
    unranked_because: tuple[str, ...] = ()
    reproduces: str | None = None
    rules: tuple[Rule, ...] = ()
    withheld: tuple[str, ...] = ()
    not_recomputed: tuple[str, ...] = ()
    history: tuple[Event, ...] = ()


class Row(_Answer):
    """A published result in a list; ``result`` is its whole ``result.json`` where one result was asked for."""

    id: str
    submission: str | None = None
    kind: str
    state: str
    tier: Tier | None = None
    signed: bool = False
    recomputed: bool = False
    reproduced_by: int = 0
    ranked: bool = False
    unranked_because: tuple[str, ...] = ()
    model: dict[str, Any]
    hardware: dict[str, Any]
    engine: dict[str, Any] | None = None
    precision: str | None = None
    workload: dict[str, Any] | None = None
    metrics: dict[str, Metric] = {}
    flags: tuple[Flag, ...] = ()
    owner: str | None = None
    published: datetime | None = None
    configuration: str | None = None
    version: int | None = None
    attempts: int | None = None
    result: dict[str, Any] | None = None
    withheld: tuple[str, ...] = ()
    not_recomputed: tuple[str, ...] = ()


class EvaluationRequest(_Answer):
    """A run that somebody asked for; ``lease`` is there for the worker alone that has claimed it."""

    id: str
    state: Literal["queued", "claimed", "completed", "failed", "cancelled"]
    config: dict[str, Any]
    note: str | None = None
    owner: str
    created: datetime
    attempts: int = 0
    worker: str | None = None
    lease: str | None = None
    lease_expires: datetime | None = None
    submission: str | None = None
    result: str | None = None
    reason: str | None = None


class Key(_Answer):
    """A key to the API; ``key`` itself is there once, when it is made."""

    id: str
    owner: str
    scopes: tuple[str, ...]
    created: datetime
    expires: datetime | None = None
    revoked: datetime | None = None
    key: str | None = None


class PublicKey(_Answer):
    """A public key with its owner, whose results it signs."""

    public_key: str
    owner: str
    created: datetime
    revoked: datetime | None = None
