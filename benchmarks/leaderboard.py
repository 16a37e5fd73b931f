"""Submissions a second with recomputation, and reads a second, of a leaderboard with 100, 10,000 and 100,000 results.

usage: python benchmarks/leaderboard.py [--sizes 100 10000 100000] [--seconds 5] [--clients 4] [--db URL]

The service runs as a process of its own (`moecap serve` on a file of SQLite, or on the database of --db, which must be
empty). The store is filled directly with rows of the runs that the package carries, with other identities, owners,
models and numbers; their files are kept once. Then client processes with one connection each ask as fast as they are
answered, one kind of question at a time; they share the processors with the service. Submissions go through the API:
runs of the package with other identities, examined in full. Printed: answers a second, the median and the 99th
percentile of their time, the processor time of the service (its examiners included) for one, and bytes of an answer.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import multiprocessing
import os
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from filled_board import KEY, archive_of, carried_runs, changed, fill, multipart, processor_seconds, service

from moecap.result import Result


def ask(url: str, paths: list[str], seconds: float, answers: multiprocessing.Queue[list[tuple[float, int]]]) -> None:
    """Ask in turns as fast as answers come; the seconds and bytes of each."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    seen: list[tuple[float, int]] = []
    end, number = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        start = time.perf_counter()
        connection.request("GET", paths[number % len(paths)])
        response = connection.getresponse()
        body = response.read()
        assert response.status == 200, (paths[number % len(paths)], response.status, body[:300])
        seen.append((time.perf_counter() - start, len(body)))
        number += 1
    answers.put(seen)


def reads(url: str, paths: list[str], seconds: float, clients: int) -> tuple[float, np.ndarray, float]:
    """Answers a second, the seconds of each, and mean bytes."""
    answers: multiprocessing.Queue[list[tuple[float, int]]] = multiprocessing.Queue()
    workers = [multiprocessing.Process(target=ask, args=(url, paths, seconds, answers)) for _ in range(clients)]
    for worker in workers:
        worker.start()
    seen = [pair for _ in workers for pair in answers.get()]
    for worker in workers:
        worker.join()
    times = np.array([pair[0] for pair in seen])
    return len(seen) / seconds, times, float(np.mean([pair[1] for pair in seen]))


def questions(url: str) -> dict[str, list[str]]:
    """Paths of each kind of question."""
    with contextlib.closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)) as connection:
        connection.request("GET", "/api/v1/results?limit=50&sort=published")
        found = json.loads(connection.getresponse().read())
    base, cursor = "/api/v1/results", found["next"]
    deep = f"{base}?limit=50&sort=published" + (f"&cursor={cursor}" if cursor else "")
    return {
        "first page, the newest 50": [f"{base}?limit=50"],
        "page after a cursor": [deep],
        "50 by tpot.p50": [f"{base}?limit=50&sort=tpot.p50"],
        "50 of the main ranking by S-MBU": [f"{base}?limit=50&ranked=true&sort=-decode.s_mbu"],
        "50 of a model": [f"{base}?limit=50&model=org-{n % 40}/model-{n}" for n in range(100)],
        "50 of a model by tpot.p50": [
            f"{base}?limit=50&sort=tpot.p50&model=org-{n % 40}/model-{n}" for n in range(100)
        ],
        "50 by a word": [f"{base}?limit=50&q=model-{n}" for n in range(40)],
        "front of 2,000": ["/api/v1/pareto?x=tpot.p50&y=output_tokens_per_second"],
    }


def submissions(url: str, runs: list[tuple[Result, Path]], seconds: float) -> tuple[np.ndarray, list[str]]:
    """Seconds of submissions one after the other, each examined, and the paths of their results."""
    parts, times, paths = urlsplit(url), [], []
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 2:
        result, folder = runs[len(times) % len(runs)]
        fresh = changed(result)
        parts_sent = {"result": fresh.model_dump_json().encode(), "observations": archive_of(result, folder)}
        body, kind = multipart(parts_sent)
        start = time.perf_counter()
        connection.request(
            "POST", "/api/v1/submissions", body, {"Content-Type": kind, "Authorization": f"Bearer {KEY}"}
        )
        response = connection.getresponse()
        content = response.read()
        assert response.status == 201, content[:500]
        times.append(time.perf_counter() - start)
        paths.append(f"/api/v1/results/{fresh.id}")
    return np.array(times), paths


def main() -> None:
    """Fill, ask and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 10_000, 100_000])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--db")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="moecap-benchmark-") as name:
        data = Path(name)
        runs = carried_runs(data)
        url = chosen.db or f"sqlite:///{data / 'board.sqlite'}"
        for size in sorted(chosen.sizes):
            start = time.perf_counter()
            fill(url, runs, size)
            took = time.perf_counter() - start
            print(f"\n{size:,} results, filled in {took:.1f} s; load of the machine {os.getloadavg()[0]:.1f}")
            with service(data, url, examiners=1) as (address, process):
                for what, paths in questions(address).items():
                    before = processor_seconds(process)
                    found = reads(address, paths, chosen.seconds, chosen.clients)
                    show(what, processor_seconds(process) - before, *found)
                submissions(address, runs, 0)  # the first one starts the process that examines
                before = processor_seconds(process)
                times, sent = submissions(address, runs, chosen.seconds)
                spent = processor_seconds(process) - before
                show("submissions, recomputed", spent, 1 / float(times.mean()), times, None)
                before = processor_seconds(process)
                found = reads(address, sent, chosen.seconds, chosen.clients)
                show("one result with its files", processor_seconds(process) - before, *found)


def show(what: str, spent: float, rate: float, times: np.ndarray, size: float | None) -> None:
    """Print a line."""
    middle, high = np.percentile(times, (50, 99)) * 1e3
    each = spent / len(times) * 1e3
    sized = "" if size is None else f"  {size:8.0f} B"
    line = f"{rate:8.1f}/s  median {middle:7.1f} ms  99th {high:7.1f} ms  processor {each:6.2f} ms"
    print(f"  {what:34} {line}{sized}", flush=True)


if __name__ == "__main__":
    main()
