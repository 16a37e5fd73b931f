"""What every answer of the API keeps to: problems, caching, compression, limits, exports and comparisons."""

from __future__ import annotations

import asyncio
import csv
import errno
import io
import json

import pyarrow.parquet as pq
import pytest
from anyio.to_thread import current_default_thread_limiter
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from moecap_leaderboard.app import create_app
from moecap_leaderboard.comparison import front
from moecap_leaderboard.listing import Filters, all_items
from moecap_leaderboard.middleware import BodyLimit
from moecap_leaderboard.problems import ProblemError
from moecap_leaderboard.service import Service
from moecap_leaderboard.settings import Limits, Settings


@pytest.fixture
def database_url(tmp_path):
    """One kind of database is enough here."""
    return f"sqlite:///{tmp_path / 'board.sqlite'}"


@pytest.fixture
def filled(board, make_run):
    for name in ("transformers-bf16", "vllm-bf16", "llamacpp-q8_0"):
        assert board.submit(make_run(name)).status_code == 201
    return board


def test_an_answer_that_the_client_has_is_not_sent_again(filled):
    first = filled.client.get("/api/v1/results")
    assert first.headers["cache-control"] == "public, max-age=15"
    again = filled.client.get("/api/v1/results", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    listed = filled.client.get("/api/v1/results", headers={"If-None-Match": f'"x", {first.headers["etag"]}'})
    assert listed.status_code == 304
    other = filled.client.get("/api/v1/results?limit=1", headers={"If-None-Match": first.headers["etag"]})
    assert other.status_code == 200


def test_answers_are_compressed_and_may_be_read_from_any_page(filled):
    answer = filled.client.get("/api/v1/results", headers={"Accept-Encoding": "gzip", "Origin": "https://page.example"})
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["access-control-allow-origin"] == "*"
    asked = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST"}
    assert filled.client.options("/api/v1/submissions", headers=asked).status_code == 400


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/api/v1/results?limit=0", 400, "bad-request"),
        ("/api/v1/results?limit=201", 400, "bad-request"),
        ("/api/v1/results?modell=x", 400, "bad-request"),
        ("/api/v1/results?sort=beauty", 400, "bad-request"),
        ("/api/v1/results?kind=guess", 400, "bad-request"),
        ("/api/v1/results?concurrency_min=99999999999999999999", 400, "bad-request"),
        ("/api/v1/results/none", 404, "not-found"),
        ("/api/v1/nothing", 404, "not-found"),
        ("/api/v1/keys", 401, "no-key"),
        ("/api/v1/compare?ids=a", 400, "bad-request"),
        ("/api/v1/pareto?x=ttft.p50&y=beauty", 400, "bad-request"),
        ("/api/v1/export.xml", 400, "bad-request"),
        ("/api/v1/export.csv?sort=beauty", 400, "bad-request"),
        ("/api/v1/submissions?state=lost", 400, "bad-request"),
        ("/api/v1/requests?state=lost", 400, "bad-request"),
    ],
)
def test_every_error_is_a_problem_in_one_line(board, path, status, kind):
    answer = board.client.get(path)
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["type"]) == (status, status, f"/problems/{kind}")
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["detail"] and "\n" not in problem["detail"]
    assert problem["instance"] == path.partition("?")[0]
    assert answer.headers["cache-control"] == "no-store"


def test_a_method_that_is_not_there_is_a_problem(board):
    answer = board.client.put("/api/v1/results")
    assert (answer.status_code, answer.json()["type"]) == (405, "/problems/no-method")


@pytest.mark.parametrize("header", ["Bearer moecap_x", "Basic abc", f"Bearer moecap_{'0' * 16}_{'a' * 43}", "x"])
def test_a_key_that_is_none_is_refused_everywhere(board, header):
    answer = board.client.get("/api/v1/keys/me", headers={"Authorization": header})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


def test_a_client_that_asks_too_often_waits_and_others_do_not(database_url, tmp_path, examiners):
    limits = Limits(reads_per_second=0.5, reads_at_once=3, writes_per_minute=2)
    service = Service.open(Settings(database=database_url, data=tmp_path / "data", limits=limits), examiners)
    app = create_app(service)
    with TestClient(app) as client:
        left = [client.get("/api/v1/requests").headers["x-ratelimit-remaining"] for _ in range(3)]
        assert left == ["2", "1", "0"]
        refused = client.get("/api/v1/requests")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
        assert refused.json()["type"] == "/problems/too-many-requests"
        assert client.get("/healthz").status_code == 200
        assert client.get("/metrics").status_code == 429  # which counts all rows
        assert [client.post("/api/v1/keys").status_code for _ in range(3)] == [401, 401, 429]
        assert TestClient(app, client=("10.1.2.3", 1)).get("/api/v1/requests").status_code == 200


