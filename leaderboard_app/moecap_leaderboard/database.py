"""The database: SQLite by default, Postgres by its URL; opened with its schema brought up to date."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.orm import Session

from moecap.errors import BadInputError, NotAvailableError

__all__ = ["Database", "open_database"]

BUSY_SECONDS = 30
"""How long a writer waits for another one."""

_MIGRATING = 0x6D6F6563
"""Number of the lock under which one of several starting processes migrates (Postgres)."""

_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "cache_size=-65536", "mmap_size=1073741824")
"""Readers beside a writer; a commit survives the process and, but for the last ones, a loss of power; 64 MB of pages
for a connection and up to 1 GB of the file mapped."""


class Database:
    """Transactions on a database whose schema is the newest."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._writing = engine.execution_options(write=True)

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file of SQLite."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that sees one state and changes nothing."""
        with Session(self.engine) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that is committed at the end of the block and undone where it raises."""
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def open_database(url: str) -> Database:
    """Connect and migrate to the newest schema.

    Args:
        url: ``sqlite:///PATH`` or ``postgresql://USER:PASSWORD@HOST/NAME``.

    Raises:
        BadInputError: If the URL is none of these.
        NotAvailableError: If the database cannot be reached or a driver is missing.
    """
    try:
        parts = make_url(url)
    except ArgumentError:
        raise BadInputError(
            "--db (DATABASE_URL) is no URL of a database; give sqlite:///FILE or postgresql://HOST/NAME"
        ) from None
    if parts.drivername in ("postgres", "postgresql"):
        parts = parts.set(drivername="postgresql+psycopg")
    if parts.get_backend_name() not in ("sqlite", "postgresql"):
        raise BadInputError(f"no database {parts.drivername!r} here; known: sqlite, postgresql")
    shown = parts.render_as_string(hide_password=True)
    if parts.get_backend_name() == "sqlite" and parts.database in (None, "", ":memory:"):
        raise BadInputError("a database in memory is lost with the process; give sqlite:///FILE")
    try:
        engine = _engine(parts)
        _migrate(engine)
    except ModuleNotFoundError as error:
        raise NotAvailableError(f'{shown} needs {error.name}; pip install "moecap[postgres]"') from None
    except OSError as error:
        raise NotAvailableError(f"the folder of {shown} cannot be made ({error.strerror}); check --db") from None
    except OperationalError as error:
        reason = str(error.orig).strip().splitlines()[0]
        raise NotAvailableError(f"the database {shown} cannot be opened ({reason}); check --db") from None
    return Database(engine)


def _engine(url: URL) -> Engine:
    codec = {"json_serializer": _as_json, "json_deserializer": msgspec.json.decode}
    if url.get_backend_name() == "postgresql":
        return create_engine(url, pool_size=20, max_overflow=20, pool_pre_ping=True, **codec)
    Path(str(url.database)).absolute().parent.mkdir(parents=True, exist_ok=True)
    connect = {"timeout": BUSY_SECONDS, "check_same_thread": False}
    engine = create_engine(url, pool_size=20, max_overflow=20, connect_args=connect, **codec)

    @event.listens_for(engine, "connect")
    def _settings(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # the transactions are those of _begin
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # a writer takes its lock at once: one that reads first could not wait for another that wrote meanwhile
        writes = connection.get_execution_options().get("write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _as_json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _migrate(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", "moecap_leaderboard:migrations")
    with engine.execution_options(write=True).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _MIGRATING})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
