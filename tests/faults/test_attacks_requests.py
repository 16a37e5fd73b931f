"""Requests that were made to break in: each is answered, and finds, changes and tells nothing that it should not."""

from __future__ import annotations

import csv
import gzip
import hmac
import io
import itertools
import json
import shutil
from urllib.parse import quote

import pytest
from boards import Board, Run
from fastapi.testclient import TestClient
from sqlalchemy import func, select
from starlette.routing import Route

from moecap_leaderboard.app import create_app
from moecap_leaderboard.cursors import encoded
from moecap_leaderboard.middleware import QUESTION, UPLOAD
from moecap_leaderboard.pages.site import PAGES
from moecap_leaderboard.service import Service
from moecap_leaderboard.settings import Limits, Settings
from moecap_leaderboard.tables import Base

SQL = (
    "' OR '1'='1",
    "x') OR 1=1 --",
    '" OR ""="',
    "'; DROP TABLE submission; --",
    "' UNION SELECT secret_sha256 FROM key --",
    "%",
    "_",
    "\\",
)
FORMULA = "=HYPERLINK(1)"
HEADERS = ("content-security-policy", "x-content-type-options", "referrer-policy")


@pytest.fixture(scope="module")
def board(tmp_path_factory, derived_runs, examiners):
    """A board with one published row, one that was rejected, and a request."""
    folder = tmp_path_factory.mktemp("attacked")
    limits = Limits(reads_at_once=1_000_000, writes_per_minute=1_000_000)
    settings = Settings(database=f"sqlite:///{folder / 'board.sqlite'}", data=folder / "data", limits=limits)
    service = Service.open(settings, examiners)
    with TestClient(create_app(service), raise_server_exceptions=False) as client:
        made = Board(service, client)
        run = Run(folder / "run")
        shutil.copytree(derived_runs["vllm-bf16"], run.folder)
        run.changed(lambda content: content["model"].update(name=FORMULA))
        assert made.submit(run).status_code == 201
        wrong = run.variant(1).changed(lambda content: content["metrics"]["ttft.p50"].update(value=1e-6))
        assert made.submit(wrong, "bob").status_code == 422
        asked = {"config": {"model": "smollm2-moe", "task": ["none"]}}
        assert client.post("/api/v1/requests", headers=made.key("ada"), json=asked).status_code == 201
        yield made


def _everything(board):
    """Every row of every table."""
    with board.service.database.reading() as session:
        return {
            table.name: sorted(map(repr, session.execute(select(table)).all())) for table in Base.metadata.sorted_tables
        }


def _operations(board, *methods):
    described = board.client.get("/openapi.json").json()["paths"]
    for path, of_path in described.items():
        for method, operation in of_path.items():
            if method in methods:
                yield method, path, operation.get("parameters", ())


def _texts(parameters, place):
    """Names of the parameters that take any text."""
    for one in parameters:
        kinds = [one["schema"], *one["schema"].get("anyOf", ()), one["schema"].get("items", {})]
        if one["in"] == place and any(kind.get("type") == "string" and "enum" not in kind for kind in kinds):
            yield one["name"]


def test_sql_is_text_in_every_parameter_of_every_path(board):
    key, asked = board.key("eve", "work"), 0
    before = _everything(board)
    for (_, path, parameters), sql in itertools.product(list(_operations(board, "get")), SQL):
        names = list(_texts(parameters, "query"))
        in_path = path.format_map({name: quote(sql, safe="") for name in _texts(parameters, "path")} | {"form": "json"})
        for name in names or [None]:
            answer = board.client.get(in_path, params={name: sql} if name else None, headers=key)
            asked += 1
            assert answer.status_code in (200, 400, 403, 404), (in_path, name, sql, answer.text)
            if answer.status_code == 200 and name:
                assert answer.json()["items"] == [], (path, name, sql)
    assert asked > 200
    assert _everything(board) == before


def test_a_cursor_of_ones_own_making_shows_no_more_than_the_list(board):
    listed = board.get("/submissions")["items"]
    assert [item["owner"] for item in listed] == ["ada"]
    for last in ("z", "' OR '1'='1", "", "\U0010ffff", "0" * 32):
        for moment in (2**62, 0, -(2**62)):
            shown = board.client.get("/api/v1/submissions", params={"cursor": encoded(moment, last)[:200]}).json()
            assert all(item["owner"] == "ada" for item in shown["items"])
    for parts in ([1e308, "x"], [True, "x"], [2**64, "x"], [1, 2], [[1], "x"], [1, "x", "x"], [None, None]):
        for path in ("submissions", "requests", "results"):
            answer = board.client.get(f"/api/v1/{path}", params={"cursor": encoded(*parts)})
            assert (answer.status_code, answer.json()["type"]) == (400, "/problems/bad-request")


