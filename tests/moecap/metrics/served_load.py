"""A load as a continuously batching engine would answer it, with the steps that it took and what a client saw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

MS = 1_000_000


@dataclass(frozen=True)
class Load:
    """What happened.

    Attributes:
        requests: As requests.parquet has them.
        chunks: As chunks.parquet has them.
        steps: For each step, end in ns and {request: (start, new)}.
    """

    requests: pd.DataFrame
    chunks: pd.DataFrame
    steps: list[tuple[float, dict[int, tuple[int, int]]]]


@dataclass(frozen=True)
class Job:
    prompt: int
    answer: int
    cached: int = 0


def served_load(
    jobs: list[Job],
    *,
    concurrency: int,
    rng: np.random.Generator,
    scatter: float = 0.0,
    merged: float = 0.0,
    prefill_first: bool = False,
    most: int = 1 << 30,
) -> Load:
    """Serve jobs in a closed loop: decode steps of 20 ms or so, and 0.1 ms for each prompt token of a step.

    Args:
        jobs: The requests, in order.
        concurrency: How many are in flight.
        rng: What is random.
        scatter: Most milliseconds by which a chunk comes later than its step.
        merged: Probability that a token waits for the next one's chunk.
        prefill_first: Whether prompts have steps of their own (SGLang) or join the decode steps (vLLM).
        most: Tokens of a step; decoding requests come first, then prompts in their order, in parts.
    """
    now, waiting, running = 1e9, list(range(len(jobs))), []
    free = [now] * min(concurrency, len(jobs))  # when the client sends the next request of each slot
    sent: dict[int, float] = {}
    steps: list[tuple[float, dict[int, tuple[int, int]]]] = []
    tokens: dict[int, list[float]] = {}
    entries: dict[int, int] = {}  # of the KV cache, while the prompt is fed
    while waiting or running or entries:
        if not running and not entries:
            now = max(now, min(free))
        while waiting and free and min(free) <= now:
            r = waiting.pop(0)
            sent[r], entries[r] = min(free), jobs[r].cached
            free.remove(min(free))
        decoding = [] if prefill_first and entries else list(running)
        room, sequences = most - len(decoding), {}
        for r, start in entries.items():
            part = min(jobs[r].prompt - start, room)
            if part > 0:
                sequences[r] = (start, part)
                room -= part
        prompts = sum(part for _, part in sequences.values())
        entries = {r: start + sequences.get(r, (0, 0))[1] for r, start in entries.items()}
        new = [r for r, start in entries.items() if start == jobs[r].prompt]
        entries = {r: start for r, start in entries.items() if start < jobs[r].prompt}
        sequences |= {r: (jobs[r].prompt + len(tokens[r]) - 1, 1) for r in decoding}
        now += (20 * rng.uniform(0.9, 1.1) * bool(decoding) + 1 + 0.1 * prompts) * MS
        steps.append((now, sequences))
        for r in new + decoding:
            before = tokens.setdefault(r, [])
            before.append(max([now + rng.uniform(0, scatter) * MS, *before[-1:]]))
            if len(before) == jobs[r].answer:
                free.append(before[-1] + 0.2 * MS)
        running = [r for r in running + new if len(tokens[r]) < jobs[r].answer]
    rows, chunks = [], []
    for r, job in enumerate(jobs):
        times = tokens[r]
        for number, time in enumerate(times, 1):
            if number < len(times) and number > 1 and rng.random() < merged:
                continue
            chunks.append((r, int(time), number, "content"))
        rows.append((r, "load", int(sent[r]), int(times[-1]), job.prompt, job.answer, job.cached or None))
    columns = ["request", "stage", "sent_ns", "ended_ns", "input_tokens", "output_tokens", "cached_tokens"]
    requests = pd.DataFrame(rows, columns=columns)
    requests["input_tokens_asked"] = requests["input_tokens"]
    return Load(requests, pd.DataFrame(chunks, columns=["request", "time_ns", "tokens", "kind"]), steps)
