"""The store: its schema, what can never be changed in it, its files, and copies of it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from moecap.errors import BadInputError, NotAvailableError
from moecap_leaderboard.blobs import Blobs
from moecap_leaderboard.database import open_database
from moecap_leaderboard.snapshot import write_snapshot
from moecap_leaderboard.tables import Base
from moecap_leaderboard.workplace import Workplace


def test_the_migrations_give_the_tables(database_url):
    database = open_database(database_url)
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    database.close()
    open_database(database_url).close()  # again: nothing is left to do


@pytest.mark.parametrize("table", ["audit", "documents", "sent_files", "figures"])
@pytest.mark.parametrize("change", ["UPDATE {} SET submission = 'x'", "DELETE FROM {}"])
def test_what_was_sent_found_and_logged_cannot_be_changed(board, make_run, table, change):
    board.submit(make_run())
    refused = pytest.raises(DatabaseError, match=f"rows of {table} are never changed or deleted")
    with refused, board.service.database.writing() as session:
        session.execute(text(change.format(table)))


def test_sqlite_is_opened_for_readers_beside_a_writer(tmp_path):
    database = open_database(f"sqlite:///{tmp_path / 'board.sqlite'}")
    with database.reading() as session:
        assert session.scalar(text("PRAGMA journal_mode")) == "wal"
        assert session.scalar(text("PRAGMA foreign_keys")) == 1
    with database.writing() as writer, database.reading() as reader:
        writer.execute(text("INSERT INTO signing_keys VALUES ('k', 'ada', 1, NULL)"))
        assert reader.scalar(text("SELECT count(*) FROM signing_keys")) == 0
    with database.reading() as reader:
        assert reader.scalar(text("SELECT count(*) FROM signing_keys")) == 1
    database.close()


@pytest.mark.parametrize(
    ("url", "error", "said"),
    [
        ("nonsense", BadInputError, "no URL of a database"),
        ("mysql://host/name", BadInputError, "known: sqlite, postgresql"),
        ("sqlite://", BadInputError, "lost with the process"),
        ("sqlite:////proc/none/board.sqlite", NotAvailableError, "cannot be made"),
        ("postgresql://u:secret@127.0.0.1:1/x", NotAvailableError, "cannot be opened"),
    ],
)
def test_a_database_that_cannot_be_opened_is_refused_in_one_line(url, error, said):
    with pytest.raises(error, match=said) as refused:
        open_database(url)
    assert "\n" not in str(refused.value) and "secret" not in str(refused.value)


def test_a_file_is_kept_once_under_its_digest(tmp_path):
    blobs, source = Blobs(tmp_path / "blobs"), tmp_path / "source"
    source.write_bytes(b"content")
    digest = blobs.add(source)
    assert blobs.add(source) == digest
    assert blobs.path(digest).read_bytes() == b"content"
    assert len([path for path in blobs.folder.rglob("*") if path.is_file()]) == 1


def test_what_a_killed_process_was_working_on_goes_and_what_another_one_works_on_stays(tmp_path):
    script = "from moecap_leaderboard.workplace import Workplace; import time; from pathlib import Path; "
    script += f"print(Workplace(Path({str(tmp_path / 'work')!r})).folder, flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as other:
        theirs = Path(other.stdout.readline().strip())
        (theirs / "half").write_bytes(b"a file")
        with Workplace(tmp_path / "work") as own:
            assert sorted((tmp_path / "work").iterdir()) == sorted([own, theirs])
        assert list((tmp_path / "work").iterdir()) == [theirs]
        other.kill()
        other.wait()
        with Workplace(tmp_path / "work") as own:
            assert list((tmp_path / "work").iterdir()) == [own]


def test_a_snapshot_is_the_database_while_it_is_used(board, make_run, tmp_path):
    board.submit(make_run())
    target = tmp_path / "copy.sqlite"
    if not board.service.database.is_sqlite:
        with pytest.raises(NotAvailableError, match="pg_dump"):
            write_snapshot(board.service.database, target)
        return
    write_snapshot(board.service.database, target)
    with sqlite3.connect(target) as copy:
        assert copy.execute("SELECT state FROM submissions").fetchall() == [("published",)]
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    copy.close()
    with pytest.raises(BadInputError, match="already"):
        write_snapshot(board.service.database, target)


def test_what_is_asked_of_one_result_is_found_by_an_index_whatever_the_size(tmp_path):
    """SQLite plans without statistics: each lookup must have an index that it takes then."""
    database = open_database(f"sqlite:///{tmp_path / 'board.sqlite'}")
    lookups = {
        "result = 'x' AND state = 'published'": "submissions_result",
        "result = 'x' AND state IN ('published', 'withdrawn') ORDER BY created_us DESC": "submissions_result",
        "reproduces = 'x' AND state = 'published'": "submissions_reproduces",
        "configuration = 'x' AND owner = 'a' AND state = 'published' ORDER BY version": "submissions_versions",
        "model = 'm' AND kind = 'k' AND state = 's' AND newest IS 1 ORDER BY published_us, id": "submissions_model",
    }
    with database.reading() as session:
        for condition, index in lookups.items():
            plan = session.execute(text(f"EXPLAIN QUERY PLAN SELECT * FROM submissions WHERE {condition}")).all()
            assert f"USING INDEX {index} " in plan[0][3], (condition, plan)
    database.close()
