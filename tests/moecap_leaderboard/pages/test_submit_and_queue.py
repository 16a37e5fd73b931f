"""A run that is dropped is judged without a trace before it is sent; what is asked for is what the API would take."""

from __future__ import annotations

import shutil
from pathlib import Path

import gradio as gr
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select
from starlette.requests import Request

from moecap.config import RunConfig
from moecap_leaderboard.pages.queue import _asked, wished_config
from moecap_leaderboard.pages.queue_table import queue_tables
from moecap_leaderboard.pages.submit import _checked, _sent
from moecap_leaderboard.pages.upload_room import UploadRoom
from moecap_leaderboard.problems import ProblemError
from moecap_leaderboard.tables import Audit, EvaluationRequest, SentFile, Submission

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def _client(address="10.0.0.1"):
    return gr.Request(Request({"type": "http", "client": (address, 1), "headers": []}))


def _token(board, owner="ada", *scopes):
    return board.key(owner, *scopes)["Authorization"].removeprefix("Bearer ")


def _archive(run, tmp_path):
    return [shutil.make_archive(str(tmp_path / "dropped"), "zip", run.folder.parent, run.folder.name)]


def _counts(board):
    with board.service.database.reading() as session:
        return [session.scalar(select(func.count()).select_from(t)) for t in (Submission, SentFile, Audit)]


def _blobs(board):
    return [path for path in board.service.blobs.folder.rglob("*") if path.is_file()]


def test_a_check_gives_the_verdict_and_keeps_nothing(board, make_run, tmp_path):
    paths = _archive(make_run(), tmp_path)
    said = _checked(board.service)(paths, _token(board), False, "", _client())
    assert "It would be published" in said and "16 rules" in said
    assert (_counts(board), _blobs(board)) == ([0, 0, 0], [])
    assert Path(paths[0]).exists()


def test_a_sent_run_is_published_and_the_upload_is_gone(board, make_run, tmp_path):
    run = make_run()
    paths = _archive(run, tmp_path)
    said, files = _sent(board.service)(paths, _token(board), False, "", _client())
    assert "It is published" in said and f"/result?id={run.result['id']}" in said
    assert files is None and not Path(paths[0]).exists()
    (item,) = board.get("/results")["items"]
    assert (item["id"], item["owner"]) == (run.result["id"], "ada")


def test_a_check_says_what_sending_then_does(board, make_run, tmp_path):
    """For a run that breaks a rule, the same rule with the same numbers; and the API agrees."""

    def wrong(content):
        content["metrics"]["tpot.p50"]["value"] = 0.001

    run, token = make_run().changed(wrong), _token(board)
    paths = _archive(run, tmp_path)
    checked = _checked(board.service)(paths, token, False, "", _client())
    sent, _ = _sent(board.service)(paths, token, False, "", _client())
    (rule,) = board.submit(run).json()["rules"]
    assert rule["id"] == "recomputation"
    for said in (checked, sent):
        assert rule["detail"] in said
        (difference,) = rule["differences"]
        assert all(f"{difference[which]:.9g}" in said for which in ("stored", "recomputed"))
    assert "It would be rejected" in checked and "It was rejected" in sent


def test_a_run_of_others_is_told_so_before_it_is_sent(board, make_run, tmp_path):
    board.submit(make_run(), "bob")
    said = _checked(board.service)(_archive(make_run().variant(1), tmp_path), _token(board), False, "", _client())
    assert "It would be rejected" in said and "bob sent the same observations" in said
    same = _checked(board.service)(_archive(make_run(), tmp_path), _token(board), False, "", _client())
    assert "this result is published already" in same


@pytest.mark.parametrize("act", [_checked, _sent])
def test_nothing_is_opened_without_a_token_that_may_submit(board, tmp_path, act):
    path = tmp_path / "bomb.zip"
    path.write_bytes(b"PK, and never read")
    for token, said in [
        ("", "enter a token"),
        (None, "enter a token"),
        ("moecap_secret", "not known"),
        (_token(board, "will", "work"), "has not the scope submit"),
    ]:
        answer = act(board.service)([str(path)], token, False, "", _client())
        text = answer if isinstance(answer, str) else answer[0]
        assert said in text and 'role="alert"' in text
        assert not token or token not in text
    assert path.exists() and _counts(board) == [0, 0, 0]


def test_what_is_no_run_or_repeats_no_result_is_refused_in_a_line(board, tmp_path):
    token, check = _token(board), _checked(board.service)
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"no archive")
    assert "cannot be read" in check([str(broken)], token, False, "", _client())
    assert "no file was dropped" in check(None, token, False, "", _client())
    missing = check([str(broken)], token, False, "not an id", _client())
    assert "cannot be read" in missing or "reproduces is no id" in missing


