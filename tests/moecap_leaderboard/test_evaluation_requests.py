"""The queue: one worker holds a request, by a lease that expires."""

from __future__ import annotations

import threading

import pytest

from moecap_leaderboard import evaluation_requests

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

CONFIG = {"model": "smollm2-moe", "task": ["none"], "concurrency": 4}


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets, in seconds from now."""
    real, ahead = evaluation_requests.now_us, [0]
    monkeypatch.setattr(evaluation_requests, "now_us", lambda: real() + ahead[0] * 1_000_000)

    def advance(seconds):
        ahead[0] += seconds

    return advance


def _ask(board, config=None, owner="ada"):
    return board.client.post("/api/v1/requests", headers=board.key(owner), json={"config": config or CONFIG})


def _claim(board, identifier, worker="w1", seconds=60):
    body = {"worker": worker, "seconds": seconds}
    return board.client.post(f"/api/v1/requests/{identifier}/claim", headers=board.key("will", "work"), json=body)


def _post(board, identifier, verb, body, owner="will", scope="work"):
    return board.client.post(f"/api/v1/requests/{identifier}/{verb}", headers=board.key(owner, scope), json=body)


def test_a_request_is_asked_for_claimed_and_completed(board, make_run):
    asked = _ask(board)
    assert (asked.status_code, asked.json()["state"], asked.json()["config"]) == (201, "queued", CONFIG)
    identifier = asked.json()["id"]
    claimed = _claim(board, identifier).json()
    assert (claimed["state"], claimed["worker"], claimed["attempts"]) == ("claimed", "w1", 1)
    assert "lease" not in board.get(f"/requests/{identifier}")
    assert _claim(board, identifier, "w2").json()["type"] == "/problems/not-queued"
    sent = board.submit(make_run(), "will").json()
    others = {"lease": claimed["lease"], "submission": board.submit(make_run("llamacpp-q8_0"), "eve").json()["id"]}
    assert _post(board, identifier, "complete", others).status_code == 409
    done = _post(board, identifier, "complete", {"lease": claimed["lease"], "submission": sent["id"]}).json()
    assert (done["state"], done["submission"], done["result"]) == ("completed", sent["id"], sent["result"])
    assert board.get("/requests", state="queued")["items"] == []


@ON_SQLITE
@pytest.mark.parametrize(
    ("config", "other"),
    [
        ({**CONFIG, "concurrency": 2}, "concurrency is 4 there, and 2 was asked for"),
        ({**CONFIG, "model": "mixtral"}, "model is smollm2-moe there, and mixtral was asked for"),
        ({**CONFIG, "hw": "h100"}, "hw is auto there, and h100 was asked for"),
        ({**CONFIG, "backend": "sglang"}, "backend is vllm there, and sglang was asked for"),
        ({**CONFIG, "task": ["gsm8k"], "num_requests": 20}, "task is none there, and gsm8k was asked for"),
        ({**CONFIG, "limit": 0}, "limit is 50 there, and None was asked for"),
        ({**CONFIG, "hw": "auto", "backend": "vllm", "num_gpus": 1, "precision": "auto", "dataset": "auto"}, None),
        ({"concurrency": 4}, "task is none there, and arc_easy was asked for"),
    ],
)
def test_a_request_is_completed_by_a_result_of_what_was_asked_for(board, make_run, config, other):
    identifier = _ask(board, config).json()["id"]
    body = {
        "lease": _claim(board, identifier).json()["lease"],
        "submission": board.submit(make_run(), "will").json()["id"],
    }
    done = _post(board, identifier, "complete", body)
    if other is None:
        assert done.json()["state"] == "completed"
    else:
        assert (done.status_code, done.json()["type"]) == (409, "/problems/conflict")
        assert done.json()["detail"].endswith(other)
        assert board.get(f"/requests/{identifier}")["state"] == "claimed"


def test_one_of_many_workers_gets_a_request(board):
    identifier, answers = _ask(board).json()["id"], []
    headers = [board.key("will", "work") for _ in range(6)]

    def claim(header):
        body = {"worker": "w", "seconds": 60}
        answers.append(board.client.post(f"/api/v1/requests/{identifier}/claim", headers=header, json=body).status_code)

    threads = [threading.Thread(target=claim, args=(header,)) for header in headers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200, 409, 409, 409, 409, 409]


def test_a_lease_that_expired_gives_the_request_back_and_counts(board, clock):
    identifier = _ask(board).json()["id"]
    first = _claim(board, identifier).json()
    clock(50)
    renewed = _post(board, identifier, "renew", {"lease": first["lease"], "seconds": 60})
    assert renewed.json()["lease_expires"] > first["lease_expires"]
    clock(50)
    assert board.get(f"/requests/{identifier}")["state"] == "claimed"
    clock(11)
    lost = _post(board, identifier, "renew", {"lease": first["lease"], "seconds": 60})
    assert (lost.status_code, lost.json()["type"]) == (409, "/problems/lease-lost")
    found = board.get(f"/requests/{identifier}")
    assert (found["state"], found["reason"]) == ("queued", "the lease of w1 expired")
    second = _claim(board, identifier, "w2").json()
    assert second["attempts"] == 2
    assert _post(board, identifier, "renew", {"lease": first["lease"], "seconds": 60}).status_code == 409
    clock(61)
    _claim(board, identifier, "w3")
    clock(61)
    assert board.get("/requests", state="failed")["items"][0]["attempts"] == 3
    assert _claim(board, identifier).status_code == 409


def test_a_worker_that_fails_gives_the_reason_and_the_third_time_it_has_failed(board):
    identifier = _ask(board).json()["id"]
    for attempt in (1, 2, 3):
        lease = _claim(board, identifier).json()["lease"]
        failed = _post(board, identifier, "fail", {"lease": lease, "reason": f"no memory, {attempt}"}).json()
        assert failed["state"] == ("failed" if attempt == 3 else "queued")
    assert failed["reason"] == "no memory, 3"


def test_an_owner_takes_a_request_back(board):
    identifier = _ask(board).json()["id"]
    assert _post(board, identifier, "cancel", None, "bob", "submit").status_code == 403
    lease = _claim(board, identifier).json()["lease"]
    assert _post(board, identifier, "cancel", None, "ada", "submit").json()["state"] == "cancelled"
    assert _post(board, identifier, "fail", {"lease": lease, "reason": "x"}).status_code == 409
    assert _post(board, identifier, "cancel", None, "ada", "submit").status_code == 409


def test_the_queue_is_given_in_pages_the_first_that_came_first(board):
    ids = [_ask(board).json()["id"] for _ in range(5)]
    seen, cursor = [], None
    while True:
        found = board.get("/requests", state="queued", limit=2, **({"cursor": cursor} if cursor else {}))
        seen += [item["id"] for item in found["items"]]
        cursor = found["next"]
        if cursor is None:
            break
    assert seen == ids


@ON_SQLITE
@pytest.mark.parametrize(
    "config",
    [
        {"model": "/etc/passwd"},
        {"model": "../secret"},
        {"model": "config.json"},
        {"model": "a/b/c"},
        {"model": "~/model"},
        {"endpoint": "http://10.0.0.1"},
        {"data": "/data"},
        {"output": "/tmp/x"},
        {"hw": "mine.yaml"},
        {"dataset": "trace.jsonl"},
        {"layout": "layout.yaml"},
        {"engine_arg": ["gguf=/srv/x.gguf"]},
        {"engine_arg": ["trust-remote-code=true"]},
        {"engine_arg": ["download-dir=../x"]},
        {"task_arg": ["judge=http://10.0.0.1"]},
        {"task": ["../task.yaml"]},
        {"revision": "../../x"},
        {"precision": "../x"},
        {"num_requests": 10**18},
        {"num_requests": 10_000, "input_len": 10**6},
        {"concurrency": 0},
        {"colour": "red"},
    ],
)
def test_a_request_names_no_path_server_or_foreign_code(board, config):
    answer = _ask(board, config)
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/bad-request"), answer.text


@ON_SQLITE
@pytest.mark.parametrize("seconds", [0, 59, 3601, -1])
def test_a_lease_has_bounds(board, seconds):
    assert _claim(board, _ask(board).json()["id"], seconds=seconds).status_code == 400