def test_what_a_page_asks_counts_as_reads_and_its_files_are_many(database_url, tmp_path, examiners):
    limits = Limits(reads_per_second=0.01, reads_at_once=2, writes_per_minute=60)
    service = Service.open(Settings(database=database_url, data=tmp_path / "data", limits=limits), examiners)
    with TestClient(create_app(service)) as client:
        event = {"data": [], "fn_index": 0, "session_hash": "x"}
        asked = [client.post("/gradio_api/run/predict", json=event).status_code for _ in range(3)]
        assert (asked[2], 429 in asked[:2]) == (429, False)
        files = [client.get("/look/look.css").status_code for _ in range(21)]
        assert (files.count(200), files[-1]) == (20, 429)
        uploads = [client.post("/gradio_api/upload", files={"files": b"x"}).status_code for _ in range(3)]
        assert uploads == [200, 200, 429]


def test_a_body_that_is_too_large_is_refused_whether_it_says_so_or_not(database_url, tmp_path, examiners):
    limits = Limits(body_bytes=2000)
    service = Service.open(Settings(database=database_url, data=tmp_path / "data", limits=limits), examiners)
    with TestClient(create_app(service)) as client:
        key = {"Authorization": f"Bearer {service.keys.new('ada', ['submit'])[1]}"}
        said = client.post("/api/v1/requests", headers=key, content=b"x" * 2001)
        unsaid = client.post(
            "/api/v1/requests",
            headers=key | {"Content-Type": "application/json"},
            content=(b'"' + b"x" * 500 for _ in range(9)),
        )
        parts = {"result": ("r", b"{" * 5000)}
        form = client.post("/api/v1/submissions", headers=key, files=parts)
        for answer in (said, unsaid, form):
            assert (answer.status_code, answer.json()["type"], answer.json()["limit"]) == (
                413,
                "/problems/too-large",
                2000,
            )


def test_exports_hold_the_rows_of_the_list(filled):
    rows = filled.get("/results", kind="all", sort="tpot.p50")["items"]
    assert filled.get("/export.json", kind="all", sort="tpot.p50")["items"] == rows
    text = filled.client.get("/api/v1/export.csv?kind=all&sort=tpot.p50").text
    table = pq.read_table(io.BytesIO(filled.client.get("/api/v1/export.parquet?kind=all&sort=tpot.p50").content))
    for row, cells, columns in zip(rows, csv.DictReader(io.StringIO(text)), table.to_pylist(), strict=True):
        assert cells["id"] == columns["id"] == row["id"]
        assert float(cells["tpot.p50"]) == columns["tpot.p50"] == row["metrics"]["tpot.p50"]["value"]
        assert columns["hardware.count"] == row["hardware"]["count"]
        assert columns["ranked"] is row["ranked"]
        assert columns["model.total_params"] == row["model"]["total_params"]
        scores = {name: m["value"] for name, m in row["metrics"].items() if name.startswith("accuracy.")}
        assert json.loads(columns["accuracies"]) == scores
    empty = filled.client.get("/api/v1/export.csv?q=nothing").text
    assert len(empty.splitlines()) == 1
    nothing = pq.read_table(io.BytesIO(filled.client.get("/api/v1/export.parquet?q=nothing").content))
    assert (nothing.num_rows, nothing.schema) == (0, table.schema)


def test_results_are_compared_with_the_first(filled):
    rows = filled.get("/results")["items"]
    ids = [row["id"] for row in rows]
    found = filled.get("/compare", ids=",".join(ids))
    assert [item["id"] for item in found["items"]] == ids
    assert found["differing"]["engine"] == [row["engine"] for row in rows]
    assert "model" not in found["differing"]
    column = found["metrics"]["tpot.p50"]
    values = [row["metrics"]["tpot.p50"]["value"] for row in rows]
    assert (column["values"], column["better"], column["unit"]) == (values, "lower", "s")
    assert column["relative"] == pytest.approx([value / values[0] - 1 for value in values])
    assert filled.client.get("/api/v1/compare", params={"ids": f"{ids[0]},{'0' * 64}"}).status_code == 404


def test_the_front_has_the_rows_that_no_other_beats(filled):
    found = filled.get("/pareto", x="tpot.p50", y="output_tokens_per_second", ranked="any")
    assert (found["x"]["better"], found["y"]["better"]) == ("lower", "higher")
    assert len(found["items"]) == 3
    for item in found["items"]:
        beaten = any(
            o["x"] <= item["x"] and o["y"] >= item["y"] and (o["x"], o["y"]) != (item["x"], item["y"])
            for o in found["items"]
        )
        assert item["on_front"] is not beaten


