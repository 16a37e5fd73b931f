"""Readers of what servers answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hostile.parser import TESTS, Parser, as_json


def answers() -> list[Parser]:
    from moecap.load.answers import decode_answer
    from moecap.load.llamacpp_stream import decode_llamacpp_answer
    from moecap.load.sglang_stream import decode_sglang_answer
    from moecap.tasks.judge import _EndpointError, _read
    from moecap_backends.exposition import read_exposition, watched_lines

    recordings = TESTS / "recordings"
    openai = json.loads((recordings / "streams.json").read_text())
    llamacpp = json.loads((recordings / "llamacpp_streams.json").read_text())
    sglang = json.loads((recordings / "sglang_generate.json").read_text())

    def reply(path: Path, kind: str) -> Any:
        """The reply in one read and in reads of odd lengths."""
        from moecap.load.connection import Reply

        body = path.read_bytes()
        cut = len(body) // 3 + 1
        reads = [(10 + n, body[n * cut : (n + 1) * cut]) for n in range(3)]
        return Reply(1, 200, {"content-type": kind}, reads, 100)

    def streamed(decode: Callable[..., Any]) -> Callable[[Path], object]:
        def read(path: Path) -> object:
            found = [decode(reply(path, kind)) for kind in ("text/event-stream", "application/json")]
            found.append(decode(_refused(path)))
            return found

        return read

    def _refused(path: Path) -> Any:
        from moecap.load.connection import Reply

        return Reply(1, 500, {}, [(2, path.read_bytes())], 3)

    def metrics(path: Path) -> object:
        body = path.read_bytes()
        watched_lines(body)
        return read_exposition(body)

    def judged(path: Path) -> object:
        try:
            return _read(path.read_bytes())
        except _EndpointError as error:
            return error

    exposition = (
        b"# HELP vllm:num_requests_running Running.\n# TYPE vllm:num_requests_running gauge\n"
        b'vllm:num_requests_running{engine="0",model_name="/models/m"} 3.0\n'
        b'# TYPE vllm:num_preemptions counter\nvllm:num_preemptions_total{engine="0"} 1e3\n'
        b'# TYPE vllm:e2e histogram\nvllm:e2e_bucket{le="+Inf"} 2\nvllm:e2e_sum 1.5\nvllm:e2e_count 2\n'
    )
    judge = as_json({"model": "m", "choices": [{"message": {"content": "[[A>B]]"}}]})
    return [
        Parser("stream-openai", "body", streamed(decode_answer), _bodies(openai)),
        Parser("stream-llamacpp", "body", streamed(decode_llamacpp_answer), _bodies(llamacpp)),
        Parser("stream-sglang", "body", streamed(decode_sglang_answer), _bodies(sglang)),
        Parser(
            "http-response",
            "body",
            _http,
            (
                (
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
                    b"5\r\ndata:\r\n0\r\n\r\n"
                ),
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            ),
        ),
        Parser("metrics", "body", metrics, (exposition,)),
        Parser("judge", "body", judged, (judge,)),
        Parser(
            "leaderboard",
            "body",
            _board,
            (
                as_json(
                    {
                        "title": "no",
                        "status": 422,
                        "detail": "d",
                        "type": "https://x/rules-failed",
                        "rules": [
                            {
                                "id": "r",
                                "text": "t",
                                "outcome": "failed",
                                "differences": [{"metric": "m", "stored": 1, "recomputed": 2}],
                            }
                        ],
                        "errors": [{"where": "w", "text": "t"}],
                    }
                ),
                as_json({"items": [], "next": None}),
            ),
        ),
    ]


def _bodies(recorded: Any) -> tuple[bytes, ...]:
    """The bodies in a file of recordings, wherever they stand."""
    found: list[bytes] = []

    def look(value: Any) -> None:
        if isinstance(value, dict):
            for item in value.values():
                look(item)
        elif isinstance(value, list):
            for item in value:
                look(item)
        elif isinstance(value, str) and "data:" in value:
            found.append(value.encode()[:20_000])

    look(recorded)
    return tuple(found[:6])


def _http(path: Path) -> object:
    import asyncio

    from moecap.load.connection import Connection

    class Wire(asyncio.Transport):
        def write(self, data: Any) -> None:
            pass

        def abort(self) -> None:
            pass

    async def answered() -> object:
        connection = Connection()
        connection.connection_made(Wire())
        reply, _ = connection.ask(b"GET / HTTP/1.1\r\n\r\n", 10**12)
        body = path.read_bytes()
        for start in range(0, len(body), len(body) // 5 + 1):
            connection.data_received(body[start : start + len(body) // 5 + 1])
        connection.connection_lost(None)
        return reply

    return asyncio.run(answered())


def _board(path: Path) -> object:
    import httpx2

    from moecap.client.transport import Transport

    found: list[object] = []
    for status in (200, 422, 302):
        body = path.read_bytes()
        transport = Transport("http://127.0.0.1:1", None)
        transport._http = httpx2.Client(
            base_url=transport.url,
            transport=httpx2.MockTransport(lambda _, s=status, b=body: httpx2.Response(s, content=b)),
        )
        from moecap.errors import MoecapError

        try:
            found.append(transport.json("GET", "/api", again=False))
        except MoecapError as error:
            found.append(error)
    return found
