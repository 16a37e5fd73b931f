"""What ``moecap serve --check`` finds in a store that was damaged by hand, and that it finds nothing in a whole one."""

import shutil
import sqlite3
from contextlib import closing

import pytest
from boards import Run
from sqlalchemy import text

from moecap.cli import main
from moecap_leaderboard.database import change_schema, existing_database
from moecap_leaderboard.integrity import check_store
from moecap_leaderboard.service import Service
from moecap_leaderboard.settings import Settings


@pytest.fixture(scope="module")
def whole(tmp_path_factory, derived_runs, examiners):
    """The data folder of a store with one result."""
    data = tmp_path_factory.mktemp("whole")
    service = Service.open(Settings(database=f"sqlite:///{data / 'leaderboard.sqlite'}", data=data), examiners)
    run, archive = Run(derived_runs["llamacpp-q8_0"]), data / "archive"
    archive.write_bytes(run.archive)
    service.submissions.submit((run.folder / "result.json").read_bytes(), archive, "ada")
    service.close()
    archive.unlink()
    return data


@pytest.fixture
def data(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "data")


def _checked(data):
    with closing(existing_database(f"sqlite:///{data / 'leaderboard.sqlite'}")) as database:
        return check_store(database, data / "observations")


def _run(data, *statements):
    with closing(sqlite3.connect(data / "leaderboard.sqlite", isolation_level=None)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)


def test_a_store_of_a_service_is_whole_on_each_database(board, make_run):
    run = make_run("llamacpp-q8_0")
    board.submit(run)
    board.submit(run.changed(lambda content: content["metrics"]["ttft.p50"].update(value=1e-6)))
    found = check_store(board.service.database, board.service.blobs.folder)
    assert (found.submissions, found.problems, found.unnamed) == ({"published": 1, "rejected": 1}, (), 0)
    observed = [run.folder / name for name in run.result["observations"] if (run.folder / name).exists()]
    assert found.files == len(observed) + 2  # both results with the same observations
    assert found.bytes > sum(path.stat().st_size for path in observed)


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (["UPDATE submissions SET state = 'pending'"], "it is pending, and its history ends with published"),
        (["DELETE FROM audit"], "the audit log does not know it"),
        (
            ["DELETE FROM audit WHERE action = 'receive'", "UPDATE audit SET state = 'invalidated'"],
            "begins with invalida",
        ),
        (["UPDATE audit SET state = 'rejected' WHERE action = 'receive'"], "its history goes from rejected to publ"),
        (["DELETE FROM documents"], "its findings are missing"),
        (["DELETE FROM sent_files WHERE name = 'steps.parquet'"], "its files are not those of its identity"),
        (["DELETE FROM sent_files"], "it has no files"),
        (["UPDATE submissions SET result = 'x'"], "its result.json is of another result"),
        (["UPDATE submissions SET published_us = NULL"], "it is published at no time"),
        (["UPDATE submissions SET newest = 0"], "not the last version alone is the newest"),
        (["UPDATE submissions SET reproduced_by = 3"], "another number of reproductions than stated"),
        (["INSERT INTO figures VALUES ('nobody', 'tpot.p50', 1.0)"], "1 rows of figures are of no submission"),
        (
            ["INSERT INTO requests VALUES ('r', 'completed', '{}', '', 'a', 1, 1, '', '', '', 1, 'nobody', '')"],
            "request r: its submission is missing",
        ),
    ],
)
def test_what_does_not_fit_together_is_named(data, statements, said):
    _run(data, *statements)
    assert any(said in problem for problem in _checked(data).problems), _checked(data).problems


def test_a_file_that_is_missing_or_damaged_is_named_and_one_that_is_of_nobody_is_counted(data):
    first, second = sorted(path for path in (data / "observations").glob("??/*"))[:2]
    first.unlink()
    content = bytearray(second.read_bytes())
    content[len(content) // 2] ^= 1
    second.write_bytes(content)
    digest = "0" * 64
    (data / "observations" / "00").mkdir(exist_ok=True)
    (data / "observations" / "00" / digest).write_bytes(b"sent, and never acknowledged")
    found = _checked(data)
    assert f"file {first.name} is missing" in found.problems
    assert f"file {second.name} is damaged: its content has another digest" in found.problems
    assert found.unnamed == 1


def test_a_damaged_page_of_the_database_is_named(data):
    path = data / "leaderboard.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'figures'").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(bytes(size))
    assert any(problem.startswith("SQLite: ") for problem in _checked(data).problems)


def test_the_command_tells_and_ends_with_a_status(data, monkeypatch, capsys):
    monkeypatch.setenv("MOECAP_LEADERBOARD_DATA", str(data))
    assert main(["serve", "--check"]) == 0
    assert capsys.readouterr().out.startswith("ok: 1 published; ")
    _run(data, "DELETE FROM documents")
    assert main(["serve", "--check"]) == 1
    said = capsys.readouterr()
    assert "its findings are missing" in said.out
    assert "1 problems" in said.err


@pytest.mark.parametrize("option", [["--check"], ["--snapshot", "copy.sqlite"]])
def test_where_there_is_no_store_none_is_made(tmp_path, monkeypatch, capsys, option):
    monkeypatch.setenv("MOECAP_LEADERBOARD_DATA", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)
    assert main(["serve", *option]) == 2
    assert "there is no store" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_store_of_an_older_schema_is_copied_as_it_is_and_not_checked(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MOECAP_LEADERBOARD_DATA", str(data))
    change_schema(f"sqlite:///{data / 'leaderboard.sqlite'}", "0001")
    assert main(["serve", "--check"]) != 0
    assert "has schema 0001" in capsys.readouterr().err
    assert main(["serve", "--snapshot", str(tmp_path / "copy.sqlite")]) == 0
    with closing(existing_database(f"sqlite:///{tmp_path / 'copy.sqlite'}")) as copied:
        assert copied.schema == "0001"
        with copied.reading() as session:
            assert session.scalar(text("SELECT count(*) FROM submissions")) == 1
