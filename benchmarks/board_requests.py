"""What readers and submitters ask of a leaderboard: requests of each kind, with how often each comes."""

from __future__ import annotations

import gzip
import http.client
import io
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

import pyarrow.parquet as pq
from filled_board import KEY, archive_of, changed, multipart
from open_load import Asked

from moecap.result import Result

BASE = "/api/v1"
MODELS = [f"org-{number % 40}/model-{number}" for number in range(400)]
SORTS = ("tpot.p50", "-output_tokens_per_second", "ttft.p99", "-decode.s_mfu", "e2e.p50")
WORDS = ("llama", "vllm", "bf16", "smollm", "model-39", "org-7", "model-123", "epyc", "nothing-has-this")
PAGES = {
    "/": 3,
    "/board": 3,
    "/result": 2,
    "/radar": 1,
    "/tradeoffs": 0.5,
    "/compare": 0.5,
    "/tasks": 0.5,
    "/about": 0.5,
}
"""Shares of the pages; each opening is a page and then what its script asks."""
FORMS = ("json", "csv", "parquet")

Check = Callable[[bytes], str | None]
"""Says what is wrong with the body of an answer, or nothing."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of read.

    Attributes:
        name: What it is.
        share: How often it comes, to the shares of the others.
        asked: Its requests, taken at random.
    """

    name: str
    share: float
    asked: Sequence[Asked]


class Asker:
    """Requests to one server, with what was learned of it.

    Args:
        url: The server.
        checked: Of so many requests of a kind the body of one answer is read and checked.
    """

    def __init__(self, url: str, checked: int = 10) -> None:
        self._host, self._checked = urlsplit(url).netloc, checked
        self._connection = http.client.HTTPConnection(self._host, timeout=300)

    def json(self, path: str) -> dict[str, object]:
        """What is answered to a question, before any load."""
        self._connection.request("GET", path)
        answer = self._connection.getresponse()
        body = answer.read()
        assert answer.status == 200, (path, answer.status, body[:300])
        return json.loads(body)

    def text(self, path: str) -> str:
        """A page."""
        self._connection.request("GET", path)
        return self._connection.getresponse().read().decode()

    def post(self, asked: Asked) -> dict[str, object]:
        """Send a submission before any load."""
        head, _, body = b"".join(asked.parts).partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        self._connection.request("POST", f"{BASE}/submissions", body, headers)
        answer = self._connection.getresponse()
        content = json.loads(plain(answer.read()))
        assert answer.status == asked.status, content
        return content

    def get(self, kind: str, paths: Sequence[str], check: Check | None = None) -> list[Asked]:
        """GETs of paths, of which some are checked."""
        return [
            Asked(kind, (self._head("GET", path),), check=check if number % self._checked == 0 else None)
            for number, path in enumerate(paths)
        ]

    def event(self, kind: str, number: int, queries: Sequence[str]) -> list[Asked]:
        """What a page's script asks when it is opened, or when something on it changes."""
        body = json.dumps(
            {"data": [], "event_data": None, "fn_index": number, "trigger_id": 0, "session_hash": "load"}
        ).encode()
        kind_of = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return [
            Asked(kind, (self._head("POST", f"/gradio_api/run/predict{query}", kind_of) + body,), check=answered)
            for query in queries
        ]

    def submission(self, result: Result, archive: bytes) -> Asked:
        """One that is published once it is examined."""
        body, kind = multipart({"result": result.model_dump_json().encode(), "observations": archive})
        head = f"Authorization: Bearer {KEY}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        return Asked("submission, recomputed", (self._head("POST", f"{BASE}/submissions", head), body), 201, taken)

    def _head(self, method: str, path: str, more: str = "") -> bytes:
        return f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nAccept-Encoding: gzip\r\n{more}\r\n".encode()


def plain(body: bytes) -> bytes:
    """A body without its compression."""
    return gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body


def listed(count: int | None = None) -> Check:
    """A check that a list has so many rows; any number, where none is given."""

    def check(body: bytes) -> str | None:
        items = json.loads(plain(body))["items"]
        return None if count is None or len(items) == count else f"{len(items)} rows, not {count}"

    return check


def answered(body: bytes) -> str | None:
    """Whether a page's script got something to show."""
    content = json.loads(plain(body))
    return None if any(content.get("data") or ()) else f"an event without data: {str(content)[:200]}"


def taken(body: bytes) -> str | None:
    """Whether a submission was examined and published."""
    content = json.loads(plain(body))
    return None if content["state"] == "published" else f"a submission is {content['state']}: {content['rules']}"