COORDINATES = st.one_of(st.integers(0, 4).map(float), st.floats(0, 5))


@given(st.lists(st.tuples(COORDINATES, COORDINATES), max_size=30), st.sampled_from(["higher", "lower"]))
def test_a_front_is_what_comparing_all_pairs_finds(points, better):
    sign = -1 if better == "higher" else 1

    def beats(a, b):
        return a != b and a[0] <= b[0] and sign * a[1] <= sign * b[1]

    expected = [not any(beats(other, point) for other in points) for point in points]
    assert front(points, ("lower", better)) == expected


def test_the_schema_says_what_the_api_says(filled):
    schema = filled.get("/schema")
    assert schema["result"]["title"] == "Result"
    report = filled.get(f"/results/{filled.get('/results')['items'][0]['id']}")["rules"]
    known = {rule["id"]: rule["text"] for rule in schema["rules"]}
    assert {rule["id"]: rule["text"] for rule in report}.items() <= known.items()
    for metric in schema["metrics"]:
        filled.get("/results", sort=metric["name"])
        for item in filled.get("/results")["items"]:
            if metric["name"] in item["metrics"]:
                assert item["metrics"][metric["name"]]["unit"] == metric["unit"], metric


def test_prometheus_and_the_page_count_what_is_there(filled):
    text = filled.client.get("/metrics").text
    assert 'moecap_submissions{state="published"} 3.0' in text
    assert 'route="/api/v1/submissions",status="201"} 3.0' in text
    assert filled.client.get("/healthz").json()["status"] == "ok"
    page = filled.client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "<td>3</td><td>measured</td>" in page.text and "<td>0</td><td>projected</td>" in page.text
    for link in ("/api/v1/schema", "/docs", "/api/v1/export.csv?kind=all"):
        assert f'href="{link}"' in page.text
        assert filled.client.get(link).status_code == 200


@pytest.mark.parametrize("path", ["/", "/api/v1/results", "/api/v1/export.csv", "/api/v1/results/none", "/healthz"])
def test_head_is_get_without_the_body(filled, path):
    whole, head = filled.client.get(path), filled.client.head(path)
    assert (head.status_code, head.content) == (whole.status_code, b"")
    for name in ("content-type", "content-length", "etag", "cache-control"):
        assert head.headers.get(name) == whole.headers.get(name)
    counted = filled.client.get("/metrics").text
    assert f'method="HEAD",route="{path.replace("none", "{identifier}").replace(".csv", ".{form}")}"' in counted


def test_an_answer_from_the_cache_says_by_what_it_varies(filled):
    tag = filled.client.get("/api/v1/submissions").headers["etag"]
    again = filled.client.get("/api/v1/submissions", headers={"If-None-Match": tag})
    assert again.status_code == 304
    assert {"Accept-Encoding", "Authorization"} <= {word.strip() for word in again.headers["vary"].split(",")}


