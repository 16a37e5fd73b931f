"""The database: SQLite by default, Postgres by its URL; opened with its schema brought up to date, or as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DatabaseError
from sqlalchemy.orm import Session

from moecap.errors import BadInputError, NotAvailableError

__all__ = ["Database", "change_schema", "existing_database", "newest_schema", "open_database"]

BUSY_SECONDS = 30
"""How long a writer waits for another one."""

_MIGRATING = 0x6D6F6563
"""Number of the lock under which one of several starting processes migrates (Postgres)."""

_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-8192", "mmap_size=2147418112")
"""Readers beside a writer; a commit is on the disk before it is acknowledged; 8 MB of pages for a connection, and up to
2 GB of the file mapped, which all share."""

_READERS = 2
"""Connections that read a file of SQLite at once. The driver lets go of the interpreter at each row and waits for it
anew, so that the more of them read at once, the longer all take together (docs/scale.md)."""

_WAIT_SECONDS = 30
"""How long a thread waits for a connection."""


class Database:
    """Transactions on a database whose schema is the newest.

    Args:
        engine: Its connections.
        writer: Those of writers, where they are others.
    """

    def __init__(self, engine: Engine, writer: Engine | None = None) -> None:
        self.engine, self._writer = engine, writer or engine
        self._writing = self._writer.execution_options(write=True)

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file of SQLite."""
        return self.engine.dialect.name == "sqlite"

    @property
    def schema(self) -> str | None:
        """The version of the schema that it has; ``None`` before it has any."""
        with self.engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()

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
        self._writer.dispose()


def open_database(url: str) -> Database:
    """Connect and migrate to the newest schema.

    Args:
        url: ``sqlite:///PATH`` or ``postgresql://USER:PASSWORD@HOST/NAME``.

    Raises:
        BadInputError: If the URL is none of these.
        NotAvailableError: If the database cannot be reached or a driver is missing.
    """
    return _connected(_parsed(url), _migrate)


def existing_database(url: str) -> Database:
    """Connect to a store that is there, and leave its schema as it is.

    Args:
        url: As of :func:`open_database`.

    Raises:
        BadInputError: If the URL is none of these, or there is no store.
        NotAvailableError: If the database cannot be reached or a driver is missing.
    """
    parts = _parsed(url)
    if parts.get_backend_name() == "sqlite" and not Path(str(parts.database)).is_file():
        raise BadInputError(f"there is no store {parts.database}; check --db and MOECAP_LEADERBOARD_DATA")
    return _connected(parts, _require_store)


def change_schema(url: str, version: str) -> None:
    """Bring a store to a schema, an older one too, or make an empty one with it; nothing else may use it meanwhile.

    Args:
        url: As of :func:`open_database`.
        version: The schema, such as ``0001``, the first.

    Raises:
        BadInputError: If the URL is none, or there is no such schema.
        NotAvailableError: If the database cannot be reached or a driver is missing.
    """
    known = {script.revision for script in ScriptDirectory.from_config(_migrations()).walk_revisions()}
    if version not in known:
        raise BadInputError(f"no schema {version!r}; known: {', '.join(sorted(known))}")

    def change(engine: Engine) -> None:
        older = version < (Database(engine).schema or "")
        with _migrating(engine) as config:
            (command.downgrade if older else command.upgrade)(config, version)

    _connected(_parsed(url), change).close()


def newest_schema() -> str:
    """The version of the schema that this code works with."""
    head = ScriptDirectory.from_config(_migrations()).get_current_head()
    assert head is not None
    return head


def _parsed(url: str) -> URL:
    """The URL with its driver."""
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
    if parts.get_backend_name() == "sqlite" and parts.database in (None, "", ":memory:"):
        raise BadInputError("a database in memory is lost with the process; give sqlite:///FILE")
    return parts


def _connected(parts: URL, prepare: Callable[[Engine], None]) -> Database:
    shown = parts.render_as_string(hide_password=True)
    try:
        database = _database(parts)
        try:
            prepare(database.engine)
        except BaseException:
            database.close()
            raise
    except ModuleNotFoundError as error:
        raise NotAvailableError(f'{shown} needs {error.name}; pip install "moecap[postgres]"') from None
    except OSError as error:
        raise NotAvailableError(f"the folder of {shown} cannot be made ({error.strerror}); check --db") from None
    except DatabaseError as error:
        reason = str(error.orig).strip().splitlines()[0]
        raise NotAvailableError(f"the database {shown} cannot be opened ({reason}); check --db") from None
    return database


def _database(url: URL) -> Database:
    """Its connections; of a file of SQLite one, and no more, writes."""
    if url.get_backend_name() == "postgresql":
        return Database(_engine(url, 40))
    return Database(_engine(url, _READERS), _engine(url, 1))


def _engine(url: URL, connections: int) -> Engine:
    bounds = {"pool_size": connections, "max_overflow": 0, "pool_timeout": _WAIT_SECONDS}
    codec = {"json_serializer": _as_json, "json_deserializer": msgspec.json.decode}
    if url.get_backend_name() == "postgresql":
        return create_engine(url, pool_pre_ping=True, **bounds, **codec)
    Path(str(url.database)).absolute().parent.mkdir(parents=True, exist_ok=True)
    connect = {"timeout": BUSY_SECONDS, "check_same_thread": False}
    engine = create_engine(url, connect_args=connect, **bounds, **codec)

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
    with _migrating(engine) as config:
        command.upgrade(config, "head")


@contextmanager
def _migrating(engine: Engine) -> Iterator[Config]:
    """What Alembic's commands take, in one transaction that no other process migrates beside."""
    config = _migrations()
    with engine.execution_options(write=True).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _MIGRATING})
        config.attributes["connection"] = connection
        try:
            yield config
        except CommandError:
            there = MigrationContext.configure(connection).get_current_revision()
            raise NotAvailableError(
                f"the store has schema {there}, and this moecap knows {newest_schema()} at most; take the newer moecap"
            ) from None


def _migrations() -> Config:
    config = Config()
    config.set_main_option("script_location", "moecap_leaderboard:migrations")
    return config


def _require_store(engine: Engine) -> None:
    if Database(engine).schema is None:
        shown = engine.url.render_as_string(hide_password=True)
        raise BadInputError(f"there is no store in {shown}; check --db and MOECAP_LEADERBOARD_DATA")
