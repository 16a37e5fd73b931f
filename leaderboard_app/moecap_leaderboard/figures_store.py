"""Figures of others and projections come in many at a time, and are published as they are."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from moecap_leaderboard.database import Database
from moecap_leaderboard.figures import FiguresRecord
from moecap_leaderboard.history import one_at_a_time
from moecap_leaderboard.rows import row_of_figures
from moecap_leaderboard.tables import Audit, Document, Figure, Submission, now_us

__all__ = ["add_figures"]


def add_figures(database: Database, records: Sequence[FiguresRecord], owner: str) -> int:
    """Publish figures, and return how many there were not yet.

    Args:
        database: Where rows are.
        records: The figures.
        owner: In whose name they stand.
    """
    with database.writing() as session:
        one_at_a_time(session)
        known = set(session.scalars(select(Submission.content_sha256).where(Submission.kind != "measured")))
        fresh = {identity: record for record in records if (identity := record.identity()) not in known}
        versions = _last_versions(session, owner)
        rows: list[dict[str, Any]] = []
        tables: dict[Any, list[dict[str, Any]]] = {Document: [], Figure: [], Audit: []}
        for identity, record in fresh.items():
            row, identifier, now = row_of_figures(record), uuid.uuid4().hex, now_us()
            key = (record.kind, row.columns["configuration"])
            versions[key] = versions.get(key, 0) + 1
            rows.append(
                row.columns
                | {"id": identifier, "content_sha256": identity, "result": identity, "state": "published"}
                | {"owner": owner, "created_us": now, "published_us": now, "summary": row.summary}
                | {"version": versions[key], "newest": False}
            )
            tables[Document].append(
                {"submission": identifier, "rules": [], "recomputed": {}, "withheld": [], "not_recomputed": []}
                | {"record": record.model_dump(mode="json")}
            )
            tables[Figure] += [{"submission": identifier, "name": n, "value": v} for n, v in row.figures.items()]
            tables[Audit].append(
                {"submission": identifier, "time_us": now, "actor": owner, "action": "publish", "state": "published"}
                | {"reason": record.source}
            )
        for values in rows:
            values["newest"] = values["version"] == versions[values["kind"], values["configuration"]]
        if not rows:
            return 0
        _retire(session, owner, {values["configuration"] for values in rows})
        session.execute(insert(Submission), rows)
        for table, lines in tables.items():
            if lines:
                session.execute(insert(table), lines)
        return len(rows)


def _last_versions(session: Session, owner: str) -> dict[tuple[str, str], int]:
    chosen = select(Submission.kind, Submission.configuration, func.max(Submission.version))
    grouped = chosen.where(Submission.owner == owner).group_by(Submission.kind, Submission.configuration)
    return {(kind, configuration): last or 0 for kind, configuration, last in session.execute(grouped)}


def _retire(session: Session, owner: str, configurations: set[str]) -> None:
    """Let the versions before be no longer the newest."""
    old = update(Submission).where(Submission.owner == owner, Submission.kind != "measured", Submission.newest)
    session.execute(old.where(Submission.configuration.in_(configurations)).values(newest=False))