def exported(form: str, least: int) -> Check:
    """A check that an export has so many rows or more."""

    def check(body: bytes) -> str | None:
        content = plain(body)
        if form == "parquet":
            rows = pq.read_metadata(io.BytesIO(content)).num_rows
        else:
            rows = content.count(b'\n{"id":') if form == "json" else content.count(b"\n") - 1
        return None if rows >= least else f"{rows} rows, fewer than {least}"

    return check


def submissions(asker: Asker, runs: Sequence[tuple[Result, Path]], count: int) -> Iterator[Asked]:
    """So many submissions, each with an identity and a configuration of its own."""
    archives = [archive_of(result, folder) for result, folder in runs]
    for number in range(count):
        result, _ = runs[number % len(runs)]
        yield asker.submission(changed(result), archives[number % len(runs)])


def reads(asker: Asker, sent: Sequence[str], rng: random.Random) -> list[Kind]:
    """The kinds of reads.

    Args:
        asker: Makes the requests.
        sent: Ids of results that came with their files.
        rng: Chooses.
    """
    first = asker.json(f"{BASE}/results?limit=50")
    cursor, items = first["next"], first["items"]
    engines = sorted({item["engine"]["name"] for item in items})
    hardware = sorted({item["hardware"]["id"] for item in items})
    models = rng.sample(MODELS, 100)
    filters: list[dict[str, object]] = [
        *({"model": model} for model in models[:60]),
        *({"engine": name} for name in engines),
        *({"hardware": name, "ranked": "true"} for name in hardware),
        *({"concurrency_min": n, "concurrency_max": 4 * n} for n in (1, 4, 16, 64)),
        {"tier": "recomputed", "precision": items[0]["precision"]},
    ]
    states: list[dict[str, object]] = [
        *({"model": model} for model in models[:20]),
        *({"engine": name, "sort": sort} for name in engines for sort in SORTS),
        *({"hardware": name} for name in hardware),
        *({"sort": sort} for sort in SORTS),
        *({"q": word} for word in WORDS),
        {"cursor": cursor, "from": 50},
    ]
    kinds: list[Kind] = []

    def add(name: str, share: float, paths: Sequence[str], check: Check | None = None) -> None:
        kinds.append(Kind(name, share, asker.get(name, paths, check)))

    add("list, the newest 50", 12, [f"{BASE}/results?limit=50"] * 10, listed(50))
    add("list, filtered", 12, [f"{BASE}/results?{urlencode(one)}" for one in filters], listed())
    add("list, sorted", 8, [f"{BASE}/results?limit=50&sort={sort}" for sort in SORTS], listed(50))
    add("list, main ranking by S-MBU", 3, [f"{BASE}/results?ranked=true&sort=-decode.s_mbu"], listed(50))
    add("list, after a cursor", 6, [f"{BASE}/results?limit=50&cursor={cursor}"], listed(50))
    add("list, by a word", 4, [f"{BASE}/results?q={quote(word)}" for word in WORDS], listed())
    add("one result", 12, [f"{BASE}/results/{identifier}" for identifier in sent])
    pairs = ("x=tpot.p50&y=output_tokens_per_second", "x=ttft.p50&y=tpot.p50", "x=e2e.p50&y=decode.s_mbu")
    fronts = [f"{pair}{more}" for pair in pairs for more in ("", f"&engine={engines[0]}")]
    add("front of two metrics", 2, [f"{BASE}/pareto?{front}" for front in fronts], listed())
    for form in FORMS:
        paths = [f"{BASE}/export.{form}?model={quote(model)}" for model in models]
        add(f"export of a model, {form}", 1, paths, exported(form, 200))
    for page, share in PAGES.items():
        queries = [f"?id={identifier}" for identifier in sent] if page == "/result" else [""]
        add(f"page {page}", share, [page + query for query in queries])
        if events := events_of(asker.text(page), page):
            kinds.append(Kind(f"opened {page}", share, asker.event(f"opened {page}", events[0], queries)))
        if page == "/board":
            changes = [f"?{urlencode(state)}" for state in states]
            kinds.append(Kind("board, changed", 8, asker.event("board, changed", events[1], changes)))
    files = re.findall(r'(?:href|src)="(?:\./|/)((?:assets|look)/[^"]+)"', asker.text("/board"))
    add("file of a page", 6, [f"/{name}" for name in files])
    return kinds


def events_of(page: str, path: str) -> list[int]:
    """Numbers of a page's events: what it asks when it is opened, then what its form asks."""
    start = "window.gradio_config = "
    config = json.JSONDecoder().raw_decode(page[page.index(start) + len(start) :])[0]
    found: list[int] = config["page"][path.strip("/")]["dependencies"]
    return found
