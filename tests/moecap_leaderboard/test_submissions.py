"""What becomes of what is sent, on both databases."""

from __future__ import annotations

import json
import secrets
import threading
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest
from sqlalchemy import func, select

from moecap.errors import BadInputError
from moecap.files import file_sha256
from moecap_leaderboard.tables import Submission

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_a_true_result_is_published_recomputed_and_can_be_verified_by_anyone(board, make_run, tmp_path):
    run = make_run("transformers-bf16")
    sent = board.submit(run)
    assert sent.status_code == 201, sent.text
    assert (sent.json()["state"], sent.json()["tier"]) == ("published", "recomputed")
    assert sent.json()["withheld"] == ["samples.jsonl"]
    assert "accuracy.arc_easy" in sent.json()["not_recomputed"]
    assert all(rule["outcome"] != "failed" for rule in sent.json()["rules"])

    identifier = run.result["id"]
    found = board.get(f"/results/{identifier}")
    for name, pair in found["recomputed_metrics"].items():
        assert pair["stored"] == run.result["metrics"][name]["value"], name
        assert pair["difference"] in (None, 0) or abs(pair["difference"]) <= 1e-9 * abs(pair["stored"]), name
    assert found["result"] == run.result
    assert [line["action"] for line in found["history"]] == ["receive", "publish"]

    from moecap.publishing.archive import unpack
    from moecap.publishing.withholding import verify_without
    from moecap.verification.recomputation import verify_run

    archive = board.client.get(f"/api/v1/results/{identifier}/observations")
    (tmp_path / "archive").write_bytes(archive.content)
    (tmp_path / "again").mkdir()
    unpack(tmp_path / "archive", tmp_path / "again")
    assert (tmp_path / "again" / "result.json").read_bytes() == run.parts["result"][1]
    partial = verify_without(verify_run(tmp_path / "again"), found["withheld"], run.result["metrics"])
    assert partial.verification.ok


def test_the_same_content_again_is_the_same_submission(board, make_run):
    run = make_run()
    first, second = board.submit(run), board.submit(run, "bob")
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()


def test_the_same_content_at_once_is_one_row(board, make_run):
    run, answers = make_run(), []
    threads = [threading.Thread(target=lambda: answers.append(board.submit(run))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    codes = sorted(answer.status_code for answer in answers)
    assert codes[-1] in (201, 202) and set(codes) <= {200, 201, 202} and codes.count(201) == 1
    assert len({answer.json()["id"] for answer in answers}) == 1
    with board.service.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Submission)) == 1
    assert len(board.get("/results")["items"]) == 1


def test_a_tampered_number_is_refused_with_both_values_and_kept(board, make_run):
    def faster(content):
        content["metrics"]["ttft.p50"]["value"] /= 2

    run = make_run()
    true = run.result["metrics"]["ttft.p50"]["value"]
    answer = board.submit(run.changed(faster))
    assert answer.status_code == 422
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == "/problems/rules-failed"
    assert [rule["id"] for rule in problem["rules"]] == ["recomputation"]
    assert problem["rules"][0]["differences"] == [{"metric": "ttft.p50", "stored": true / 2, "recomputed": true}]
    assert board.get("/results")["items"] == []
    own = board.client.get(f"/api/v1/submissions/{problem['submission']}", headers=board.key("ada"))
    assert own.json()["state"] == "rejected"
    assert board.client.get(f"/api/v1/submissions/{problem['submission']}").status_code == 404


def test_an_attempt_that_was_refused_is_counted_beside_the_row(board, make_run):
    board.submit(make_run().changed(lambda content: content["metrics"]["ttft.p50"].update(value=1e-6)))
    board.submit(make_run().variant(1))
    board.submit(make_run().variant(2))
    (item,) = board.get("/results")["items"]
    assert (item["version"], item["versions"], item["attempts"]) == (2, 2, 3)
    assert [row["version"] for row in board.get("/results", versions="all")["items"]] == [2, 1]
    other = board.get(f"/results/{item['id']}")["other_versions"]
    assert [row["version"] for row in other] == [1]


def test_two_owners_of_one_configuration_have_a_row_each(board, make_run):
    board.submit(make_run().variant(1), "ada")
    board.submit(make_run().repeated(), "bob")
    items = board.get("/results")["items"]
    assert {item["owner"] for item in items} == {"ada", "bob"}
    assert len({item["configuration"] for item in items}) == 1


