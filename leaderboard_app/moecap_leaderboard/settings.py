"""How the service is set up: by the command line and by the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from moecap.errors import BadInputError

__all__ = ["Limits", "Settings"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may send and ask.

    Attributes:
        body_bytes: Largest body of a request.
        reads_per_second: Reads that one client may make on and on.
        reads_at_once: Reads that it may make in a burst.
        writes_per_minute: Other requests that it may make on and on, and in a burst.
        owner_bytes_per_day: What the files of one owner's submissions may take in 24 hours, unpacked.
        connections: Connections of all clients that are open at once; an open page holds one or two.
    """

    body_bytes: int = 64_000_000
    reads_per_second: float = 50.0
    reads_at_once: int = 200
    writes_per_minute: float = 120.0
    owner_bytes_per_day: int = 20_000_000_000
    connections: int = 1000

    @classmethod
    def from_environment(cls) -> Limits:
        """The defaults with what ``MOECAP_BODY_BYTES`` and so on say.

        Raises:
            BadInputError: If one of them is no number above zero.
        """
        default = cls()
        return cls(
            body_bytes=int(_number("MOECAP_BODY_BYTES", default.body_bytes)),
            reads_per_second=_number("MOECAP_READS_PER_SECOND", default.reads_per_second),
            reads_at_once=int(_number("MOECAP_READS_AT_ONCE", default.reads_at_once)),
            writes_per_minute=_number("MOECAP_WRITES_PER_MINUTE", default.writes_per_minute),
            owner_bytes_per_day=int(_number("MOECAP_OWNER_BYTES_PER_DAY", default.owner_bytes_per_day)),
            connections=int(_number("MOECAP_CONNECTIONS", default.connections)),
        )


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the store is, and how it is kept.

    Attributes:
        database: URL of the database.
        data: Folder of the observation files and of all else that is no row.
        admin_key: A key with all scopes, given by the environment; null makes one when there is none yet.
        review: Whether each submission waits for a moderator.
        examiners: Processes that examine submissions.
        limits: What one client may send and ask.
    """

    database: str
    data: Path
    admin_key: str | None = None
    review: bool = False
    examiners: int = 1
    limits: Limits = Limits()

    @property
    def observations(self) -> Path:
        """Where the observation files are."""
        return self.data / "observations"

    @classmethod
    def from_environment(cls, database: str | None = None) -> Settings:
        """Settings of ``MOECAP_LEADERBOARD_DATA``, ``DATABASE_URL``, ``MOECAP_ADMIN_KEY`` and so on.

        Args:
            database: URL of the database, in place of the environment's; a file of SQLite in the data folder by
                default.

        Raises:
            BadInputError: If one of them cannot be used.
        """
        data = _data_folder()
        return cls(
            database=database or os.environ.get("DATABASE_URL") or f"sqlite:///{data / 'leaderboard.sqlite'}",
            data=data,
            admin_key=os.environ.get("MOECAP_ADMIN_KEY") or None,
            review=os.environ.get("MOECAP_REVIEW", "").lower() in ("1", "true", "yes"),
            examiners=int(_number("MOECAP_EXAMINERS", max(1, (os.cpu_count() or 2) // 2))),
            limits=Limits.from_environment(),
        )


def _data_folder() -> Path:
    """``$MOECAP_LEADERBOARD_DATA``, ``$XDG_DATA_HOME/moecap`` or ``~/.local/share/moecap``."""
    if own := os.environ.get("MOECAP_LEADERBOARD_DATA"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return (Path(base).expanduser() / "moecap").absolute()


def _number(name: str, default: float) -> float:
    text = os.environ.get(name, "")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise BadInputError(f"{name}={text!r} is no number above 0; give one or leave it out")
    return value
