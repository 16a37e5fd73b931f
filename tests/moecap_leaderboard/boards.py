"""A leaderboard on each database, and real results of this project to send to it."""

from __future__ import annotations

import io
import json
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from moecap.files import file_sha256
from moecap.publishing.archive import pack
from moecap.result import Result, write_result
from moecap_leaderboard.app import create_app
from moecap_leaderboard.examiners import Examiners
from moecap_leaderboard.rederivation import rederived
from moecap_leaderboard.service import Service
from moecap_leaderboard.settings import Limits, Settings

RUNS = files("moecap_leaderboard") / "demo_data" / "runs"


@dataclass(frozen=True)
class Run:
    """A run directory that can be changed: what is sent of it."""

    folder: Path

    @property
    def result(self) -> dict[str, Any]:
        return json.loads((self.folder / "result.json").read_bytes())

    @property
    def archive(self) -> bytes:
        target = io.BytesIO()
        names = [name for name in self.result["observations"] if (self.folder / name).exists()]
        pack({name: self.folder / name for name in names}, target)
        return target.getvalue()

    @property
    def parts(self) -> dict[str, tuple[str, bytes]]:
        result = (self.folder / "result.json").read_bytes()
        return {"result": ("result.json", result), "observations": ("observations.tar.gz", self.archive)}

    def changed(self, change: Callable[[dict[str, Any]], None], *, identified: bool = True) -> Run:
        """The run with another result, with its own identity or the old one."""
        content = self.result
        change(content)
        if identified:
            write_result(self.folder, Result.model_validate(content).identified())
        else:
            (self.folder / "result.json").write_text(json.dumps(content))
        return self

    def variant(self, number: int) -> Run:
        """The same observations in a result of another identity, which is as true."""
        return self.changed(lambda content: content["provenance"]["environment"].update(python=f"3.11.{100 + number}"))

    def repeated(self, slower: float = 1.001) -> Run:
        """What another run of the same would have given, a little slower: every time since the first one is longer."""
        digests, tables = {}, {}
        for path in sorted(self.folder.glob("*.parquet")):
            tables[path] = pq.read_table(path).to_pandas(), pq.read_schema(path)
        first = min(int(frame["time_ns"].min()) for frame, _ in tables.values() if "time_ns" in frame and len(frame))
        for path, (frame, schema) in tables.items():
            for name in [name for name in frame if name.endswith("_ns")]:
                known = frame[name].notna()
                start = 0 if name in ("duration_ns", "wait_ns") else first
                longer = [start + int((int(value) - start) * slower) for value in frame.loc[known, name]]
                frame.loc[known, name] = longer
            pq.write_table(pa.Table.from_pandas(frame, schema, preserve_index=False), path)
            digests[path.name] = file_sha256(path)
        stated = {name: sha256 for name, sha256 in digests.items() if name in self.result["observations"]}
        self.changed(lambda content: content["observations"].update(stated))
        write_result(self.folder, rederived(self.folder))
        return self


@pytest.fixture(scope="session")
def derived_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The runs that the package carries, with the numbers of this version, by name."""
    made = {}
    for run in RUNS.iterdir():
        folder = tmp_path_factory.mktemp(run.name)
        for entry in run.iterdir():
            (folder / entry.name).write_bytes(entry.read_bytes())
        write_result(folder, rederived(folder))
        made[run.name] = folder
    return made


@pytest.fixture
def make_run(derived_runs: dict[str, Path], tmp_path: Path) -> Callable[..., Run]:
    """A function from the name of a run to a copy of it that may be changed."""

    def make(name: str = "vllm-bf16") -> Run:
        folder = tmp_path / f"{name}-{secrets.token_hex(4)}"
        shutil.copytree(derived_runs[name], folder)
        return Run(folder)

    return make


@pytest.fixture(scope="session")
def examiners() -> Iterator[Examiners]:
    shared = Examiners(1)
    yield shared
    shared.close()


@pytest.fixture(scope="session")
def postgres(postgres_programs: Path) -> Iterator[str]:
    """A PostgreSQL server of this session's own: the start of the URLs of its databases."""
    folder = Path(tempfile.mkdtemp(prefix="moecap-postgres-"))
    as_user: dict[str, Any] = {}
    if os.getuid() == 0:  # the server refuses to run as root
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": "/"}
    data, log = folder / "data", folder / "log"

    def program(name: str, *arguments: object) -> None:
        words = [str(postgres_programs / name), *map(str, arguments)]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, timeout=120, **as_user)

    program("initdb", "--pgdata", data, "--username", "moecap", "--auth", "trust", "--encoding", "UTF8", "--no-sync")
    port = _free_port()
    settings = f"-p {port} -c listen_addresses=127.0.0.1 -c fsync=off -c unix_socket_directories={folder}"
    program("pg_ctl", "--pgdata", data, "--log", log, "--wait", "--options", settings, "start")
    yield f"postgresql://moecap@127.0.0.1:{port}"
    program("pg_ctl", "--pgdata", data, "--mode", "immediate", "stop")
    shutil.rmtree(folder)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'board.sqlite'}"
    import psycopg

    server, name = request.getfixturevalue("postgres"), f"board_{secrets.token_hex(6)}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")  # which costs less than a database of its own
    return f"{server}/postgres?options=-csearch_path%3D{name}"


@pytest.fixture
def board(database_url: str, tmp_path: Path, examiners: Examiners) -> Iterator[Board]:
    """A leaderboard on an empty store."""
    settings = Settings(database=database_url, data=tmp_path / "data", limits=Limits(reads_at_once=10_000))
    service = Service.open(settings, examiners)
    with TestClient(create_app(service)) as client:
        yield Board(service, client)


@dataclass(frozen=True)
class Board:
    """A leaderboard and a client of it."""

    service: Service
    client: TestClient

    def key(self, owner: str, *scopes: str) -> dict[str, str]:
        """The header of a new key."""
        return {"Authorization": f"Bearer {self.service.keys.new(owner, scopes or ['submit'])[1]}"}

    def submit(self, run: Run, owner: str = "ada", **fields: str) -> Any:
        """What the leaderboard answers to a submission."""
        return self.client.post("/api/v1/submissions", headers=self.key(owner), files=run.parts, data=fields)

    def get(self, path: str, **parameters: Any) -> Any:
        """What it answers to a question; a problem fails the test."""
        answer = self.client.get(f"/api/v1{path}", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()
