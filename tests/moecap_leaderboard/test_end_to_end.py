"""From a run to a row: sent as its manifest says, recomputed, refused where it was tampered with, repeated, queued."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from io import BytesIO
from pathlib import Path

import pytest
from recording_proxy import RecordingProxy
from service_process import ServiceProcess

from moecap.cli import main
from moecap.errors import LeaderboardError
from moecap.publishing.archive import pack
from moecap.publishing.disclosure import find_private, machine_private
from moecap.publishing.signing import load_key
from moecap.result import read_result, write_result

pytestmark = pytest.mark.engine

SMALL = {
    "model": "smollm2-moe",
    "task": ["none"],
    "num_requests": 4,
    "concurrency": 2,
    "input_len": 16,
    "output_len": 4,
}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with ServiceProcess(tmp_path_factory.mktemp("board") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def keys(service):
    """Keys of two people; ada's may work for the queue, too."""
    return {"ada": service.token("ada", "submit", "work"), "bob": service.token("bob", "submit")}


@pytest.fixture(scope="module")
def settings_of_ada(service, keys, tmp_path_factory):
    """Her folder of settings, with a signing key that the leaderboard knows as hers."""
    folder = tmp_path_factory.mktemp("ada") / "settings"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MOECAP_CONFIG", str(folder))
        environment.setenv("MOECAP_TOKEN", keys["ada"])
        assert main(["keys", "new"]) == 0
        assert main(["keys", "register", "--url", service.url]) == 0
    return folder


@pytest.fixture(autouse=True)
def as_ada(monkeypatch, settings_of_ada, keys):
    monkeypatch.setenv("MOECAP_CONFIG", str(settings_of_ada))
    monkeypatch.setenv("MOECAP_TOKEN", keys["ada"])


@pytest.fixture(scope="module")
def published(service, keys, settings_of_ada, measured_run):
    """What the command printed that submitted the run, and the parts that really went over the line."""
    with RecordingProxy(service.url) as proxy:
        done = subprocess.run(
            [sys.executable, "-m", "moecap", "submit", str(measured_run), "--url", proxy.url, "--json"],
            env=os.environ | {"MOECAP_CONFIG": str(settings_of_ada), "MOECAP_TOKEN": keys["ada"]},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), done.stderr, proxy.parts()


def _files(parts):
    with tarfile.open(fileobj=BytesIO(parts["observations"])) as archive:
        members = {member.name: archive.extractfile(member).read() for member in archive}
    return {"result.json": parts["result"], **members}


def test_what_went_over_the_line_is_what_the_manifest_said(published):
    answer, shown, parts = published
    assert parts.keys() == {"result", "observations"}
    sent = {name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in _files(parts).items()}
    assert sent == {entry["file"]: (entry["bytes"], entry["sha256"]) for entry in answer["manifest"]["files"]}
    for name, (size, digest) in sent.items():
        assert any(name in line and f"{size:,}" in line and digest in line for line in shown.splitlines())
    assert "samples.jsonl" not in sent
    assert "samples.jsonl" in {entry["file"] for entry in answer["manifest"]["left_out"]}


def test_no_name_no_place_and_no_key_went_over_the_line(published, keys, tmp_path, tiny_model):
    private = machine_private()
    for name, data in _files(published[2]).items():
        (tmp_path / name).write_bytes(data)
        assert find_private(tmp_path / name, private) == []
        for text in (keys["ada"], str(tiny_model("mixtral").parent), str(Path.home() / ".cache")):
            assert text.encode() not in data
    words = {socket.gethostname(), getpass.getuser()} - {"root", "localhost"}
    text = _files(published[2])["result.json"].decode()
    assert not [word for word in words if f'"{word}"' in text]


def test_the_row_is_recomputed_and_signed(service, published, measured_run):
    submission = published[0]["submission"]
    assert (submission["state"], submission["tier"], submission["ranked"]) == ("published", "recomputed", False)
    assert submission["unranked_because"] == ["limited_tasks"]
    with service.board(None) as board:
        row = board.result(read_result(measured_run).id)
    assert (row.signed, row.recomputed) == (True, True)
    stated = read_result(measured_run).metrics
    assert row.metrics["tpot.p50"].value == pytest.approx(stated["tpot.p50"].value, rel=1e-9)
    assert set(row.not_recomputed) == {name for name in stated if name.startswith("accuracy.")}


