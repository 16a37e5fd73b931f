"""A leaderboard that is killed under submissions, and what must be there afterwards."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import io
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil
import rfc8785
from service_process import ADMIN, free_port

from moecap.publishing.archive import pack
from moecap_leaderboard.blobs import WORKPLACES
from moecap_leaderboard.database import existing_database
from moecap_leaderboard.integrity import check_store

MANY = "1000000000"
LIMITS = ("MOECAP_READS_PER_SECOND", "MOECAP_READS_AT_ONCE", "MOECAP_WRITES_PER_MINUTE", "MOECAP_OWNER_BYTES_PER_DAY")
OURS = ("DATABASE_URL", "HF_", "MOECAP_")
REFUSED_SECONDS = 1.0


@dataclass(frozen=True)
class Moment:
    """When a service is killed.

    Attributes:
        after: How many more must be acknowledged before.
        seconds: How long after that.
        group: Whether all its processes are killed, or it alone.
    """

    after: int
    seconds: float
    group: bool


def moments(seed: int, kills: int, most: int) -> list[Moment]:
    """Random moments, each after 1 to ``most`` acknowledgements."""
    rng = random.Random(seed)
    return [Moment(rng.randint(1, most), rng.random() * 0.3, number % 2 == 1) for number in range(kills)]


@dataclass(eq=False)
class Parcel:
    """One submission, and what was answered to it.

    Attributes:
        result: The id of its result.
        body: What is sent.
        answer: Id and state of the submission, once it is acknowledged.
        sent: How often it was sent and not turned away.
    """

    result: str
    body: bytes
    kind: str
    answer: tuple[str, str] | None = None
    sent: int = 0

    def request(self, port: int) -> bytes:
        """The whole request."""
        head = (
            f"POST /api/v1/submissions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {ADMIN}\r\n"
            f"Content-Type: {self.kind}\r\nContent-Length: {len(self.body)}\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + self.body


def parcels(run: Path, measured: int, imported: int) -> list[Parcel]:
    """Results of other identities of one run: with its observations, and of another tool, with two metrics and none."""
    content = json.loads((run / "result.json").read_bytes())
    archive = io.BytesIO()
    pack({name: run / name for name in content["observations"] if (run / name).exists()}, archive)
    found = []
    for number in range(measured + imported):
        one = copy.deepcopy(content)
        one["provenance"]["environment"]["python"] = f"3.11.{number}"
        if number >= measured:
            metrics = {name: one["metrics"][name] for name in ("ttft.p50", "tpot.p50")}
            one |= {"kind": "imported", "observations": {}, "metrics": metrics, "flags": []}
        bare = {key: value for key, value in one.items() if key not in ("id", "signature")}
        one["id"] = hashlib.sha256(rfc8785.dumps(bare)).hexdigest()
        files = {"result": json.dumps(one).encode()}
        if number < measured:
            files["observations"] = archive.getvalue()
        found.append(Parcel(one["id"], *_multipart(files)))
    return found


def _multipart(files: dict[str, bytes]) -> tuple[bytes, str]:
    edge = secrets.token_hex(16)
    head = '--{}\r\nContent-Disposition: form-data; name="{}"; filename="{}"\r\n\r\n'
    body = b"".join(head.format(edge, name, name).encode() + content + b"\r\n" for name, content in files.items())
    return body + f"--{edge}--\r\n".encode(), f"multipart/form-data; boundary={edge}"


class LoadedCode:
    """The process off which services are forked."""

    def __enter__(self) -> LoadedCode:
        script = Path(__file__).with_name("loaded_service.py")
        command = [sys.executable, str(script)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def start(self, arguments: Sequence[str], environment: dict[str, str], log: Path) -> int:
        """Fork a service, and give its process id."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([arguments, environment, str(log)]) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def __exit__(self, *exception: object) -> None:
        self._process.communicate()


def fresh_process(arguments: Sequence[str], environment: dict[str, str], log: Path) -> int:
    """``moecap`` as anyone starts it, in a session of its own."""
    with log.open("ab") as file:
        command = [sys.executable, "-m", "moecap", *arguments]
        return subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True).pid


