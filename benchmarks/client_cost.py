"""What a streamed chunk costs the client: moecap's own against aiohttp and httpx, on the same stub in the same run.

usage: python benchmarks/client_cost.py [--streams 100] [--tokens 100] [--rounds 5]   (needs aiohttp and httpx)

Each client reads the same streams from a stub in another process, 5,000 chunks a second over all of them and evenly
spread, so that it has to wake up for nearly every one, and decodes every chunk; moecap decodes after the answers have
ended, which is in its figure. Printed are the median of the rounds' processor microseconds a chunk and of the rounds'
ratios to aiohttp with json on asyncio's own loop. The clients take turns in each round. Beside them stands a bare
protocol on uvloop that stamps and keeps the bytes and decodes nothing: what the system and the loop take themselves.

Then the truth of moecap's times: the error of TTFT and of TPOT against the stub's own clock, and in the same seconds
how late the system wakes another process that sleeps for a millisecond at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import uvloop

from moecap.load.answers import decode_answer
from moecap.load.calibration import running_stub
from moecap.load.connection import Target
from moecap.load.connection_pool import ConnectionPool
from moecap.load.driver import Exchange, Turn, drive_closed, undisturbed

CHUNKS_PER_SECOND = 5_000.0
MILLISECOND = 1_000_000
Client = Callable[[Target, list[bytes]], Coroutine[Any, Any, int]]


def bodies(streams: int, tokens: int, gap: float | None = None) -> list[bytes]:
    """One request body for each stream, their chunks spread evenly in time."""
    gap = gap or streams / CHUNKS_PER_SECOND
    firsts = (0.2 + gap * i / streams for i in range(streams))
    return [json.dumps({"max_tokens": tokens, "first": first, "gap": gap}).encode() for first in firsts]


async def moecap_client(target: Target, requests: list[bytes]) -> int:
    """Our own client, with the decoding of all answers."""
    log: list[Exchange] = []
    rendered = [target.request("/v1/completions", body) for body in requests]
    sessions = [(Turn("x", lambda _replies, r=r: r),) for r in rendered]
    async with ConnectionPool(target, 60) as pool:
        await drive_closed(pool, sessions, len(sessions), log, lambda _exchange: None)
    return sum(decode_answer(e.reply).output_tokens or 0 for e in log if e.reply is not None)


async def aiohttp_client(target: Target, requests: list[bytes]) -> int:
    """aiohttp, line by line, json for each chunk: what vLLM's own benchmark does."""
    import aiohttp

    async def one(session: Any, body: bytes) -> int:
        seen = 0
        async with session.post(f"http://{target.name}/v1/completions", data=body) as answer:
            async for line in answer.content:
                if line.startswith(b"data: ") and not line.startswith(b"data: [DONE]"):
                    time.perf_counter()
                    seen += len(json.loads(line[6:])["choices"])
        return seen

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        return sum(await asyncio.gather(*(one(session, body) for body in requests)))


async def httpx_client(target: Target, requests: list[bytes]) -> int:
    """httpx, line by line, json for each chunk."""
    import httpx

    async def one(client: Any, body: bytes) -> int:
        seen = 0
        async with client.stream("POST", f"http://{target.name}/v1/completions", content=body) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data: ") and not line.startswith("data: [DONE]"):
                    time.perf_counter()
                    seen += len(json.loads(line[6:])["choices"])
        return seen

    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=60) as client:
        return sum(await asyncio.gather(*(one(client, body) for body in requests)))


class Bare(asyncio.Protocol):
    """Stamps and keeps what it reads until the end of a chunked body."""

    def __init__(self) -> None:
        self.reads: list[tuple[int, bytes]] = []
        self.ended = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        """One read."""
        self.reads.append((time.monotonic_ns(), data))
        if data.endswith(b"0\r\n\r\n"):
            self.ended.set_result(None)


async def bare_client(target: Target, requests: list[bytes]) -> int:
    """Nothing but reading."""
    loop = asyncio.get_running_loop()
    opened = [await loop.create_connection(Bare, target.host, target.port) for _ in requests]
    for (transport, _), body in zip(opened, requests, strict=True):
        transport.write(target.request("/v1/completions", body))
    await asyncio.gather(*(protocol.ended for _, protocol in opened))
    for transport, _ in opened:
        transport.close()
    return sum(b"".join(data for _, data in protocol.reads).count(b'"text":') for _, protocol in opened)