def test_the_same_run_again_is_the_same_submission(service, published, measured_run, capsys):
    assert main(["submit", str(measured_run), "--url", service.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["submission"]["id"] == published[0]["submission"]["id"]


def test_anyone_can_recompute_the_published_row(service, published, capsys, monkeypatch):
    monkeypatch.delenv("MOECAP_TOKEN")
    identifier = published[0]["submission"]["result"]
    assert main(["verify", identifier, "--url", service.url, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["differences"], answer["corrupt"]) == (True, [], [])
    assert answer["signed_by"] == load_key().public
    assert "accuracy.arc_easy" in answer["not_recomputed"]
    assert main(["verify", "0" * 64, "--url", service.url]) == 2


def test_a_tampered_result_is_refused_with_the_rule_and_both_numbers(service, keys, measured_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(measured_run, run)
    result = read_result(run)
    true = result.metrics["tpot.p50"].value
    better = result.metrics["tpot.p50"].model_copy(update={"value": true / 2})
    write_result(run, result.model_copy(update={"metrics": result.metrics | {"tpot.p50": better}}).identified())
    assert main(["submit", str(run), "--url", service.url]) == 1  # it is not even sent
    with (run / "archive").open("wb") as file:
        pack({name: run / name for name in result.observations}, file)
    for _ in range(2):  # the same content again gets the same answer
        with service.board(keys["bob"]) as board, pytest.raises(LeaderboardError) as refused:
            board.submit(run / "result.json", run / "archive")
        said = str(refused.value).splitlines()
        assert said[1].startswith("  recomputation: ")
        assert said[2] == f"    tpot.p50: stored {true / 2}, recomputed {true}"
        assert (refused.value.kind, refused.value.exit_status) == ("rules-failed", 1)


def test_a_result_is_repeated_and_the_answer_follows_from_the_margins(
    service, keys, published, tiny_model, tmp_path, capsys, monkeypatch
):
    identifier = published[0]["submission"]["result"]
    assert main(["reproduce", identifier, "--url", service.url]) == 2
    assert "its model 'tiny-mixtral' was a local folder; give yours with --model" in capsys.readouterr().err
    monkeypatch.setenv("MOECAP_TOKEN", keys["bob"])
    monkeypatch.setenv("MOECAP_CONFIG", str(tmp_path / "settings-of-bob"))
    words = ["--model", str(tiny_model("mixtral")), "--output", str(tmp_path / "again"), "--submit", "--json"]
    status = main(["reproduce", identifier, "--url", service.url, *words])
    answer = json.loads(capsys.readouterr().out)
    assert {m["metric"] for m in answer["metrics"]} >= {"output_tokens_per_second", "tpot.p50", "accuracy.arc_easy"}
    for metric in answer["metrics"]:
        if metric["margin"] is not None:
            apart = abs(metric["repeated"] / metric["original"] - 1)
            assert metric["within"] == (apart <= metric["margin"]), metric
    assert answer["within"] == all(metric["within"] for metric in answer["metrics"]) == (status == 0)
    submission = answer["submission"]
    assert (submission["owner"], submission["reproduces"]) == ("bob", identifier)
    with service.board(None) as board:
        assert board.result(identifier).reproduced_by == (1 if answer["within"] else 0)


def _worker(service, tmp_path, keys, *words):
    # one thread: two that wait for each other take many times as long where other tests use the processors, too
    environment = os.environ | {"MOECAP_TOKEN": keys["ada"], "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "moecap", "worker", "--url", service.url, "--runs", str(tmp_path / "runs"), *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_worker_takes_a_queued_request_runs_it_and_publishes_it(service, keys, tmp_path):
    with service.board(keys["bob"]) as board:
        request = board.ask(SMALL)
        for_others = board.ask(SMALL | {"hw": "h100"})
    worker = _worker(service, tmp_path, keys, "--once", "--json")
    out, err = worker.communicate(timeout=900)
    assert worker.returncode == 0, err
    done = json.loads(out)
    with service.board(keys["bob"]) as board:
        ended = board.request(request.id)
        row = board.result(done["result"])
        assert board.request(for_others.id).state == "queued"
        board.cancel(for_others.id)
    assert (ended.state, ended.submission, ended.result) == ("completed", done["submission"], done["result"])
    assert (row.owner, row.recomputed, row.signed, row.model["id"]) == ("ada", True, True, "smollm2-moe")
    assert row.workload["num_requests"] == 4
    assert read_result(tmp_path / "runs" / f"request-{request.id}-1").id == done["result"]


def test_a_request_that_cannot_be_run_goes_back_with_the_reason(service, keys, tmp_path):
    with service.board(keys["bob"]) as board:
        request = board.ask(SMALL | {"input_len": 1_000_000})
        worker = _worker(service, tmp_path, keys, "--once")
        out, err = worker.communicate(timeout=600)
        assert worker.returncode == 1, err
        back = board.request(request.id)
        board.cancel(request.id)
    assert (back.state, back.attempts) == ("queued", 1)
    assert back.reason
    assert "1000000" in back.reason.replace(",", "")
    assert out.startswith(f"request {request.id} failed: ")


def test_a_worker_that_is_told_to_end_stores_what_it_has_and_gives_the_request_back(service, keys, tmp_path):
    with service.board(keys["bob"]) as board:
        request = board.ask(SMALL | {"num_requests": 40, "output_len": 200})
        worker = _worker(service, tmp_path, keys)
        steps = (line for line in worker.stderr if "requests: 40" in line)
        assert next(steps)
        assert board.request(request.id).state == "claimed"
        time.sleep(0.5)
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=300)
        assert worker.returncode == 130
        back = board.request(request.id)
        board.cancel(request.id)
    assert (back.state, back.reason) == ("queued", "the worker was told to end")
    assert read_result(tmp_path / "runs" / f"request-{request.id}-1").status == "interrupted"


def test_a_worker_without_work_says_so_and_ends(service, capsys):
    assert main(["worker", "--url", service.url, "--once"]) == 0
    assert "no request is queued that this machine can serve" in capsys.readouterr().err


def test_a_worker_with_a_key_that_is_none_ends_at_once(service, capsys, monkeypatch):
    monkeypatch.setenv("MOECAP_TOKEN", f"moecap_{'0' * 16}_{'x' * 43}")
    assert main(["worker", "--url", service.url, "--once"]) == 2
    assert "the key is not known" in capsys.readouterr().err