class KilledService:
    """A service on one port and one store, which is started, killed and started again.

    Args:
        folder: Where its data are, its log, and a folder for temporary files that it finds in ``TMPDIR``.
        database: URL of its database.
        start: Gives the process id of a new service.

    Attributes:
        cpu_seconds: Processor time of what was ended.
        looked_for: How often a check looked for what was acknowledged.
        found: How often it was there.
    """

    def __init__(
        self, folder: Path, database: str, start: Callable[[Sequence[str], dict[str, str], Path], int]
    ) -> None:
        self.data, self.temporary, self.log = folder / "data", folder / "tmp", folder / "service.log"
        for made in (self.data, self.temporary):
            made.mkdir(parents=True, exist_ok=True)
        self.database, self.port, self._start = database, free_port(), start
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        own = {"MOECAP_LEADERBOARD_DATA": str(self.data), "MOECAP_ADMIN_KEY": ADMIN, "TMPDIR": str(self.temporary)}
        own |= {"MOECAP_EXAMINERS": "1", "MOECAP_CONNECTIONS": "4000"} | dict.fromkeys(LIMITS, MANY)
        self.environment = kept | own
        self._process: psutil.Process | None = None
        self.cpu_seconds = 0.0
        self.looked_for = self.found = 0

    def start(self) -> None:
        """Start it, on the same port, and wait for its health."""
        words = ["serve", "--db", self.database, "--port", str(self.port)]
        self._process = psutil.Process(self._start(words, self.environment, self.log))
        end = time.monotonic() + 300
        while time.monotonic() < end:
            assert self._process.is_running() and self._process.status() != "zombie", self.log.read_text()
            with suppress(OSError):
                if self.get("/healthz")[0] == 200:
                    return
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of an answer to the administrator."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {ADMIN}"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def kill(self, *, group: bool) -> None:
        """End it by SIGKILL, alone or with all that it has started, and see that nothing of it goes on."""
        assert self._process is not None
        family = self._count()
        os.killpg(self._process.pid, signal.SIGKILL) if group else self._process.kill()
        end = time.monotonic() + 60
        while left := [process for process in family if _runs(process)]:
            assert time.monotonic() < end, f"after the kill there are still {left}"
            time.sleep(0.02)
        with suppress(ChildProcessError):
            os.waitpid(self._process.pid, 0)
        self._process = None

    def _count(self) -> list[psutil.Process]:
        """Its processes, whose processor time is added."""
        assert self._process is not None
        family = [self._process, *self._process.children(recursive=True)]
        for process in family:
            with suppress(psutil.NoSuchProcess):
                spent = process.cpu_times()
                self.cpu_seconds += spent.user + spent.system
        return family

    def end(self) -> None:
        """End it as its administrator does, and see that nothing of it stays."""
        assert self._process is not None
        self._count()
        self._process.terminate()
        psutil.wait_procs([self._process], timeout=60)
        assert not _runs(self._process), self.log.read_text()
        self._process = None
        assert list((self.data / "observations" / WORKPLACES).iterdir()) == []

    def close(self) -> None:
        """Kill it, if it runs."""
        if self._process is not None:
            self.kill(group=True)

    def check(self, sent: Sequence[Parcel]) -> Counter[str]:
        """See that all that was acknowledged is there, nothing twice, and the store whole; count what is there.

        Raises:
            AssertionError: With what is not so.
        """
        found, live = self.submissions(), Counter[str]()
        for one in found.values():
            live[one["result"]] += one["state"] in ("published", "pending")
        assert all(count <= 1 for count in live.values()), "a result is on the board twice"
        assert len(found) == len({one["result"] for one in found.values()}), "a result was taken in twice"
        for parcel in sent:
            if parcel.answer is not None:
                identifier, state = parcel.answer
                self.looked_for += 1
                assert identifier in found, f"submission {identifier} was acknowledged and is lost"
                there = found[identifier]
                assert (there["result"], there["state"]) == (parcel.result, state), (parcel.answer, there["state"])
                self.found += 1
        for page in ("/", "/board"):
            status, body = self.get(page)
            assert status == 200 and b"moecap" in body, f"{page}: {status}"
        database = existing_database(self.database)
        whole = check_store(database, self.data / "observations")
        database.close()
        assert whole.problems == ()
        assert len(list((self.data / "observations" / WORKPLACES).iterdir())) == 1, (
            "a killed service left its workplace"
        )
        assert list(self.temporary.iterdir()) == [], "temporary files lie elsewhere"
        return Counter(one["state"] for one in found.values())

    def submissions(self) -> dict[str, dict[str, Any]]:
        """Every submission by its id, as the API lists them."""
        found, cursor = {}, ""
        while True:
            status, body = self.get(f"/api/v1/submissions?limit=200{cursor}")
            assert status == 200, body
            part = json.loads(body)
            found |= {one["id"]: one for one in part["items"]}
            if part["next"] is None:
                return found
            cursor = f"&cursor={part['next']}"


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def send_all(service: KilledService, sent: Sequence[Parcel], moment: Moment | None) -> int:
    """Send everything at once, each on a connection of its own, those again that were acknowledged before.

    Who is turned away, since too many wait, asks again when somebody else was answered.

    Args:
        service: Where to.
        sent: What.
        moment: When the service is killed; ``None`` lets all be answered.

    Returns:
        How many were acknowledged for the first time.
    """
    return asyncio.run(_send_all(service, sent, moment))


async def _send_all(service: KilledService, sent: Sequence[Parcel], moment: Moment | None) -> int:
    before = sum(parcel.answer is not None for parcel in sent)
    turn, reached, ended = asyncio.Semaphore(0), asyncio.Event(), asyncio.Event()

    def first() -> int:
        return sum(parcel.answer is not None for parcel in sent) - before

    async def one(parcel: Parcel) -> None:
        while not ended.is_set():
            try:
                status, answer = await _ask(service.port, parcel)
            except (OSError, EOFError, ValueError):
                assert ended.is_set(), "the service does not answer, and nobody has killed it"
                return
            if status == 503:
                with suppress(TimeoutError):
                    await asyncio.wait_for(turn.acquire(), REFUSED_SECONDS)
                continue
            parcel.sent += 1
            assert status in (200, 201), (status, answer)
            acknowledged = answer["id"], answer["state"]
            assert answer["result"] == parcel.result
            assert parcel.answer in (None, acknowledged), "what was sent again became another submission"
            parcel.answer = acknowledged
            turn.release()
            if moment is not None and first() >= moment.after:
                reached.set()
            return

    tasks = [asyncio.create_task(one(parcel)) for parcel in sent]
    if moment is not None:
        await reached.wait()
        await asyncio.sleep(moment.seconds)
        ended.set()
        service.kill(group=moment.group)
    await asyncio.gather(*tasks)
    return first()


async def _ask(port: int, parcel: Parcel) -> tuple[int, Any]:
    """Send one, and give status and content of an answer that came whole."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(parcel.request(port))
        await writer.drain()
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), json.loads(body)
    except IndexError:
        raise EOFError("no answer") from None
    finally:
        writer.close()