def test_a_withdrawn_row_keeps_its_tombstone_and_the_version_before_is_the_newest_again(board, make_run):
    first, second = (board.submit(make_run().variant(n)).json() for n in (1, 2))
    path = f"/api/v1/submissions/{second['id']}/withdraw"
    refused = board.client.post(path, headers=board.key("bob"), json={"reason": "not mine"})
    assert refused.status_code == 403
    done = board.client.post(path, headers=board.key("ada"), json={"reason": "a wrong power limit"})
    assert (done.status_code, done.json()["state"]) == (200, "withdrawn")
    (item,) = board.get("/results")["items"]
    assert (item["id"], item["attempts"]) == (first["result"], 2)
    gone = board.client.get(f"/api/v1/results/{second['result']}")
    assert gone.status_code == 410
    assert gone.json()["history"][-1]["reason"] == "a wrong power limit"
    (tombstone,) = board.get("/results", state="withdrawn")["items"]
    assert (tombstone["metrics"], tombstone["ranked"]) == ({}, False)
    assert board.client.post(path, headers=board.key("ada"), json={"reason": "again"}).status_code == 409


def test_an_invalidated_result_cannot_come_back(board, make_run):
    run = make_run().variant(1)
    sent = board.submit(run).json()
    path, moderator = f"/api/v1/submissions/{sent['id']}", board.key("mia", "moderate")
    assert board.client.patch(path, json={"state": "invalidated", "reason": "x"}).status_code == 401
    wrong = board.client.patch(path, headers=moderator, json={"state": "rejected", "reason": "it is published"})
    assert wrong.status_code == 409
    done = board.client.patch(path, headers=moderator, json={"state": "invalidated", "reason": "the clock was set"})
    assert done.json()["history"][-1] | {"time": None} == {
        "time": None,
        "actor": "mia",
        "action": "moderate",
        "state": "invalidated",
        "reason": "the clock was set",
    }
    (run.folder / "environment.json").unlink()  # other content, the same result
    again = board.submit(run)
    assert again.status_code == 422
    assert [rule["id"] for rule in again.json()["rules"]] == ["standing"]
    assert "the clock was set" in again.json()["detail"]


def test_an_invalidated_run_cannot_come_back_under_another_identity(board, make_run):
    sent = board.submit(make_run()).json()
    body = {"state": "invalidated", "reason": "the clock was set"}
    board.client.patch(f"/api/v1/submissions/{sent['id']}", headers=board.key("mia", "moderate"), json=body)
    for owner in ("ada", "bob"):
        again = board.submit(make_run().variant(len(owner) + ord(owner[0])), owner)
        assert [rule["id"] for rule in again.json()["rules"]] == ["standing"]
        assert "the clock was set" in again.json()["detail"]


def test_the_observations_of_another_are_no_run_of_ones_own_and_reproduce_nothing(board, make_run):
    """Whoever publishes lets everybody fetch the files: sent again under another identity they prove nothing."""
    first = board.submit(make_run(), "ada").json()
    copied = board.submit(make_run().variant(1), "bob", reproduces=first["result"])
    assert [rule["id"] for rule in copied.json()["rules"]] == ["standing"]
    assert "ada sent the same observations" in copied.json()["detail"]

    packed = make_run()
    requests = packed.folder / "requests.parquet"
    pq.write_table(pq.read_table(requests), requests, compression="gzip")
    digest = file_sha256(requests)
    packed.changed(lambda content: content["observations"].update({"requests.parquet": digest}))
    assert [rule["id"] for rule in board.submit(packed, "bob").json()["rules"]] == ["standing"]

    close = make_run()
    value = close.result["metrics"]["ttft.p50"]["value"] * (1 + 9e-10)
    close.changed(lambda content: content["metrics"]["ttft.p50"].update(value=value))
    assert [rule["id"] for rule in board.submit(close, "bob").json()["rules"]] == ["standing"]
    assert board.get(f"/results/{first['result']}")["reproduced_by"] == 0
    board.client.post(
        f"/api/v1/submissions/{first['id']}/withdraw", headers=board.key("ada"), json={"reason": "no longer"}
    )
    assert board.submit(make_run().variant(2), "bob").status_code == 422
    assert board.submit(make_run().variant(3), "ada").status_code == 201


def test_a_result_on_the_board_is_not_taken_in_another_form(board, make_run):
    run = make_run()
    first = board.submit(run).json()
    (run.folder / "environment.json").unlink()
    again = board.submit(run)
    assert again.status_code == 409
    assert (again.json()["type"], again.json()["submission"]) == ("/problems/already-published", first["id"])


