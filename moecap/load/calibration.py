"""How many chunks a second this client can take, measured against a stub of our own before a run.

The stub streams to as many connections as the run will have. What counts is the processor time that the client needs
for a chunk, not how fast the stub happens to be: the ceiling is what one core carries at that price. Decoding is not in
it, since answers are decoded after they have ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from moecap.errors import RunError
from moecap.load.connection import ConnectionPool, Target
from moecap.load.driver import Exchange, Turn, drive_closed, undisturbed
from moecap.load.loop import run_loop

__all__ = ["Calibration", "calibrate", "running_stub"]

START_SECONDS = 20.0
MOST_STREAMS = 256
CHUNKS_PER_SECOND = 5_000.0
SECONDS = 0.6


@dataclass(frozen=True, slots=True)
class Calibration:
    """The client's own speed.

    Attributes:
        chunks_per_second: Chunks that one core of this machine can take, the ceiling of one process.
        cpu_seconds_per_chunk: Processor time of the client for one chunk.
        chunks: How many were measured.
        streams: On how many connections at once.
    """

    chunks_per_second: float
    cpu_seconds_per_chunk: float
    chunks: int
    streams: int


@contextlib.contextmanager
def running_stub(first: float = 0.0, gap: float = 0.0) -> Iterator[Target]:
    """A stub server in a process of its own, ended on leaving.

    Args:
        first: Seconds until the first chunk of an answer, where a request does not say.
        gap: Seconds between its chunks.

    Raises:
        RunError: If it does not start.
    """
    command = [sys.executable, "-m", "moecap.load.stub", str(first), str(gap)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    try:
        port = process.stdout.readline().strip()
        if not port.isdigit():
            raise RunError("the stub server for the client's calibration did not start; run moecap doctor")
        yield Target.parse(f"http://127.0.0.1:{port}")
    finally:
        process.stdin.close()
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def calibrate(concurrency: int) -> Calibration:
    """Measure the client for about a second.

    Args:
        concurrency: Streams that the run will have at once.

    Raises:
        RunError: If the stub does not answer.
    """
    streams = min(concurrency, MOST_STREAMS)
    gap = streams / CHUNKS_PER_SECOND
    tokens = max(2, round(SECONDS / gap))
    with running_stub() as target:
        seconds, chunks = run_loop(_measure(target, streams, tokens, gap))
    return Calibration(chunks / seconds, seconds / chunks, chunks, streams)


async def _measure(target: Target, streams: int, tokens: int, gap: float) -> tuple[float, int]:
    def session(first: float, count: int) -> list[Turn]:
        body = json.dumps({"max_tokens": count, "first": first, "gap": gap}).encode()
        request = target.request("/v1/completions", body)
        return [Turn("stub", lambda _replies: request)]

    async with ConnectionPool(target, START_SECONDS) as pool:
        await drive_closed(pool, [session(0.0, 2)] * streams, streams, [], lambda _exchange: None)
        log: list[Exchange] = []
        spread = [session(gap * i / streams, tokens) for i in range(streams)]
        with undisturbed():
            await asyncio.sleep(0)
            before = time.process_time()
            await drive_closed(pool, spread, streams, log, lambda _exchange: None)
            seconds = time.process_time() - before
    failed = next((e.reply.error for e in log if e.reply is not None and e.reply.error), None)
    if failed is not None:
        raise RunError(f"the client's calibration against its own stub failed: {failed}; run it again")
    return seconds, streams * tokens