def test_every_wrong_key_is_compared_as_long_and_answered_alike(board, monkeypatch):
    compared, compare = [], hmac.compare_digest

    def noted(one, other):
        compared.append((len(one), len(other)))
        return compare(one, other)

    good = board.key("guess")["Authorization"].removeprefix("Bearer ")
    identifier = good.split("_")[1]
    last = "B" if good[-1] == "A" else "A"
    revoked = board.key("gone")["Authorization"].removeprefix("Bearer ")
    board.service.keys.revoke(revoked.split("_")[1])
    monkeypatch.setattr(hmac, "compare_digest", noted)
    wrong = [
        f"moecap_{'0' * 16}_{'a' * 43}",
        f"moecap_{identifier}_{'a' * 43}",
        good[:-1] + last,
        revoked,
        "x",
        good[:-1],
    ]
    answers = [board.client.get("/api/v1/keys/me", headers={"Authorization": f"Bearer {key}"}) for key in wrong]
    assert {(answer.status_code, answer.text) for answer in answers} == {(401, answers[0].text)}
    assert compared == [(64, 64)] * len(wrong)


def test_guesses_are_throttled(tmp_path, examiners):
    limits = Limits(reads_per_second=0.01, reads_at_once=5, writes_per_minute=3)
    settings = Settings(database=f"sqlite:///{tmp_path / 'board.sqlite'}", data=tmp_path / "data", limits=limits)
    with TestClient(create_app(Service.open(settings, examiners))) as client:
        guess = {"Authorization": f"Bearer moecap_{'0' * 16}_{'a' * 43}"}
        assert [client.get("/api/v1/keys/me", headers=guess).status_code for _ in range(6)] == [401] * 5 + [429]
        assert [client.post("/api/v1/requests", headers=guess).status_code for _ in range(4)] == [401] * 3 + [429]


def test_every_answer_tells_the_browser_to_do_nothing_else_with_it(board):
    """Of every route, of every page and of what is not there: no script but a page's own, no other type, no frame."""
    row = board.get("/results")["items"][0]["id"]
    paths = {
        route.path.format_map({"identifier": row, "form": "csv", "name": "look.css", "public_key": "x"})
        for route in board.client.app.routes
        if isinstance(route, Route)
    }
    pages = [page.PATH for page in PAGES]
    others = [
        *paths,
        "/nothing",
        "/theme.css",
        QUESTION,
        UPLOAD,
        "/assets/none.js",
        "/static/none",
        "/api/v1/results?x=1",
    ]
    for path, method in itertools.product([*others, *pages], ("GET", "POST", "OPTIONS")):
        answer = board.client.request(method, path)
        assert all(name in answer.headers for name in HEADERS), (method, path, dict(answer.headers))
        assert answer.headers["x-content-type-options"] == "nosniff"
        policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";"))
        if path.startswith(("/api/", "/openapi", "/healthz", "/metrics", "/nothing")) and "report.html" not in path:
            assert (policy["default-src"], policy["frame-ancestors"]) == ("'none'", "'none'"), path
        if "script-src" in policy:
            allowed = policy["script-src"].split()
            assert {source for source in allowed if not source.startswith("'sha256-")} == {"'self'", "'unsafe-eval'"}
        elif "sandbox" in policy:
            assert "report.html" in path and "allow-same-origin" not in policy["sandbox"]
        else:
            assert policy["default-src"] == "'none'"


def test_a_failure_of_the_server_is_as_closed(board, monkeypatch):
    def broken(*given):
        raise RuntimeError("secret")

    monkeypatch.setattr("moecap_leaderboard.api.results.page", broken)
    answer = board.client.get("/api/v1/results")
    assert (answer.status_code, answer.json()["type"]) == (500, "/problems/internal")
    assert all(name in answer.headers for name in HEADERS) and "secret" not in answer.text


def test_a_line_end_in_a_name_makes_no_header(board):
    row = board.get("/results")["items"][0]["id"]
    evil = quote("\r\nSet-Cookie: a=b\r\n\r\n<script>", safe="")
    for path in (
        f"/api/v1/results/{row}{evil}/observations",
        f"/api/v1/results/{evil}/observations",
        f"/api/v1/export.csv{evil}",
        f"/api/v1/submissions/{evil}",
        f"/look/{evil}",
        f"/{evil}",
    ):
        answer = board.client.get(path)
        assert answer.status_code in (400, 404) and "set-cookie" not in answer.headers, path
    kept = board.client.get(f"/api/v1/results/{row}/observations").headers["content-disposition"]
    assert kept == f'attachment; filename="moecap-{row[:16]}.tar.gz"'


def test_a_name_that_is_a_formula_is_none_in_a_table(board):
    assert board.get("/export.json")["items"][0]["model"]["name"] == FORMULA
    (cells,) = csv.DictReader(io.StringIO(board.client.get("/api/v1/export.csv").text))
    assert cells["model.name"] == f"'{FORMULA}"


