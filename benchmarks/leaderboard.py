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
import copy
import http.client
import io
import json
import multiprocessing
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
from sqlalchemy import func, insert, select

from moecap.publishing.archive import pack
from moecap.result import Result, write_result
from moecap_leaderboard.database import open_database
from moecap_leaderboard.rederivation import rederived
from moecap_leaderboard.rows import row_of_result
from moecap_leaderboard.tables import Audit, Document, Figure, Submission

KEY = f"moecap_{'0' * 16}_{'b' * 43}"
PART = 2000


def carried_runs(folder: Path) -> list[tuple[Result, Path]]:
    """The runs of the package with the numbers of this version."""
    found = []
    for run in sorted((files("moecap_leaderboard") / "demo_data" / "runs").iterdir(), key=lambda entry: entry.name):
        target = folder / run.name
        target.mkdir()
        for entry in run.iterdir():
            (target / entry.name).write_bytes(entry.read_bytes())
        result = rederived(target)
        write_result(target, result)
        found.append((result, target))
    return found


def fill(url: str, runs: list[tuple[Result, Path]], size: int) -> None:
    """Add rows until the store has so many."""
    database, rng = open_database(url), random.Random(size)
    with database.reading() as session:
        there = session.scalar(select(func.count()).select_from(Submission)) or 0
    rows = [row_of_result(result) for result, _ in runs]
    for start in range(there, size, PART):
        tables: dict[type, list[dict[str, object]]] = {Submission: [], Document: [], Figure: [], Audit: []}
        for number in range(start, min(start + PART, size)):
            row, identifier = rows[number % len(rows)], uuid.UUID(int=rng.getrandbits(128)).hex
            summary, factor = copy.deepcopy(row.summary), rng.lognormvariate(0, 1)
            for metric in summary["metrics"].values():
                if metric["value"] is not None:
                    metric["value"] *= factor
            identity, model = f"{rng.getrandbits(256):064x}", f"org-{number % 40}/model-{number % 400}"
            summary["model"] |= {"id": model, "name": model.partition("/")[2]}
            tables[Submission].append(
                row.columns
                | {"model": model, "names": f"{model} {row.columns['names']}", "ranked": number % 3 > 0}
                | {"configuration": f"{rng.getrandbits(64):016x}", "concurrency": 2 ** (number % 9)}
                | {"id": identifier, "content_sha256": identity, "result": identity, "state": "published"}
                | {"owner": f"owner-{number % 200}", "created_us": number, "published_us": number, "summary": summary}
                | {"recomputed": True, "newest": True, "version": 1}
            )
            stated = {"rules": [], "recomputed": {}, "withheld": [], "not_recomputed": [], "record": {"number": number}}
            tables[Document].append({"submission": identifier} | stated)
            tables[Figure] += [
                {"submission": identifier, "name": n, "value": v * factor} for n, v in row.figures.items()
            ]
            tables[Audit].append(
                {"submission": identifier, "time_us": number, "actor": "server", "action": "publish"}
                | {"state": "published", "reason": None}
            )
        with database.writing() as session:
            for table, lines in tables.items():
                session.execute(insert(table), lines)
    database.close()


@contextlib.contextmanager
def service(data: Path, url: str, examiners: int) -> Iterator[tuple[str, psutil.Process]]:
    """The leaderboard as a process: its address and itself."""
    many = "1000000000"
    limits = dict.fromkeys(("MOECAP_READS_PER_SECOND", "MOECAP_READS_AT_ONCE", "MOECAP_WRITES_PER_MINUTE"), many)
    own = {"MOECAP_LEADERBOARD_DATA": str(data), "MOECAP_ADMIN_KEY": KEY, "MOECAP_EXAMINERS": str(examiners)}
    words = [sys.executable, "-m", "moecap", "serve", "--db", url, "--port", "0"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=os.environ | limits | own) as process:
        assert process.stderr is not None
        said: list[str] = []
        try:
            for line in process.stderr:
                said.append(line)
                if "leaderboard on http://" in line:
                    break
            else:
                raise SystemExit("".join(said))
            yield said[-1].split()[3].rstrip(";"), psutil.Process(process.pid)
        finally:
            process.terminate()
            process.stderr.read()


def processor_seconds(service: psutil.Process) -> float:
    """Processor time of a process and those that it started and that still run."""
    return sum(p.cpu_times().user + p.cpu_times().system for p in (service, *service.children(recursive=True)))


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
        note = {**result.provenance.environment, "python": secrets.token_hex(4)}
        provenance = result.provenance.model_copy(update={"environment": note})
        fresh = result.model_copy(update={"provenance": provenance}).identified()
        archive = io.BytesIO()
        pack({name: folder / name for name in fresh.observations if (folder / name).exists()}, archive)
        body, kind = multipart({"result": fresh.model_dump_json().encode(), "observations": archive.getvalue()})
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


def multipart(parts: dict[str, bytes]) -> tuple[bytes, str]:
    """A body of files and its type."""
    edge = secrets.token_hex(16)
    body = b"".join(
        f'--{edge}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for name, content in parts.items()
    )
    return body + f"--{edge}--\r\n".encode(), f"multipart/form-data; boundary={edge}"


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
