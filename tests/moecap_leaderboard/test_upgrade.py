"""A store of the first schema, written by the code of its day, and a result of the first format, in today's code."""

import json
import shutil
import tarfile
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from fastapi.testclient import TestClient
from sqlalchemy import MetaData, insert, inspect, select, text
from sqlalchemy.exc import DatabaseError

from moecap.errors import BadInputError, NotAvailableError
from moecap.result import read_result
from moecap_leaderboard.app import create_app
from moecap_leaderboard.database import (
    change_schema,
    existing_database,
    newest_schema,
    open_database,
)
from moecap_leaderboard.families import family_of
from moecap_leaderboard.integrity import check_store
from moecap_leaderboard.rows import row_of_result
from moecap_leaderboard.service import Service
from moecap_leaderboard.settings import Limits, Settings

RECORDINGS = Path(__file__).parents[1] / "recordings"
STORE = RECORDINGS / "store_0001.tar.xz"
"""What the first version with a leaderboard (commit a880507) wrote when it was run: rows of every state, keys and
requests, of runs of this project (135 kB)."""

SCHEMAS = sorted(
    one.revision for one in ScriptDirectory(str(files("moecap_leaderboard") / "migrations")).walk_revisions()
)
FIRST = SCHEMAS[0]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first")
    with tarfile.open(STORE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def data(recorded, tmp_path):
    """The data folder of the first store."""
    return shutil.copytree(recorded, tmp_path / "data")


@pytest.fixture
def url(database_url, data):
    """The URL of the first store; in Postgres the same rows in the tables that 0001 makes there."""
    recorded = f"sqlite:///{data / 'leaderboard.sqlite'}"
    if database_url.startswith("sqlite"):
        return recorded
    change_schema(database_url, FIRST)
    database = existing_database(database_url)
    tables = _tables(database.engine)
    with database.engine.begin() as connection:
        for name, rows in _rows(recorded).items():
            connection.execute(insert(tables[name]), rows)
        connection.execute(text("SELECT setval('audit_number_seq', (SELECT max(number) FROM audit))"))
    database.close()
    return database_url


def _tables(engine):
    known = MetaData()
    known.reflect(engine)
    return {table.name: table for table in known.sorted_tables if table.name != "alembic_version"}


def _rows(url):
    """Every row of every table, by the names of its columns."""
    database = existing_database(url)
    with database.engine.connect() as connection:
        found = {}
        for name, table in _tables(database.engine).items():
            rows = connection.execute(select(table).order_by(*table.primary_key.columns)).mappings()
            found[name] = [dict(row) for row in rows]
    database.close()
    return found


def _shared(rows, other):
    """The rows without the columns that the others do not have."""
    columns = {name: set(other[name][0]) for name in rows if other.get(name)}
    return {name: [{k: v for k, v in row.items() if k in columns[name]} for row in rows[name]] for name in columns}


def test_the_first_store_has_rows_in_every_table_and_of_every_state(url):
    rows = _rows(url)
    assert {name for name, found in rows.items() if not found} == set()
    assert set(rows) == {
        *("audit", "documents", "figures", "keys", "requests", "sent_files", "signing_keys", "submissions")
    }
    states = {row["state"] for row in rows["submissions"]}
    assert states == {"received", "rejected", "pending", "published", "withdrawn", "invalidated"}
    assert {row["kind"] for row in rows["submissions"]} == {"measured", "imported", "projected"}


def test_every_step_up_and_down_keeps_every_row_and_column_that_both_have(url):
    seen = [_rows(url)]
    for schema in SCHEMAS[1:]:
        change_schema(url, schema)
        seen.append(_rows(url))
        assert _shared(seen[-1], seen[-2]) == seen[-2]
    for schema, before in zip(reversed(SCHEMAS[:-1]), reversed(seen[:-1]), strict=True):
        change_schema(url, schema)
        assert _rows(url) == before
    for schema, before in zip(SCHEMAS[1:], seen[1:], strict=True):
        change_schema(url, schema)
        assert _rows(url) == before
    database = open_database(url)
    refused = pytest.raises(DatabaseError, match="rows of audit are never changed or deleted")
    with refused, database.writing() as session:
        session.execute(text("DELETE FROM audit"))
    database.close()


def test_columns_that_a_schema_adds_are_filled_from_what_the_rows_hold(url):
    before = {row["id"]: row for row in _rows(url)["submissions"]}
    open_database(url).close()
    for row in _rows(url)["submissions"]:
        assert row["family"] == family_of(before[row["id"]]["model"])
        assert row["tasks"].split() == before[row["id"]]["summary"]["workload"]["tasks"]
    assert any("arc_easy" in row["tasks"] for row in _rows(url)["submissions"])


def test_a_service_that_starts_on_the_first_store_serves_all_of_it(url, data, examiners):
    rows = _rows(url)
    waiting = [row["id"] for row in rows["submissions"] if row["state"] == "received"]
    service = Service.open(Settings(database=url, data=data, limits=Limits(reads_at_once=10_000)), examiners)
    key = {"Authorization": f"Bearer {service.keys.new('root', ['admin'])[1]}"}
    with TestClient(create_app(service)) as client:

        def get(path):
            answer = client.get(f"/api/v1{path}", headers=key)
            assert answer.status_code == 200, (path, answer.text)
            return answer

        for row in rows["submissions"]:
            found = get(f"/submissions/{row['id']}").json()
            state = "published" if row["id"] in waiting else row["state"]
            assert (found["result"], found["owner"], found["state"]) == (row["result"], row["owner"], state)
            lines = [line for line in rows["audit"] if line["submission"] == row["id"]]
            kept = [(line["actor"], line["action"], line["reason"]) for line in lines]
            assert [(h["actor"], h["action"], h["reason"]) for h in found["history"]][: len(kept)] == kept
            if row["state"] != "published":
                continue
            result = get(f"/results/{row['result']}").json()
            assert result["metrics"] == row["summary"]["metrics"]
            if any(file["submission"] == row["id"] for file in rows["sent_files"]):
                assert get(f"/results/{row['result']}/observations").content[:2] == b"\x1f\x8b"
                assert result["result"]["schema_version"] == 1
        listed = get("/results?kind=all&versions=all&limit=200").json()["items"]
        shown = {row["result"] for row in rows["submissions"] if row["state"] == "published"}
        assert {item["id"] for item in listed} >= shown
        assert get("/results?task=arc_easy").json()["items"]
        assert {request["id"] for request in get("/requests").json()["items"]} == {r["id"] for r in rows["requests"]}
        found = check_store(service.database, service.settings.observations)
        assert found.problems == ()
        assert sum(found.submissions.values()) == len(rows["submissions"])


def test_a_store_that_a_newer_version_wrote_is_refused_in_one_line(url):
    open_database(url).close()
    database = existing_database(url)
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(NotAvailableError, match=f"schema 9999, and this moecap knows {newest_schema()} at most"):
        open_database(url)
    with pytest.raises(BadInputError, match="no schema '9999'; known: 0001"):
        change_schema(url, "9999")


def test_a_result_of_the_first_version_is_read_as_it_was_identified():
    """It was written by the first code that wrote any, of 24 November 2026."""
    path = RECORDINGS / "first_result.json"
    stated, result = json.loads(path.read_bytes()), read_result(path)
    assert result.canonical_id() == result.id == stated["id"]
    assert {name: metric.value for name, metric in result.metrics.items()} == {
        name: metric["value"] for name, metric in stated["metrics"].items()
    }
    assert result.hardware.source == "probed"
    assert row_of_result(result).columns["hardware"] == stated["hardware"]["id"]
    profile = result.hardware.profile.model_copy(update={"probe": None})
    unknown = result.hardware.model_dump(exclude={"source"}) | {"profile": profile.model_dump()}
    assert type(result.hardware).model_validate(unknown).source == "file"


def test_an_index_that_some_days_development_had_made_goes_too(database_url):
    """It held long names of tasks, which Postgres refused."""
    change_schema(database_url, "0003")
    index, columns = "submissions_counted", "state, newest, kind, family, model, hardware, engine, precision, tasks"
    with closing(existing_database(database_url)) as store, store.writing() as session:
        session.execute(text(f"CREATE INDEX {index} ON submissions ({columns})"))
    for _ in range(2):
        with closing(open_database(database_url)) as store:
            assert index not in {one["name"] for one in inspect(store.engine).get_indexes("submissions")}
    change_schema(database_url, "0002")
    with closing(existing_database(database_url)) as store:
        assert index in {one["name"] for one in inspect(store.engine).get_indexes("submissions")}
