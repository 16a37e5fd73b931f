"""The tables: typed columns for all that is filtered or sorted by, JSON for the rest.

Times are microseconds since 1970 in UTC. A submission's content is written once; what changes is its state and what
follows from others' (``newest``, ``version``, ``reproduced_by``), and each change of state is a row of ``audit``, which
only grows.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import JSON, BigInteger, Float, ForeignKey, Index, Integer, String, Text, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from moecap_leaderboard.families import LONGEST

__all__ = [
    "Audit",
    "Base",
    "Document",
    "EvaluationRequest",
    "Figure",
    "Key",
    "SentFile",
    "SigningKey",
    "Submission",
    "now_us",
]


def now_us() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


_ID = String(32)
_DIGEST = String(64)
_OWNER = String(39)
_SERIAL = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up integers alone


class Base(DeclarativeBase):
    """All tables."""


class Key(Base):
    """A bearer key; the key itself is not here."""

    __tablename__ = "keys"
    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    owner: Mapped[str] = mapped_column(_OWNER)
    secret_sha256: Mapped[str] = mapped_column(_DIGEST)
    scopes: Mapped[str] = mapped_column(String(64))
    created_us: Mapped[int] = mapped_column(BigInteger)
    expires_us: Mapped[int | None] = mapped_column(BigInteger)
    revoked_us: Mapped[int | None] = mapped_column(BigInteger)


class SigningKey(Base):
    """A public key with which an owner signs results."""

    __tablename__ = "signing_keys"
    public_key: Mapped[str] = mapped_column(String(43), primary_key=True)
    owner: Mapped[str] = mapped_column(_OWNER, index=True)
    created_us: Mapped[int] = mapped_column(BigInteger)
    revoked_us: Mapped[int | None] = mapped_column(BigInteger)


class Submission(Base):
    """One row of the leaderboard in one version, or what was refused.

    Attributes:
        names: What the search looks in, in small letters.
        tasks: Names of the tasks that ran, with a blank before and after each; empty without any.
    """

    __tablename__ = "submissions"
    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    content_sha256: Mapped[str] = mapped_column(_DIGEST, unique=True)
    result: Mapped[str] = mapped_column(_DIGEST)
    state: Mapped[str] = mapped_column(String(16))
    kind: Mapped[str] = mapped_column(String(16))
    owner: Mapped[str] = mapped_column(_OWNER)
    created_us: Mapped[int] = mapped_column(BigInteger)
    published_us: Mapped[int | None] = mapped_column(BigInteger)
    model: Mapped[str] = mapped_column(String(200))
    family: Mapped[str] = mapped_column(String(LONGEST))
    hardware: Mapped[str] = mapped_column(String(100))
    devices: Mapped[int] = mapped_column(Integer)
    engine: Mapped[str] = mapped_column(String(100))
    precision: Mapped[str] = mapped_column(String(100))
    concurrency: Mapped[int | None] = mapped_column(Integer)
    input_len: Mapped[int | None] = mapped_column(Integer)
    output_len: Mapped[int | None] = mapped_column(Integer)
    configuration: Mapped[str] = mapped_column(String(16))
    names: Mapped[str] = mapped_column(Text)
    tasks: Mapped[str] = mapped_column(Text)
    signed: Mapped[bool] = mapped_column(default=False)
    recomputed: Mapped[bool] = mapped_column(default=False)
    reproduces: Mapped[str | None] = mapped_column(_DIGEST)
    reproduces_within: Mapped[bool] = mapped_column(default=False)
    reproduced_by: Mapped[int] = mapped_column(Integer, default=0)
    ranked: Mapped[bool] = mapped_column(default=False)
    newest: Mapped[bool] = mapped_column(default=False)
    version: Mapped[int | None] = mapped_column(Integer)
    summary: Mapped[dict[str, Any]] = mapped_column(JSON)

    __table_args__ = (
        Index("submissions_list", "kind", "state", "newest", "published_us", "id"),
        Index("submissions_state", "state", "published_us", "id"),
        Index("submissions_model", "model", "kind", "state", "newest", "published_us", "id"),
        Index("submissions_hardware", "hardware", "kind", "state", "newest", "published_us", "id"),
        Index("submissions_versions", "configuration", "owner", "published_us"),
        Index("submissions_result", "result", "state"),
        Index(
            "submissions_reproduces",
            "reproduces",
            "state",
            sqlite_where=text("reproduces IS NOT NULL"),
            postgresql_where=text("reproduces IS NOT NULL"),
        ),
        Index("submissions_created", "created_us", "id"),
        Index(
            "submissions_one_live_result",
            "result",
            unique=True,
            sqlite_where=text("state IN ('pending', 'published')"),
            postgresql_where=text("state IN ('pending', 'published')"),
        ),
    )


class Document(Base):
    """What was sent and what was found, written once when a submission has been checked.

    Attributes:
        rules: The report of the rules.
        recomputed: Every metric as stated and as recomputed.
        withheld: Files that the result names and that were not sent.
        not_recomputed: Metrics that rest on them.
        record: The record of figures, which no file holds; null for results.
    """

    __tablename__ = "documents"
    submission: Mapped[str] = mapped_column(ForeignKey("submissions.id"), primary_key=True)
    rules: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    recomputed: Mapped[dict[str, Any]] = mapped_column(JSON)
    withheld: Mapped[list[str]] = mapped_column(JSON)
    not_recomputed: Mapped[list[str]] = mapped_column(JSON)
    record: Mapped[dict[str, Any] | None] = mapped_column(JSON)


class SentFile(Base):
    """A file of a submission; its content is stored under its digest."""

    __tablename__ = "sent_files"
    submission: Mapped[str] = mapped_column(ForeignKey("submissions.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    sha256: Mapped[str] = mapped_column(_DIGEST)
    bytes: Mapped[int] = mapped_column(BigInteger)


class Figure(Base):
    """A number by which rows are sorted."""

    __tablename__ = "figures"
    submission: Mapped[str] = mapped_column(ForeignKey("submissions.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    value: Mapped[float] = mapped_column(Float)

    __table_args__ = (Index("figures_sorted", "name", "value", "submission"),)


class Audit(Base):
    """What happened to a submission."""

    __tablename__ = "audit"
    number: Mapped[int] = mapped_column(_SERIAL, primary_key=True, autoincrement=True)
    submission: Mapped[str] = mapped_column(ForeignKey("submissions.id"), index=True)
    time_us: Mapped[int] = mapped_column(BigInteger)
    actor: Mapped[str] = mapped_column(_OWNER)
    action: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(Text)


class EvaluationRequest(Base):
    """A run that somebody asks for, and who has taken it."""

    __tablename__ = "requests"
    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    state: Mapped[str] = mapped_column(String(16))
    config: Mapped[dict[str, Any]] = mapped_column(JSON)
    note: Mapped[str | None] = mapped_column(Text)
    owner: Mapped[str] = mapped_column(_OWNER)
    created_us: Mapped[int] = mapped_column(BigInteger)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    worker: Mapped[str | None] = mapped_column(String(100))
    worker_owner: Mapped[str | None] = mapped_column(_OWNER)
    lease_sha256: Mapped[str | None] = mapped_column(_DIGEST)
    lease_expires_us: Mapped[int | None] = mapped_column(BigInteger)
    submission: Mapped[str | None] = mapped_column(_ID)
    reason: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (Index("requests_list", "state", "created_us", "id"),)