def test_a_page_of_another_site_does_nothing_with_a_visitors_browser(board):
    """No cookie is a key, so there is nothing to ride on; what needs no key is refused to other sites."""
    cookies = {"Cookie": board.key("ada", "admin")["Authorization"].replace("Bearer ", "key=")}
    before = _everything(board)
    for method, path, _ in _operations(board, "post", "patch", "delete"):
        url = path.format_map({"identifier": "x", "public_key": "x"})
        assert board.client.request(method, url, headers=cookies, json={}).status_code == 401
    assert "set-cookie" not in board.client.get("/submit").headers
    other = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    for path, given in ((QUESTION, {"json": {"data": [], "fn_index": 0}}), (UPLOAD, {"files": {"files": b"x"}})):
        answer = board.client.post(path, headers=other, **given)
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/other-site")
    own = board.client.post(UPLOAD, headers={"Sec-Fetch-Site": "same-origin"}, files={"files": b"x"})
    assert own.status_code == 200
    assert _everything(board) == before


def test_whose_name_a_submission_bears_is_said_by_the_key_alone(board, make_run):
    parts, said = make_run("llamacpp-q8_0").parts, {"owner": "ada", "tier": "reproduced", "state": "withdrawn"}
    sent = board.client.post("/api/v1/submissions", headers=board.key("eve"), files=parts, data=said)
    assert (sent.json()["owner"], sent.json()["tier"]) == ("eve", "recomputed")
    asked = {"config": {"model": "smollm2-moe", "task": ["none"]}, "owner": "ada"}
    assert board.client.post("/api/v1/requests", headers=board.key("eve"), json=asked).status_code == 400
    mine = board.get("/submissions", owner="ada")["items"][0]["id"]
    more = {"state": "invalidated", "reason": "x", "owner": "eve"}
    moderated = board.client.patch(f"/api/v1/submissions/{mine}", headers=board.key("eve", "moderate"), json=more)
    assert moderated.status_code == 400
    taken = board.client.post(f"/api/v1/submissions/{mine}/withdraw", headers=board.key("eve"), json={"reason": "x"})
    assert taken.status_code == 403


def test_the_host_that_a_client_names_leads_nobody_there(board):
    evil = {"Host": "evil.example", "X-Forwarded-Host": "evil.example"}
    for path in (
        "/api/v1/results",
        "/api/v1/results/",
        "/board/",
        "/docs",
        "/docs/",
        "//evil.example/%2f..",
        "/nothing",
    ):
        answer = board.client.get(path, headers=evil, follow_redirects=False)
        assert answer.status_code in (200, 404) and "location" not in answer.headers, path
        assert "evil" not in answer.text.replace(path, ""), path


@pytest.mark.parametrize("up", ["../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..\\", "..%5c", "%252e%252e%252f", "/"])
@pytest.mark.parametrize("under", ["/look/", "/assets/", "/static/", "/api/v1/results/", "/gradio_api/file="])
def test_no_path_leads_to_a_file_of_the_server(board, under, up):
    answer = board.client.get(f"{under}{up * 12}etc/passwd")
    assert answer.status_code in (400, 403, 404) and "root:" not in answer.text


@pytest.mark.parametrize(
    ("said", "body"),
    [
        ({"Content-Encoding": "gzip"}, gzip.compress(b"[" + b"0," * 1_000_000)),
        ({"Content-Encoding": "br"}, b"\x00" * 1000),
        ({"Content-Type": "application/xml"}, b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'),
        ({}, b"[" * 1_000_000),
        ({}, b'{"config": ' * 100_000),
        ({}, b'{"config": {"seed": ' + b"9" * 1_000_000 + b"}}"),
        ({}, json.dumps({"config": {"a" * 100_000: {"b": [[]] * 10_000}}}).encode()),
    ],
    ids=["gzip bomb", "brotli", "entities", "deep list", "deep object", "long number", "wide"],
)
def test_a_body_made_to_cost_much_is_refused_as_it_came(board, said, body):
    """Nothing unpacks a body that says it is packed, and nothing reads XML."""
    headers = board.key("eve", "admin") | {"Content-Type": "application/json"} | said
    for path in ("requests", "keys", "signing-keys", "submissions/x/withdraw"):
        answer = board.client.post(f"/api/v1/{path}", headers=headers, content=body)
        assert (answer.status_code, answer.json()["type"]) == (400, "/problems/bad-request"), (path, answer.text)
        assert "root:" not in answer.text and len(answer.text) < 200_000


def test_a_method_is_not_overridden(board):
    row = board.get("/submissions")["items"][0]["id"]
    headers = {"X-HTTP-Method-Override": "PATCH", "X-HTTP-Method": "PATCH"} | board.key("mia", "moderate")
    asked = {"state": "invalidated", "reason": "x"}
    answer = board.client.post(f"/api/v1/submissions/{row}?_method=PATCH", headers=headers, json=asked)
    assert answer.status_code == 405
    with board.service.database.reading() as session:
        table = Base.metadata.tables["submissions"]
        invalidated = select(func.count()).select_from(table).where(table.c.state == "invalidated")
        assert session.scalar(invalidated) == 0