BASE = "aiohttp + json, asyncio"
CLIENTS: dict[str, tuple[Client, Any]] = {
    BASE: (aiohttp_client, asyncio.new_event_loop),
    "aiohttp + json, uvloop": (aiohttp_client, uvloop.new_event_loop),
    "httpx + json, uvloop": (httpx_client, uvloop.new_event_loop),
    "moecap": (moecap_client, uvloop.new_event_loop),
    "bare protocol, uvloop": (bare_client, uvloop.new_event_loop),
}


def cost(client: Client, loop: Any, target: Target, requests: list[bytes], tokens: int) -> float:
    """Processor seconds a chunk."""
    with asyncio.Runner(loop_factory=loop) as runner, undisturbed():
        before = time.process_time()
        seen = runner.run(client(target, requests))
        seconds = time.process_time() - before
    assert seen == len(requests) * tokens, (seen, len(requests) * tokens)
    return seconds / seen


def truth_gap(streams: int) -> float:
    """Seconds between two chunks of a stream where times are compared."""
    return max(0.02, streams / CHUNKS_PER_SECOND)


def lateness(seconds: float) -> list[int]:
    """How late a process that sleeps until each full millisecond is woken, ns."""
    late: list[int] = []
    begin = due = time.monotonic_ns()
    while due < begin + seconds * 1e9:
        due += MILLISECOND
        time.sleep(max(0, due - time.monotonic_ns()) * 1e-9)
        late.append(time.monotonic_ns() - due)
        due = max(due, time.monotonic_ns() - MILLISECOND)  # one long pause counts once
    return late


def truth(target: Target, streams: int) -> tuple[np.ndarray, np.ndarray]:
    """Errors of TTFT and TPOT in seconds against the times that the stub wrote into its chunks."""
    tokens = 40
    log: list[Exchange] = []
    rendered = [target.request("/v1/completions", body) for body in bodies(streams, tokens, truth_gap(streams))]
    sessions = [(Turn("x", lambda _replies, r=r: r),) for r in rendered]

    async def work() -> None:
        async with ConnectionPool(target, 60) as pool:
            await drive_closed(pool, sessions, streams, log, lambda _exchange: None)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, undisturbed():
        runner.run(work())
    ttft, tpot = [], []
    for exchange in log:
        assert exchange.reply is not None
        answer = decode_answer(exchange.reply)
        parts = exchange.reply.body.split(b'"sent_ns":')[1:]
        sent = [int(part.split(b"}")[0]) for part in parts]
        ttft.append((answer.times[0] - sent[0]) * 1e-9)
        ours, theirs = (t[tokens - 1] - t[0] for t in (answer.times, sent))
        tpot.append(abs(ours - theirs) * 1e-9 / (tokens - 1))
    return np.array(ttft), np.array(tpot)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    requests = bodies(arguments.streams, arguments.tokens)
    costs: dict[str, list[float]] = {name: [] for name in CLIENTS}
    with running_stub() as target:
        for _ in range(arguments.rounds):
            for name, (client, loop) in CLIENTS.items():
                costs[name].append(cost(client, loop, target, requests, arguments.tokens))
        for name, values in costs.items():
            ratio = statistics.median(v / base for v, base in zip(values, costs[BASE], strict=True))
            median, low, high = (f(values) * 1e6 for f in (statistics.median, min, max))
            print(f"{name:24s} {median:6.1f} µs a chunk ({low:.1f} to {high:.1f}), {ratio:.2f} of {BASE}")
        with ProcessPoolExecutor(1, get_context("spawn")) as other:
            other.submit(lateness, 0.01).result()
            for streams in (10, 100, 500):
                late = other.submit(lateness, 0.2 + 41 * truth_gap(streams))
                errors = dict(zip(("TTFT", "TPOT"), truth(target, streams), strict=True))
                for name, values in errors.items():
                    report(f"{streams:4d} streams, error of {name}", values * 1e3)
                report("     meanwhile a sleeper woke late by", np.array(late.result()) * 1e-6)


def report(what: str, ms: np.ndarray) -> None:
    """Print the middle and the tail of some times."""
    median, p99 = np.percentile(ms, [50, 99])
    print(f"{what}: median {median:.3f} ms, 99th percentile {p99:.3f} ms, most {ms.max():.3f} ms")


if __name__ == "__main__":
    main()