def test_an_upload_that_is_gone_is_asked_for_again(board, tmp_path):
    said = _checked(board.service)([str(tmp_path / "run.zip")], _token(board), False, "", _client())
    assert "drop the run again" in said and str(tmp_path) not in said


def test_the_quota_of_an_owner_holds_for_checks_too(board, make_run, tmp_path):
    board.service.submissions._owner_bytes = 10
    said = _checked(board.service)(_archive(make_run(), tmp_path), _token(board), False, "", _client())
    assert "ada has sent 0 bytes in 24 hours" in said


def _wish(**given):
    default = RunConfig()
    values = {
        "model": "mixtral",
        "hw": "auto",
        "num_gpus": 0,
        "backend": "auto",
        "precision": "auto",
        "task": [],
        **{name: getattr(default, name) for name in ("input_len", "output_len", "concurrency", "num_requests")},
    }
    return values | given


def test_a_form_asks_for_what_differs_from_the_defaults_and_names_its_tasks(database_url):
    assert wished_config(_wish()) == {"model": "mixtral", "task": ["none"]}
    asked = _wish(hw="h100-sxm", num_gpus=8, task=["gsm8k"], concurrency=32, num_requests=200)
    assert wished_config(asked) == {
        "model": "mixtral",
        "hw": "h100-sxm",
        "num_gpus": 8,
        "task": ["gsm8k"],
        "concurrency": 32,
        "num_requests": 200,
    }


def test_a_request_is_queued_under_the_owner_of_the_token_and_listed(board):
    names = list(_wish())
    said, tables = _asked(board.service, names)(_client(), *_wish().values(), "please", _token(board))
    assert "It is in the queue" in said
    assert "mixtral on any hardware" in tables and "please" in tables
    (request,) = board.get("/requests")["items"]
    assert (request["owner"], request["config"]) == ("ada", {"model": "mixtral", "task": ["none"]})


def test_what_the_api_refuses_the_page_refuses_with_the_same_words(board):
    names = list(_wish())
    for values in (_wish(model="/etc/passwd"), _wish(model=""), _wish(concurrency=64), _wish(precision="../x")):
        with pytest.raises(ProblemError) as refused:
            board.service.requests.add(wished_config(values), None, "ada")
        said, _ = _asked(board.service, names)(_client(), *values.values(), "", _token(board))
        assert refused.value.detail.partition("'")[0] in said.replace("&#x27;", "'")
    said, _ = _asked(board.service, names)(_client(), *_wish().values(), "", _token(board, "will", "work"))
    assert "has not the scope submit" in said
    with board.service.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(EvaluationRequest)) == 0


def test_states_leases_and_results_of_requests_are_shown(board, make_run):
    config = {"model": "smollm2-moe", "task": ["none"]}
    ask = {name: board.service.requests.add(config | {"seed": n}, None, "ada")["id"] for n, name in enumerate("abc")}
    work = board.key("will", "work")
    lease = {}
    for name in "ab":
        body = {"worker": f"worker-{name}", "seconds": 600}
        lease[name] = board.client.post(f"/api/v1/requests/{ask[name]}/claim", headers=work, json=body).json()["lease"]
    sent = board.submit(make_run(), "will").json()
    done = {"lease": lease["a"], "submission": sent["id"]}
    assert board.client.post(f"/api/v1/requests/{ask['a']}/complete", headers=work, json=done).status_code == 200
    tables = queue_tables(board.service)
    waiting, running, ended = tables.split("<h2>")[1:]
    assert waiting.startswith("Waiting<small> 1") and running.startswith("Running<small> 1")
    assert "worker-b has it until" in running and lease["b"] not in tables
    assert f'href="/result?id={sent["result"]}"' in ended


def test_a_client_writes_through_pages_and_api_as_often_as_it_may(board):
    board.service.writes._size = 3
    ask, token = _asked(board.service, list(_wish())), _token(board)
    for _ in range(3):
        assert "It is in the queue" in ask(_client(), *_wish().values(), "", token)[0]
    assert "too many requests; wait" in ask(_client(), *_wish().values(), "", token)[0]
    assert "It is in the queue" in ask(_client("10.0.0.2"), *_wish().values(), "", token)[0]


def test_uploads_that_wait_have_a_bound(board):
    folder = board.service.settings.data / "uploads"
    client = TestClient(UploadRoom(board.client.app, folder, 2000, most=2000))
    sent = {"files": ("run.zip", b"x" * 1000)}
    assert client.post("/gradio_api/upload", files=sent).status_code == 200
    assert [path.stat().st_size for path in folder.rglob("run.zip")] == [1000]
    full = client.post("/gradio_api/upload", files=sent)
    assert (full.status_code, full.headers["Retry-After"]) == (503, "600")
    assert client.get("/api/v1/results").status_code == 200
