"""What a streamed chunk costs the client: moecap's own against aiohttp and httpx, on the same stub in the same run.

usage: python benchmarks/client_cost.py [--streams 100] [--tokens 100] [--rounds 5]   (needs aiohttp and httpx)

Each client reads the same streams from a stub in another process, 5,000 chunks a second over all of them, and decodes
every chunk; moecap decodes after the answers have ended, which is in its figure. Printed are the median of the rounds'
processor microseconds a chunk and the ratio to aiohttp with json on asyncio's own loop. The clients take turns in each
round. Then the truth of moecap's times: the error of TTFT and of TPOT against the stub's own clock.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import uvloop

from moecap.load.answers import decode_answer
from moecap.load.calibration import running_stub
from moecap.load.connection import ConnectionPool, Target
from moecap.load.driver import Exchange, Turn, drive_closed, undisturbed

CHUNKS_PER_SECOND = 5_000.0
Client = Callable[[Target, list[bytes]], Coroutine[Any, Any, int]]


def bodies(streams: int, tokens: int) -> list[bytes]:
    """One request body for each stream, their chunks spread evenly in time."""
    gap = streams / CHUNKS_PER_SECOND
    return [
        json.dumps({"max_tokens": tokens, "first": 0.2 + gap * i / streams, "gap": gap}).encode()
        for i in range(streams)
    ]


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


CLIENTS: dict[str, tuple[Client, Any]] = {
    "aiohttp + json, asyncio": (aiohttp_client, asyncio.new_event_loop),
    "aiohttp + json, uvloop": (aiohttp_client, uvloop.new_event_loop),
    "httpx + json, uvloop": (httpx_client, uvloop.new_event_loop),
    "moecap": (moecap_client, uvloop.new_event_loop),
}


def cost(client: Client, loop: Any, target: Target, requests: list[bytes], tokens: int) -> float:
    """Processor seconds a chunk."""
    with asyncio.Runner(loop_factory=loop) as runner, undisturbed():
        before = time.process_time()
        seen = runner.run(client(target, requests))
        seconds = time.process_time() - before
    assert seen == len(requests) * tokens, (seen, len(requests) * tokens)
    return seconds / seen


def truth(target: Target, streams: int) -> tuple[np.ndarray, np.ndarray]:
    """Errors of TTFT and TPOT in seconds against the times that the stub wrote into its chunks."""
    gap, tokens = max(0.02, streams / CHUNKS_PER_SECOND), 40
    requests = [
        json.dumps({"max_tokens": tokens, "first": 0.2 + gap * i / streams, "gap": gap}).encode()
        for i in range(streams)
    ]
    log: list[Exchange] = []
    rendered = [target.request("/v1/completions", body) for body in requests]
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
        base = statistics.median(costs["aiohttp + json, asyncio"])
        for name, values in costs.items():
            median = statistics.median(values)
            spread = f"{min(values) * 1e6:.1f} to {max(values) * 1e6:.1f}"
            print(
                f"{name:28s} {median * 1e6:6.1f} µs a chunk ({spread}), {median / base:.2f} of aiohttp + json, asyncio"
            )
        for streams in (10, 100, 500):
            for name, errors in zip(("TTFT", "TPOT"), truth(target, streams), strict=True):
                ms = np.percentile(errors, [50, 99]) * 1e3
                print(f"{streams:4d} streams: error of {name} median {ms[0]:.3f} ms, 99th percentile {ms[1]:.3f} ms")


if __name__ == "__main__":
    main()