def test_the_description_says_what_errors_are_and_where_a_key_is_needed(board):
    described = board.client.get("/openapi.json").json()
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            assert "422" not in operation["responses"], (method, path)
            assert "application/problem+json" in operation["responses"]["4XX"]["content"]
    assert {"200", "201", "202"} <= set(described["paths"]["/api/v1/submissions"]["post"]["responses"])
    assert described["paths"]["/api/v1/keys"]["post"]["security"] == [{"key": []}]
    assert described["paths"]["/api/v1/submissions"]["get"]["security"] == [{"key": []}, {}]
    assert "security" not in described["paths"]["/api/v1/results"]["get"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_slow_readers_of_exports_hold_no_connection_of_the_database(filled):
    pool = filled.service.database.engine.pool
    rows = all_items(filled.service.database, Filters(), "-published")
    assert next(rows)["kind"] == "measured"
    assert pool.checkedout() == 0
    assert len(list(rows)) == len(filled.get("/results")["items"]) - 1


def test_the_addresses_of_one_network_are_one_client(database_url, tmp_path, examiners):
    limits = Limits(reads_per_second=0.01, reads_at_once=1)
    service = Service.open(Settings(database=database_url, data=tmp_path / "data", limits=limits), examiners)
    app = create_app(service)

    def asked(address):
        return TestClient(app, client=(address, 1)).get("/api/v1/requests").status_code

    with TestClient(app):
        assert [asked("2001:db8::1"), asked("2001:db8::ffff:2"), asked("2001:db8:0:1::1")] == [200, 429, 200]
        assert [asked("::ffff:10.0.0.1"), asked("10.0.0.1"), asked("10.0.0.2")] == [200, 429, 200]


def test_a_disk_that_is_full_is_the_servers_problem_and_not_the_senders(board, make_run, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    parts, headers = make_run().parts, board.key("ada")
    for place in (
        "moecap.publishing.archive.copy_member",
        "moecap_leaderboard.blobs.shutil.copyfileobj",
        "starlette.datastructures.UploadFile.write",
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, full)
            answer = board.client.post("/api/v1/submissions", headers=headers, files=parts)
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable"), place
    assert board.client.post("/api/v1/submissions", headers=headers, files=parts).status_code == 201


def test_an_owner_sends_so_much_in_a_day(database_url, tmp_path, examiners, make_run):
    size = sum(file.stat().st_size for file in make_run().folder.iterdir())
    limits = Limits(owner_bytes_per_day=int(1.5 * size))
    service = Service.open(Settings(database=database_url, data=tmp_path / "data", limits=limits), examiners)
    with TestClient(create_app(service)) as client:

        def sent(run, owner):
            key = {"Authorization": f"Bearer {service.keys.new(owner, ['submit'])[1]}"}
            return client.post("/api/v1/submissions", headers=key, files=run.parts)

        assert sent(make_run(), "ada").status_code == 201
        again = sent(make_run().variant(1), "ada")
        assert (again.status_code, again.headers["retry-after"]) == (429, "3600")
        assert sent(make_run().repeated(), "bob").status_code == 201


def test_every_submission_that_waits_leaves_the_readers_their_threads(board):
    places = board.service.examiners.places
    assert board.client.portal.call(lambda: current_default_thread_limiter().total_tokens) >= 40 + places


def test_a_body_that_stops_is_given_up_and_one_that_is_whole_waits_for_nothing():
    """The answer to a whole body may take as long as it likes: what is then received is that the client has left."""
    parts = [{"type": "http.request", "body": b"a", "more_body": True}, {"type": "http.request", "body": b"b"}]

    async def served(count):
        coming = iter(parts[:count])

        async def receive():
            if (part := next(coming, None)) is None:
                await asyncio.sleep(0.2)
                return {"type": "http.disconnect"}
            return part

        async def app(scope, receive, send):
            seen.extend([await receive() for _ in range(3)])

        seen = []
        scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
        await BodyLimit(app, limit=10, seconds=0.05)(scope, receive, None)
        return [message["type"] for message in seen]

    with pytest.raises(ProblemError, match="nothing more of the body came") as found:
        asyncio.run(served(1))
    assert found.value.status == 408
    assert asyncio.run(served(2)) == ["http.request", "http.request", "http.disconnect"]


def test_the_report_of_a_row_is_one_page_and_figures_of_others_have_none(board, make_run):
    sent = board.submit(make_run()).json()["result"]
    first, again = (board.client.get(f"/api/v1/results/{sent}/report.html") for _ in range(2))
    assert first.status_code == 200
    assert first.headers["content-type"] == "text/html; charset=utf-8"
    policy = "sandbox allow-scripts allow-downloads allow-popups; frame-ancestors 'self' https://huggingface.co"
    assert first.headers["content-security-policy"] == policy
    assert f"result {sent[:16]}" in first.text and 'id="roofline"' in first.text
    assert again.content == first.content
    tag = {"If-None-Match": first.headers["etag"]}
    assert board.client.get(f"/api/v1/results/{sent}/report.html", headers=tag).status_code == 304
    assert board.client.get(f"/api/v1/results/{'0' * 64}/report.html").status_code == 404


def test_the_description_names_every_path_and_loads_nothing_from_elsewhere(board):
    page = board.client.get("/docs").text
    for path in board.client.get("/openapi.json").json()["paths"]:
        assert f"{path}</code>" in page, path
    assert "<code>family</code>" in page and "may be repeated" in page
    assert "http" not in page.replace("http-equiv", "") and "<script" not in page


def test_a_body_that_trickles_is_given_up_and_a_large_one_has_its_time():
    """Bytes at 0.02 s of each other under a limit of 0.2 s and 1,000 bytes a second: 20 bytes buy 0.02 s."""

    def served(size, count):
        async def receive():
            nonlocal count
            await asyncio.sleep(0.02)
            count -= 1
            return {"type": "http.request", "body": b"x" * size, "more_body": count > 0}

        async def app(scope, receive, send):
            while (await receive())["more_body"]:
                pass

        scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
        asyncio.run(BodyLimit(app, limit=10**9, seconds=0.2, bytes_per_second=1000)(scope, receive, None))

    with pytest.raises(ProblemError, match="less than 1000 bytes a second") as found:
        served(1, 10_000)
    assert found.value.status == 408
    served(10_000, 30)