def test_a_repeated_run_of_another_owner_within_the_margins_reproduces_the_row(board, make_run):
    first = board.submit(make_run().variant(1), "ada").json()
    own = board.submit(make_run().variant(2), "ada", reproduces=first["result"])
    assert _outcome(own, "reproduction") == ("flagged", "it is of the same owner and does not count")
    repeated = board.submit(make_run().repeated(), "bob", reproduces=first["result"])
    assert _outcome(repeated, "reproduction")[0] == "passed"
    row = board.get(f"/results/{first['result']}")
    assert (row["tier"], row["reproduced_by"]) == ("reproduced", 1)
    assert {(r["owner"], r["within"]) for r in row["reproductions"]} == {("ada", False), ("bob", True)}
    other = board.submit(make_run("llamacpp-q8_0"), "bob", reproduces=first["result"])
    assert _outcome(other, "reproduction")[0] == "flagged"
    missing = board.submit(make_run("transformers-bf16"), "bob", reproduces="0" * 64)
    assert missing.status_code == 422
    path = f"/api/v1/submissions/{repeated.json()['id']}/withdraw"
    board.client.post(path, headers=board.key("bob"), json={"reason": "mine was wrong"})
    assert board.get(f"/results/{first['result']}")["reproduced_by"] == 0


def _outcome(answer, rule):
    return next((r["outcome"], r["detail"]) for r in answer.json()["rules"] if r["id"] == rule)


def test_a_signature_counts_where_its_key_is_the_submitters(board, make_run, monkeypatch, tmp_path):
    from moecap.publishing.signing import new_key, sign_result
    from moecap.result import read_result, write_result

    monkeypatch.setenv("MOECAP_CONFIG", str(tmp_path / "config"))
    key, run = new_key(), make_run()
    write_result(run.folder, sign_result(read_result(run.folder), key))
    headers = board.key("ada")
    registered = board.client.post("/api/v1/signing-keys", headers=headers, json={"public_key": key.public})
    assert registered.status_code == 201
    taken = board.client.post("/api/v1/signing-keys", headers=board.key("bob"), json={"public_key": key.public})
    assert taken.status_code == 409
    sent = board.submit(run)
    assert _outcome(sent, "signature")[0] == "passed"
    assert board.get("/results")["items"][0]["signed"]

    unknown = make_run("llamacpp-q8_0")
    write_result(unknown.folder, sign_result(read_result(unknown.folder), key))
    assert _outcome(board.submit(unknown, "bob"), "signature")[0] == "flagged"

    forged = make_run().variant(7)
    forged.changed(lambda content: content.update(signature=run.result["signature"]), identified=False)
    refused = board.submit(forged).json()
    assert [rule["id"] for rule in refused.get("rules", ())] == ["signature"], refused


def test_what_was_received_when_the_service_ended_is_examined_when_it_starts(board, make_run, monkeypatch):
    run = make_run()
    monkeypatch.setattr(board.service.submissions, "_check", lambda *arguments: None)
    assert board.submit(run).status_code == 202
    assert board.submit(run).status_code == 202
    monkeypatch.undo()
    assert board.service.submissions.resume() == 1
    assert board.submit(run).json()["state"] == "published"


def test_what_was_received_and_is_no_longer_read_does_not_stop_the_start(board, make_run, monkeypatch):
    monkeypatch.setattr(board.service.submissions, "_check", lambda *arguments: None)
    sent = board.submit(make_run()).json()
    monkeypatch.undo()

    def unread(folder):
        raise BadInputError("result.json: not of this version")

    monkeypatch.setattr("moecap_leaderboard.submissions.read_result", unread)
    assert board.service.submissions.resume() == 1
    found = board.client.get(f"/api/v1/submissions/{sent['id']}", headers=board.key("ada")).json()
    assert (found["state"], found["rules"][0]["id"]) == ("rejected", "examination")


def test_what_was_rejected_by_circumstances_may_be_sent_again(board, make_run):
    first, repeated = make_run().variant(1), make_run().repeated()
    early = board.submit(repeated, "bob", reproduces=first.result["id"])
    assert [rule["id"] for rule in early.json()["rules"]] == ["reproduction"]
    board.submit(first, "ada")
    again = board.submit(repeated, "bob", reproduces=first.result["id"])
    assert (again.status_code, _outcome(again, "reproduction")[0]) == (201, "passed")
    assert {item["owner"]: item["attempts"] for item in board.get("/results")["items"]} == {"ada": 1, "bob": 2}


