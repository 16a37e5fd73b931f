"""Attacks on the service as it runs: what it writes while keys are used, and connections that are not what they say."""

from __future__ import annotations

import hashlib
import re
import socket
from pathlib import Path

import httpx2 as httpx
import pytest
from service_process import ADMIN, ServiceProcess

LIMITS = {"MOECAP_READS_AT_ONCE": "120", "MOECAP_READS_PER_SECOND": "0.5", "FORWARDED_ALLOW_IPS": "192.0.2.1"}
EVENT = "/gradio_api/run/predict"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with ServiceProcess(tmp_path_factory.mktemp("attacked"), LIMITS) as running:
        yield running


def _written(service):
    """Everything that the service has written: its output, its database and its files."""
    return {path: path.read_bytes() for path in Path(service.data).rglob("*") if path.is_file()}


def test_no_key_is_written_anywhere(service):
    """Right ones and wrong ones, in headers, addresses and pages, a lease, and what lets an event or a request fail."""
    with service.board() as admin:
        made = admin.new_key("ada", ["submit", "work", "moderate"]).key
    wrong = f"moecap_{'1' * 16}_{'Q' * 43}"
    secrets = {ADMIN, made, wrong}
    with service.board(made) as board, httpx.Client(base_url=service.url, timeout=60) as client:
        asked = board.ask({"model": "smollm2-moe", "task": ["none"]})
        secrets.add(board.claim(asked.id, "worker", 600).lease)
        for key in (made, wrong):
            client.get("/api/v1/keys/me", headers={"Authorization": f"Bearer {key}"})
            client.get(f"/api/v1/results/{key}", params={"q": key})
            client.post("/api/v1/keys", headers={"Authorization": f"Bearer {key}"}, content=key)
            for number in range(25):
                client.post(EVENT, json={"data": [[key], {"a": key}, key], "fn_index": number})
    found = _written(service)
    assert any(b"an event of a page failed" in content for content in found.values())
    kept = b"".join(content for path, content in found.items() if "sqlite" in path.name)
    assert hashlib.sha256(made.split("_", 2)[2].encode()).hexdigest().encode() in kept
    for secret in secrets:
        for path, content in found.items():
            assert secret.removeprefix("moecap_").encode() not in content, path
            assert secret.split("_", 2)[-1].encode() not in content, path


def test_an_event_that_fails_is_one_line_in_the_log(service):
    before = service.log.read_text()
    answer = httpx.post(service.url + EVENT, timeout=60, json={"data": [{"a": "SENT"}] * 3, "fn_index": 1})
    assert (answer.status_code, "SENT" in answer.text) == (500, False)
    after = service.log.read_text()[len(before) :]
    assert len(after.splitlines()) == 1 and "Traceback" not in after and "SENT" not in after
    assert re.search(r"an event of a page failed: \w+ at .+\.py:\d+", after)


def test_an_address_that_a_client_says_of_itself_is_not_believed(service):
    """Only the proxies of FORWARDED_ALLOW_IPS are: else each guess of a key could come from an address of its own."""
    with httpx.Client(base_url=service.url, timeout=60) as client:
        answers = [
            client.get("/api/v1/keys", headers={"X-Forwarded-For": f"203.0.113.{number}"}).status_code
            for number in range(130)
        ]
    assert 429 in answers


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: +5\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"X: a\r\n folded\r\nContent-Length: -1\r\n",
    ],
)
def test_a_body_whose_end_is_told_in_two_ways_is_not_taken(service, head):
    """A proxy before the service may believe the other way, and take the rest for the next request."""
    host, port = service.url.removeprefix("http://").split(":")
    hidden = b"0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    with socket.create_connection((host, int(port)), 60) as connection:
        connection.sendall(b"POST /healthz HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n" + hidden)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400") and answer.count(b"HTTP/1.1") == 1
