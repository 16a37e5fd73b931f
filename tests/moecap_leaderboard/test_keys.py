"""Keys: shown once, stored hashed, scoped, revocable."""

from __future__ import annotations

from pathlib import Path

import pytest

from moecap_leaderboard.administration import first_key

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

BODY = {"owner": "ada", "scopes": ["submit", "work"]}


@pytest.fixture
def admin(board):
    return {"Authorization": f"Bearer {first_key(board.service)}"}


def test_the_first_key_is_made_once_and_makes_others(board, admin):
    assert first_key(board.service) is None
    made = board.client.post("/api/v1/keys", headers=admin, json=BODY)
    assert made.status_code == 201
    mine = {"Authorization": f"Bearer {made.json()['key']}"}
    me = board.client.get("/api/v1/keys/me", headers=mine).json()
    assert (me["owner"], me["scopes"]) == ("ada", ["submit", "work"])
    refused = board.client.post("/api/v1/keys", headers=mine, json=BODY)
    assert (refused.status_code, refused.json()["type"]) == (403, "/problems/no-scope")
    listed = board.client.get("/api/v1/keys", headers=admin)
    assert {item["owner"] for item in listed.json()["items"]} == {"ada", "admin"}


def test_a_key_is_stored_nowhere(board, admin, tmp_path):
    secret = board.client.post("/api/v1/keys", headers=admin, json=BODY).json()["key"].split("_", 2)[2]
    assert secret not in board.client.get("/api/v1/keys", headers=admin).text
    if not board.service.database.is_sqlite:
        return
    for path in Path(tmp_path).rglob("board.sqlite*"):
        assert secret.encode() not in path.read_bytes()


def test_a_revoked_or_expired_key_opens_nothing(board, admin):
    made = board.client.post("/api/v1/keys", headers=admin, json=BODY).json()
    mine = {"Authorization": f"Bearer {made['key']}"}
    assert board.client.delete(f"/api/v1/keys/{made['id']}", headers=admin).status_code == 204
    assert board.client.get("/api/v1/keys/me", headers=mine).status_code == 401
    assert board.client.get("/api/v1/results", headers=mine).status_code == 200  # reading needs none
    past = board.client.post("/api/v1/keys", headers=admin, json=BODY | {"expires": "2020-01-01T00:00:00Z"})
    assert past.status_code == 400
    assert board.client.delete("/api/v1/keys/none", headers=admin).status_code == 404


@ON_SQLITE
@pytest.mark.parametrize(
    "body",
    [
        {"owner": "Ada", "scopes": ["submit"]},
        {"owner": "", "scopes": ["submit"]},
        {"owner": "server", "scopes": ["submit"]},
        {"owner": "ada", "scopes": []},
        {"owner": "ada", "scopes": ["root"]},
        {"owner": "ada"},
        {"owner": "ada", "scopes": ["submit"], "more": 1},
    ],
)
def test_a_key_that_cannot_be_is_refused(board, admin, body):
    assert board.client.post("/api/v1/keys", headers=admin, json=body).status_code == 400


@ON_SQLITE
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/submissions/x/withdraw"),
        ("PATCH", "/submissions/x"),
        ("POST", "/requests"),
        ("POST", "/requests/x/claim"),
        ("POST", "/keys"),
        ("DELETE", "/keys/x"),
        ("POST", "/signing-keys"),
    ],
)
def test_nothing_is_written_without_the_scope_for_it(board, method, path):
    bodies = {
        "/submissions/x": {"state": "published", "reason": "x"},
        "/submissions/x/withdraw": {"reason": "x"},
        "/requests": {"config": {}},
        "/requests/x/claim": {"worker": "w"},
        "/keys": BODY,
        "/signing-keys": {"public_key": "x" * 43},
    }
    assert board.client.request(method, f"/api/v1{path}", json=bodies.get(path)).status_code == 401
    other = board.key("eve", "work" if path != "/requests/x/claim" else "submit")
    assert board.client.request(method, f"/api/v1{path}", json=bodies.get(path), headers=other).status_code == 403


def test_a_signing_key_that_was_ended_signs_no_more(board):
    mine, public = board.key("ada"), "A" * 43
    assert board.client.post("/api/v1/signing-keys", headers=mine, json={"public_key": public}).status_code == 201
    assert board.client.post("/api/v1/signing-keys", headers=mine, json={"public_key": public}).status_code == 200
    assert [item["owner"] for item in board.get("/signing-keys", owner="ada")["items"]] == ["ada"]
    assert board.client.delete(f"/api/v1/signing-keys/{public}", headers=board.key("bob")).status_code == 403
    assert board.client.delete(f"/api/v1/signing-keys/{public}", headers=mine).status_code == 204
    assert board.get("/signing-keys")["items"][0]["revoked"] is not None
    assert board.client.post("/api/v1/signing-keys", headers=mine, json={"public_key": public}).status_code == 409