def test_where_moderators_review_a_result_waits_for_one(board, make_run, monkeypatch):
    monkeypatch.setattr(board.service.submissions, "_review", True)
    sent = board.submit(make_run())
    assert (sent.status_code, sent.json()["state"]) == (201, "pending")
    assert board.get("/results")["items"] == []
    path = f"/api/v1/submissions/{sent.json()['id']}"
    body = {"state": "published", "reason": "looks right"}
    own = board.client.patch(path, headers=board.key("ada", "moderate"), json=body)
    assert (own.status_code, own.json()["type"]) == (403, "/problems/no-scope")
    assert board.client.patch(path, headers=board.key("mia", "moderate"), json=body).json()["state"] == "published"
    assert len(board.get("/results")["items"]) == 1


def test_a_result_of_another_tool_without_observations_waits_for_a_moderator(board, make_run):
    run = make_run().changed(lambda content: content.update(kind="imported", observations={}))
    parts = {"result": run.parts["result"]}
    sent = board.client.post("/api/v1/submissions", headers=board.key("ada"), files=parts)
    assert (sent.status_code, sent.json()["state"], sent.json()["tier"]) == (201, "pending", "self_reported")
    path, body = f"/api/v1/submissions/{sent.json()['id']}", {"state": "published", "reason": "the source says so"}
    board.client.patch(path, headers=board.key("mia", "moderate"), json=body)
    assert board.get("/results")["items"] == []
    (item,) = board.get("/results", kind="imported", sort="tpot.p50")["items"]
    assert (item["kind"], item["tier"], item["recomputed"]) == ("imported", "self_reported", False)


@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "x" * 5000])
def test_texts_that_no_database_keeps_are_refused(board, text):
    headers = {**board.key("ada", "admin"), "Content-Type": "application/json"}
    for path, body in (
        ("/requests", {"config": {}, "note": text}),
        ("/requests", {"config": {"revision": text}}),
        ("/keys", {"owner": text, "scopes": ["submit"]}),
        ("/submissions/x/withdraw", {"reason": text}),
    ):
        answer = board.client.post(f"/api/v1{path}", headers=headers, content=json.dumps(body))
        assert answer.status_code in ((201, 400, 404) if text != "\ud800" else (400,)), (path, answer.text)
    for path in ("/results?q=", "/results?model=", "/results/", "/submissions/", "/requests/", "/signing-keys?owner="):
        asked = f"/api/v1{path}{quote(text, errors='replace')}"
        assert board.client.get(asked).status_code in (200, 400, 404), path


@ON_SQLITE
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(kind="guessed"), "kind"),
        (lambda c: c["model"].update(id="m" * 300), "longer than the leaderboard's column"),
        (lambda c: c["model"].update(name="a\x00b"), "zero character"),
        (lambda c: c.update(id="short"), "no SHA-256"),
        (lambda c: c["model"].update(id="mixtral\ud800"), "canonical JSON"),
        (lambda c: c["model"].update(name="mixtral\u202e"), "characters that nobody sees"),
        (lambda c: c["metrics"]["ttft.p50"].update(value="fast"), "ttft.p50"),
    ],
)
def test_what_is_no_result_is_refused_and_not_kept(board, make_run, change, said):
    answer = board.submit(make_run().changed(change, identified=False))
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/bad-request")
    assert said in answer.json()["detail"]
    with board.service.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Submission)) == 0


def test_many_long_names_of_tasks_are_taken_by_both_databases(board, make_run):
    """An index of Postgres did not hold them."""
    names = [secrets.token_hex(20) for _ in range(200)]
    sent = board.submit(make_run("llamacpp-q8_0").changed(lambda content: content["workload"].update(task=names)))
    assert sent.json()["type"] == "/problems/rules-failed"  # none of them ran


def test_files_that_cannot_be_read_are_refused(board, make_run):
    run = make_run()
    parts = run.parts
    broken = parts | {"observations": ("o", b"no archive")}
    answer = board.client.post("/api/v1/submissions", headers=board.key("ada"), files=broken)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/bad-archive")
    alone = board.client.post("/api/v1/submissions", headers=board.key("ada"), files={"result": parts["result"]})
    assert [rule["id"] for rule in alone.json()["rules"]] == ["files"]
    nothing = board.client.post("/api/v1/submissions", headers=board.key("ada"), files={"result": ("r", b"[1")})
    assert nothing.status_code == 400
    twice = parts["result"][1].replace(b"{", b'{"kind": "imported",', 1)
    doubled = board.client.post("/api/v1/submissions", headers=board.key("ada"), files={"result": ("r", twice)})
    assert doubled.status_code == 400 and "'kind' comes twice" in doubled.json()["detail"]
    deep = board.client.post("/api/v1/submissions", headers=board.key("ada"), files={"result": ("r", b"[" * 10**6)})
    assert deep.status_code == 400
    assert json.loads(deep.content)["title"] == "The request cannot be used"
