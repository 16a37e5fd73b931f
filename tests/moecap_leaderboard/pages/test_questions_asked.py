"""What reaches Gradio of a page's question: nothing of the server's files, of other hosts, or of a session."""

from __future__ import annotations

import asyncio
import json
import time
from types import SimpleNamespace

import gradio as gr
import pytest
from fastapi.testclient import TestClient
from gradio.routes import file_upload_statuses
from made_rows import metric, row, speed
from starlette.requests import Request
from starlette.responses import JSONResponse

from moecap_leaderboard.app import create_app
from moecap_leaderboard.middleware import QUESTION, BodyLimit
from moecap_leaderboard.pages.board import board_parts
from moecap_leaderboard.pages.context import PageContext
from moecap_leaderboard.pages.no_sessions import NO_SESSION, NoSessions
from moecap_leaderboard.pages.pareto import scatter
from moecap_leaderboard.pages.questions import Questions
from moecap_leaderboard.pages.tradeoffs_chart import tradeoffs_chart
from moecap_leaderboard.pages.upload_room import UploadRoom, sweep
from moecap_leaderboard.pages.url_state import Query
from moecap_leaderboard.service import Service
from moecap_leaderboard.settings import Limits, Settings

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
META = {"_type": "gradio.FileData"}
WISH = ["mixtral", "auto", 0, "auto", "auto", [], 1, 1, 1, 1, "", ""]


def _index(board, path, inputs):
    """The number of the page's event that reads so many fields."""
    text = board.client.get(path).text
    config, _ = json.JSONDecoder().raw_decode(text.partition("window.gradio_config = ")[2])
    return next(event["id"] for event in config["dependencies"] if len(event["inputs"]) == inputs)


def _uploads(board):
    return [path for path in (board.service.settings.data / "uploads").rglob("*") if path.is_file()]


@ON_SQLITE
def test_neither_a_file_of_the_server_nor_one_elsewhere_can_be_named_in_any_field(board, tmp_path):
    secret = tmp_path / "environ"
    secret.write_text("MOECAP_ADMIN_KEY=x")
    event = _index(board, "/queue", len(WISH))
    asked = board.client.post(QUESTION, json={"data": WISH, "fn_index": event})
    assert asked.status_code == 200 and "A key is needed" in asked.text
    for path in (str(secret), f"{board.service.settings.data}/uploads/../../environ", "https://example.com/run.zip"):
        for place in range(len(WISH)):
            data = [*WISH[:place], {"path": path, "meta": META}, *WISH[place + 1 :]]
            refused = board.client.post(QUESTION, json={"data": data, "fn_index": event})
            assert refused.status_code == 400 and "was not uploaded here" in refused.text
    assert _uploads(board) == []


@ON_SQLITE
def test_checking_an_upload_leaves_nothing_beside_it(board):
    (path,) = board.client.post("/gradio_api/upload", files={"files": ("run.zip", b"PK")}).json()
    event = _index(board, "/submit", 4)
    data = [[{"path": path, "meta": META}], "no key", False, ""]
    asked = board.client.post(QUESTION, json={"data": data, "fn_index": event})
    assert "the key is not known" in asked.text
    assert [str(file) for file in _uploads(board)] == [path]
    data[0] = data[0] * 9
    assert board.client.post(QUESTION, json={"data": data, "fn_index": event}).status_code == 400


def test_gradio_is_told_of_no_session_so_that_it_keeps_no_token(tmp_path):
    async def echo(scope, receive, send):
        await JSONResponse(await Request(scope, receive).json())(scope, receive, send)

    client = TestClient(Questions(echo, tmp_path, {3}))
    question = {"data": ["a token"], "fn_index": 3, "event_data": {"q": ["x"]}}
    asked = client.post(QUESTION, json=question | {"session_hash": "s", "batched": True, "event_id": "e"})
    assert asked.json() == question | {"session_hash": NO_SESSION}
    assert client.post(QUESTION, content=b"[" * 100_000).status_code == 400
    for number in (2, -1, True, "3", 3.0, None, [3], {}):
        assert client.post(QUESTION, json={"data": [], "fn_index": number}).status_code == 400
    assert client.post(QUESTION, json={"data": ["x" * 1_000_000]}).status_code == 413
    assert client.post("/other", json={"session_hash": "s"}).json() == {"session_hash": "s"}


def test_of_an_event_nothing_is_kept_and_the_next_one_begins_as_the_first():
    async def built():  # where no loop runs Gradio opens its own and never closes it
        with gr.Blocks() as blocks:
            return blocks, gr.HTML("at first"), gr.State([])

    blocks, place, kept = asyncio.run(built())
    holder = NoSessions(blocks)
    one = holder[NO_SESSION]
    one[kept._id].append("a token")
    one._update_value_in_config(place._id, "a token")
    one[place._id] = gr.HTML("a token")
    other = holder[NO_SESSION]
    assert other[kept._id] == []
    assert other[place._id].value == "at first"
    assert "a token" not in repr(other.config_values)
    assert NO_SESSION not in holder
    assert not holder.session_data


def test_uploads_that_come_at_the_same_time_are_counted_together(tmp_path):
    async def slow(scope, receive, send):
        await asyncio.sleep(0.2)
        await JSONResponse([])(scope, receive, send)

    async def both():
        room, statuses = UploadRoom(slow, tmp_path, 1000, most=1500), []

        async def sent(headers):
            async def send(message):
                if "status" in message:
                    statuses.append(message["status"])

            await room({"type": "http", "path": "/gradio_api/upload", "headers": headers}, None, send)

        await asyncio.gather(sent([(b"content-length", b"1000")]), sent([]))
        await sent([])
        return statuses

    assert asyncio.run(both()) == [503, 200, 200]


