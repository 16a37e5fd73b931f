"""Times as the API gives them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

__all__ = ["rfc3339"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rfc3339(microseconds: int | None) -> str | None:
    """Microseconds since 1970 as ``2026-01-01T00:00:00.000000Z``; ``None`` stays ``None``."""
    if microseconds is None:
        return None
    time = _EPOCH + timedelta(microseconds=microseconds)
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")
