"""The first key of a leaderboard."""

from __future__ import annotations

from sqlalchemy import select

from moecap_leaderboard.service import Service
from moecap_leaderboard.tables import Key

__all__ = ["first_key"]


def first_key(service: Service) -> str | None:
    """A key with all scopes where there is no key at all; ``None`` otherwise."""
    with service.database.reading() as session:
        if session.scalar(select(Key.id).limit(1)) is not None:
            return None
    return service.keys.new("admin", ["admin"])[1]
