"""How many chunks a second this client can take, measured against a stub of our own before a run.

The stub streams to as many connections as the run will have. What counts is the processor time that the client needs
for a chunk, not how fast the stub happens to be: the ceiling of one process is what one core carries at that price.
Decoding is not in it, since answers are decoded after they have ended. Several processes carry that many times as much,
as far as there are cores for them and for the main process, which gathers what they tell and is measured too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil
from typing import Literal

from moecap.errors import RunError
from moecap.hardware.host import usable_processors
from moecap.load.connection import Target
from moecap.load.connection_pool import ConnectionPool
from moecap.load.driver import Exchange, Session, Turn, drive_closed, undisturbed
from moecap.load.loop import run_loop
from moecap.load.processes import drive_processes

__all__ = ["CLIENT_SHARE", "Calibration", "calibrate", "running_stub", "streams_of"]

CLIENT_SHARE = 0.6
"""Share of the client's ceiling beyond which its own delays count as the server's."""

STREAM_CHUNKS_PER_SECOND = 200.0
"""What ``auto`` expects of each stream at most: a token every 5 ms."""

START_SECONDS = 20.0
MOST_STREAMS = 256
CHUNKS_PER_SECOND = 5_000.0
SECONDS = 0.6


@dataclass(frozen=True, slots=True)
class Calibration:
    """The client's own speed.

    Attributes:
        chunks_per_second: Chunks that its processes can take on this machine.
        cpu_seconds_per_chunk: Processor time of the client for one chunk, over all its processes.
        chunks: How many were measured.
        streams: On how many connections at once.
        processes: How many processes send.
    """

    chunks_per_second: float
    cpu_seconds_per_chunk: float
    chunks: int
    streams: int
    processes: int = 1


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


def calibrate(concurrency: int, processes: int | Literal["auto"] = 1, choices: int = 1) -> Calibration:
    """Measure the client for about a second; ``auto`` may take two such measurements.

    Args:
        concurrency: Streams that the run will have at once.
        processes: How many processes send. ``auto`` takes more than one where one could not take
            ``STREAM_CHUNKS_PER_SECOND`` of every choice of every stream with ``CLIENT_SHARE`` of its ceiling, and at
            most one for every two cores.
        choices: Answers that come in one stream.

    Raises:
        RunError: If the stub does not answer.
    """
    _, cores = usable_processors()
    if processes == "auto":
        one = calibrate(concurrency, 1)
        expected = concurrency * choices * STREAM_CHUNKS_PER_SECOND
        needed = ceil(expected / (CLIENT_SHARE * one.chunks_per_second))
        several = min(needed, int(cores / 2), concurrency)
        return calibrate(concurrency, several) if several > 1 else one
    streams = max(processes, min(concurrency, MOST_STREAMS))
    with running_stub() as target:
        if processes == 1:
            seconds, chunks = run_loop(_measure(target, streams))
            return Calibration(chunks / seconds, seconds / chunks, chunks, streams)
        theirs, ours, chunks = run_loop(_measure_processes(target, streams, processes))
    busiest = max(theirs / processes, ours, (theirs + ours) / cores)
    return Calibration(chunks / busiest, (theirs + ours) / chunks, chunks, streams, processes)


def streams_of(arrivals: Sequence[float], tokens: Sequence[int]) -> int:
    """Most answers of an open loop that stream at once if each streams at ``STREAM_CHUNKS_PER_SECOND``.

    A slower server has more of them in flight, and as many chunks a second of all together.

    Args:
        arrivals: Seconds at which each request or session is due, [count].
        tokens: Tokens of its answer, of a session those of all its turns, [count].
    """
    ends = [due + count / STREAM_CHUNKS_PER_SECOND for due, count in zip(arrivals, tokens, strict=True)]
    edges = sorted([(due, 1) for due in arrivals] + [(end, -1) for end in ends])
    return max(accumulate(change for _, change in edges))


def _sessions(target: Target, streams: int) -> tuple[list[Session], int]:
    """A session for each stream, their chunks spread evenly in time, and the chunks of each."""
    gap = streams / CHUNKS_PER_SECOND
    tokens = max(2, round(SECONDS / gap))
    return [_session(target, gap * i / streams, gap, tokens) for i in range(streams)], tokens


def _session(target: Target, first: float, gap: float, tokens: int) -> Session:
    body = json.dumps({"max_tokens": tokens, "first": first, "gap": gap}).encode()
    request = target.request("/v1/completions", body)
    return (Turn("stub", lambda _replies: request),)


async def _measure(target: Target, streams: int) -> tuple[float, int]:
    """Processor seconds of this process, and the chunks that it took for them."""
    sessions, tokens = _sessions(target, streams)
    async with ConnectionPool(target, START_SECONDS) as pool:
        await drive_closed(pool, [_session(target, 0.0, 0.0, 2)] * streams, streams, [], _unheard)
        log: list[Exchange] = []
        with undisturbed():
            await asyncio.sleep(0)
            before = time.process_time()
            await drive_closed(pool, sessions, streams, log, _unheard)
            seconds = time.process_time() - before
    _refuse_failure(log)
    return seconds, streams * tokens


async def _measure_processes(target: Target, streams: int, processes: int) -> tuple[float, float, int]:
    """Processor seconds of the client's processes together and of this one, and the chunks."""
    sessions, tokens = _sessions(target, streams)
    log: list[Exchange] = []
    with undisturbed():
        before = time.process_time()
        theirs = await drive_processes(target, START_SECONDS, sessions, streams, None, processes, log, _unheard)
        ours = time.process_time() - before
    _refuse_failure(log)
    return theirs, ours, streams * tokens


def _unheard(_exchange: Exchange) -> None:
    """Nobody waits for a single answer of the stub."""


def _refuse_failure(log: Sequence[Exchange]) -> None:
    failed = next((e.reply.error for e in log if e.reply is not None and e.reply.error), None)
    if failed is not None:
        raise RunError(f"the client's calibration against its own stub failed: {failed}; run it again")
