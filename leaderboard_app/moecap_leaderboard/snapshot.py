"""A copy of the database as it is at one moment, while the service goes on."""

from __future__ import annotations

from pathlib import Path

from moecap.errors import BadInputError, NotAvailableError
from moecap_leaderboard.database import Database

__all__ = ["write_snapshot"]


def write_snapshot(database: Database, path: Path) -> None:
    """Write one whole file of SQLite (``VACUUM INTO``).

    Args:
        database: The database.
        path: A file that is not there yet.

    Raises:
        NotAvailableError: If the database is not SQLite's.
        BadInputError: If the file is there already, or its folder is not.
    """
    if not database.is_sqlite:
        raise NotAvailableError("--snapshot copies a file of SQLite; of Postgres take pg_dump")
    if path.exists() or not path.absolute().parent.is_dir():
        raise BadInputError(f"--snapshot {path} is there already or its folder is not; give a new file")
    connection = database.engine.raw_connection()
    try:
        connection.cursor().execute("VACUUM INTO ?", (str(path),))
    finally:
        connection.close()
