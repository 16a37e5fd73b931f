"""A leaderboard with many rows, as a process of its own: what its benchmarks share.

The store is filled directly with rows of the runs that the package carries, with other identities, owners, models and
numbers; their files are kept once. A submission is such a run with another identity, examined in full.
"""

from __future__ import annotations

import contextlib
import copy
import io
import os
import random
import re
import secrets
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

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
_SAID = re.compile(r"leaderboard on (http://\S+);")


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
    log = data / "service.log"
    with log.open("wb") as said, subprocess.Popen(words, stderr=said, env=os.environ | limits | own) as process:
        try:
            while not (found := _SAID.search(log.read_text())):
                if process.poll() is not None:
                    raise SystemExit(log.read_text())
                time.sleep(0.1)
            yield found[1], psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait()


def processor_seconds(service: psutil.Process) -> float:
    """Processor time of a process, of those that it started and that still run, and of those that it has seen end."""
    ended = service.cpu_times()
    running = sum(p.cpu_times().user + p.cpu_times().system for p in (service, *service.children(recursive=True)))
    return running + ended.children_user + ended.children_system


def changed(result: Result) -> Result:
    """A result of the same observations with another identity, which is as true."""
    note = {**result.provenance.environment, "python": secrets.token_hex(4)}
    return result.model_copy(
        update={"provenance": result.provenance.model_copy(update={"environment": note})}
    ).identified()


def archive_of(result: Result, folder: Path) -> bytes:
    """The observation files as they are sent."""
    archive = io.BytesIO()
    pack({name: folder / name for name in result.observations if (folder / name).exists()}, archive)
    return archive.getvalue()


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
