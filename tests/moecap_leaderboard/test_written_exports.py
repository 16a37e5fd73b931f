"""Exports of many rows: written by a process of their own, and the same as those of a thread of the service."""

from __future__ import annotations

import asyncio
import gzip
import json
import multiprocessing
import threading

import pytest

from moecap.errors import NotAvailableError
from moecap.metrics.value import Metric
from moecap_leaderboard import written_exports
from moecap_leaderboard.api import results
from moecap_leaderboard.figures import FigureModel, FiguresRecord, FigureWorkload
from moecap_leaderboard.figures_store import add_figures
from moecap_leaderboard.listing import Filters, has_more

ROWS = 30
ALL = Filters(kind="all")
IDENTITY = {"Accept-Encoding": "identity"}


@pytest.fixture
def filled(board):
    """A leaderboard with some rows."""
    records = [
        FiguresRecord(
            kind="imported",
            model=FigureModel(id=f"a/model-{number % 3}", name=f"model-{number % 3}"),
            hardware="h100-sxm",
            hardware_name="an H100",
            devices=1,
            engine="vllm",
            engine_version="vllm 0.18.0",
            precision="fp8",
            workload=FigureWorkload(output_len=number + 1),
            metrics={"tpot": Metric(value=0.01 + number / 1000, unit="s")},
            source=f"page {number}",
        )
        for number in range(ROWS)
    ]
    add_figures(board.service.database, records, "ada")
    return board


def test_whether_there_are_more_rows_than_so_many(filled):
    with filled.service.database.reading() as session:
        assert [has_more(session, ALL, than) for than in (0, ROWS - 1, ROWS)] == [True, True, False]
        assert not has_more(session, Filters(kind="all", model=("a/model-1",)), ROWS // 3)


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_an_export_of_many_rows_is_the_same_file(filled, form, monkeypatch):
    path = f"/api/v1/export.{form}?kind=all&sort=-tpot"
    here = filled.client.get(path, headers=IDENTITY)
    monkeypatch.setattr(results, "_MOST_EXPORTED_HERE", ROWS - 1)
    written = filled.client.get(path, headers=IDENTITY)
    zipped = filled.client.get(path, headers={"Accept-Encoding": "gzip"})
    assert written.status_code == zipped.status_code == 200
    assert written.content == here.content == zipped.content  # the client unpacks what is compressed
    assert zipped.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in written.headers
    same = ("content-disposition", "cache-control", "content-type")
    assert [written.headers[name] for name in same] == [here.headers[name] for name in same]
    if form == "json":
        assert [item["source"] for item in json.loads(written.content)["items"]] == [
            f"page {number}" for number in reversed(range(ROWS))
        ]


def test_what_is_wrong_with_the_question_is_said_before_the_export_begins(filled, monkeypatch):
    monkeypatch.setattr(results, "_MOST_EXPORTED_HERE", 0)
    assert filled.client.get("/api/v1/export.csv?kind=all&sort=nothing").status_code == 400


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_same_export_is_written_once_for_all_who_ask(filled):
    exports = filled.service.exports

    async def read():
        opened = [exports.of(ALL, "-published", "json", "ada") for _ in range(3)]
        folder = list(filled.service.blobs.work.glob("*.json"))
        return folder, [b"".join([part async for part in one.parts(True)]) for one in opened]

    folder, contents = asyncio.run(read())
    assert len(folder) == 1
    assert len(set(contents)) == 1
    assert len(json.loads(gzip.decompress(contents[0]))["items"]) == ROWS


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_too_many_exports_at_once_are_turned_away_and_a_failed_one_is_cut_off(filled, monkeypatch):
    exports = filled.service.exports
    monkeypatch.setattr(written_exports, "_MOST_WAITING", 1)
    monkeypatch.setattr(results, "_MOST_EXPORTED_HERE", 0)

    async def read(opened):
        return [part async for part in opened.parts(True)]

    with exports._turn:  # as if another one were being written
        first = exports.of(ALL, "-published", "csv", "ada")
        refused = filled.client.get("/api/v1/export.json?kind=all")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "60")
        assert refused.json()["type"] == "/problems/unavailable"
        exports._closed.set()  # its process is never started
    with pytest.raises(NotAvailableError, match="to its end"):
        asyncio.run(read(first))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_one_client_leaves_room_for_the_exports_of_others(filled):
    exports = filled.service.exports
    with exports._turn:  # as if another one were being written
        of_ada = [exports.of(ALL, "-published", form, "ada") for form in ("csv", "json")]
        with pytest.raises(NotAvailableError, match="exports of yours"):
            exports.of(ALL, "-published", "parquet", "ada")
        of_ada.append(exports.of(ALL, "-published", "json", "ada"))  # which is written already
        of_bob = exports.of(ALL, "-published", "parquet", "bob")
    for export in (*of_ada, of_bob):
        export.file.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_export_for_which_there_is_no_process_or_thread_keeps_nobody_waiting(filled, monkeypatch):
    exports = filled.service.exports

    def refused(*arguments):
        raise OSError("no memory for another one")

    async def read():
        return [part async for part in exports.of(ALL, "-published", "csv", "ada").parts(True)]

    with monkeypatch.context() as patched:
        patched.setattr(multiprocessing.get_context("spawn").Process, "start", refused)
        with pytest.raises(NotAvailableError, match="to its end"):
            asyncio.run(asyncio.wait_for(read(), 60))
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refused)
        with pytest.raises(OSError, match="no memory"):
            exports.of(ALL, "-published", "csv", "ada")
    assert gzip.decompress(b"".join(asyncio.run(asyncio.wait_for(read(), 60)))).count(b"\n") == ROWS + 1