def test_one_client_takes_a_share_of_the_room(tmp_path, monkeypatch):
    """Of what came, whether or not it said how much; what was sent on and deleted meanwhile counts until its time."""

    async def read(scope, receive, send):
        await Request(scope, receive).body()
        await JSONResponse([])(scope, receive, send)

    def upload(client, size, **headers):
        parts = (b"x" * 100 for _ in range(size // 100))
        given = parts if headers.pop("chunked", False) else b"x" * size
        return client.post("/gradio_api/upload", content=given, headers=headers)

    room = UploadRoom(read, tmp_path, 400, most=100_000, share=1000)
    one, other = (TestClient(room, client=(address, 1)) for address in ("10.0.0.1", "10.0.0.2"))
    assert [upload(one, 400).status_code, upload(one, 300, chunked=True).status_code] == [200, 200]
    full = upload(one, 400)
    assert (full.status_code, full.headers["retry-after"], full.json()["type"]) == (
        429,
        "600",
        "/problems/too-many-requests",
    )
    assert [upload(one, 300).status_code, upload(one, 100).status_code] == [200, 429]
    assert upload(other, 400).status_code == 200
    later = SimpleNamespace(monotonic=lambda: time.monotonic() + 1300)
    monkeypatch.setattr("moecap_leaderboard.pages.upload_room.time", later)
    assert upload(one, 400).status_code == 200


def test_a_body_that_is_too_large_takes_no_room_and_is_told_what_is_wrong_with_it(tmp_path):
    async def read(scope, receive, send):
        await Request(scope, receive).body()
        await JSONResponse([])(scope, receive, send)

    client = TestClient(UploadRoom(BodyLimit(read, 400), tmp_path, 400, most=1000, share=1000))
    refused = client.post("/gradio_api/upload", content=b"x" * 5000)
    assert (refused.status_code, refused.json()["type"]) == (413, "/problems/too-large")
    assert client.post("/gradio_api/upload", content=b"x" * 400).status_code == 200


def test_an_upload_that_does_not_say_that_it_is_too_large_is_no_failure_of_the_server(tmp_path, examiners):
    def parts():
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="run.zip"\r\n\r\n'
        for _ in range(30):
            yield b"y" * 1000

    database, limits = f"sqlite:///{tmp_path / 'board.sqlite'}", Limits(body_bytes=10_000)
    service = Service.open(Settings(database=database, data=tmp_path / "data", limits=limits), examiners)
    with TestClient(create_app(service)) as client:
        for path, kind in (("/gradio_api/upload", "multipart/form-data; boundary=x"), (QUESTION, "application/json")):
            refused = client.post(path, content=parts(), headers={"Content-Type": kind})
            assert (refused.status_code, refused.json()["type"]) == (413, "/problems/too-large"), path
        assert client.post("/gradio_api/upload", files={"files": ("run.zip", b"PK")}).status_code == 200


@ON_SQLITE
def test_the_progress_of_uploads_that_are_not_there_is_forgotten(board):
    """Of one that is there the page hears until its end."""
    kept = len(file_upload_statuses._signals)
    asked = board.client.get("/gradio_api/upload_progress?upload_id=nothing")
    assert (asked.status_code, len(file_upload_statuses._signals)) == (404, kept)
    for path in ("/gradio_api/upload_progress", "/gradio_api/upload"):
        asked = board.client.post(f"{path}?upload_id={'x' * 65}", files={"files": ("run.zip", b"PK")})
        assert (asked.status_code, asked.json()["type"]) == (400, "/problems/bad-request"), path
    sent = board.client.post("/gradio_api/upload?upload_id=0123456789a", files={"files": ("run.zip", b"PK")})
    told = board.client.get("/gradio_api/upload_progress?upload_id=0123456789a")
    assert sent.status_code == 200 and '"msg": "done"' in told.text
    assert len(file_upload_statuses._signals) == kept


def test_what_a_broken_upload_left_is_swept_with_its_folder(tmp_path):
    (tmp_path / "0123").mkdir()
    for name in ("0123/run.zip", "tmpabc"):
        (tmp_path / name).write_bytes(b"x")
    sweep(tmp_path, 3600)
    assert len(list(tmp_path.rglob("*"))) == 3
    sweep(tmp_path, -1)
    assert list(tmp_path.iterdir()) == []


def test_addresses_that_no_database_and_no_number_holds_match_nothing(board):
    context = PageContext(board.service)
    for query in ({"model": ("\0",)}, {"q": ("\ud800",)}, {"from": ("1" * 5000,), "model": ("x",)}):
        assert "No measured result matches" in board_parts(context, Query(query))[1]


def test_a_name_is_no_link_in_a_chart():
    link = '<a href="https://example.com">Model</a>'
    latency = {"tpot.p50": metric(0.02)}
    rows = [row(model={"name": link}, engine={"name": link}, metrics=speed(100.0) | latency)]
    figure = tradeoffs_chart(scatter(rows, "speed", "latency", {}), "speed", "latency")
    texts = [trace.name for trace in figure.data] + [text for trace in figure.data for text in trace.text or ()]
    assert len(texts) >= 2 and not any("<a" in text for text in texts)
