"""Takes requests from a leaderboard's queue, runs each as a process of its own, and submits what came out."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from moecap.client import EvaluationRequest, Leaderboard, Submission
from moecap.errors import LeaderboardError, MoecapError, RunError
from moecap.hardware.registry import packaged_id
from moecap.hardware.resolve import HOST_NAMES, ResolvedHardware
from moecap.interruption import interruptible
from moecap.publishing.disclosure import without_private
from moecap.publishing.requested import request_problem
from moecap.publishing.signing import SigningKey
from moecap.publishing.submission import prepare
from moecap.result import RESULT_FILE, read_result

__all__ = ["Done", "Worker", "unfit"]

WRONG_CALL = 2
LEASE_S = 900
RENEWED_EVERY_S = 300.0
ASKED_EVERY_S = 20.0
PATIENCE_S = 120.0
"""How long a run that is told to end may take to store what it has."""


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a request; ``reason`` says why it failed."""

    request: str
    result: str | None
    submission: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Worker:
    """One machine that works for a leaderboard, one request at a time.

    Attributes:
        board: The leaderboard, with a key that may work and submit.
        machine: What this machine is.
        name: What the leaderboard shows as who does it.
        runs: Folder in which each request gets a run directory.
        key: The key that signs the results.
        longest: Seconds after which a run is given up.
        say: Hears what is going on.
        allowed: Texts that look private and may go with a result.
    """

    board: Leaderboard
    machine: ResolvedHardware
    name: str
    runs: Path
    key: SigningKey | None
    longest: float
    say: Callable[[str], None]
    allowed: tuple[str, ...] = ()

    def work(self, *, once: bool, done: Callable[[Done], None]) -> None:
        """Serve requests, one after the other.

        Args:
            once: End after one, or where none is queued that this machine can serve.
            done: Hears of each.

        Raises:
            LeaderboardError: If the leaderboard refuses this worker.
            KeyboardInterrupt: If it is told to end; a request that it has goes back to the queue.
        """
        while True:
            request = self._claim(patient=not once)
            if request is not None:
                done(self._serve(request))
            elif once:
                self.say("no request is queued that this machine can serve")
            if once:
                return
            if request is None:
                time.sleep(ASKED_EVERY_S)

    def _claim(self, *, patient: bool) -> EvaluationRequest | None:
        try:
            queued = sorted(self.board.requests(state="queued"), key=lambda request: request.created)
            for request in queued:
                if unfit(request.config, self.machine):
                    continue
                try:
                    return self.board.claim(request.id, self.name, LEASE_S)
                except LeaderboardError as error:
                    if error.kind != "not-queued":
                        raise
        except LeaderboardError as error:
            if not patient or error.exit_status == WRONG_CALL:
                raise
            self.say(f"{error}; asking again")
        return None

    def _serve(self, request: EvaluationRequest) -> Done:
        """Run a request and submit its result; whatever fails is told to the leaderboard."""
        directory = self.runs.absolute() / f"request-{request.id}-{request.attempts}"
        self.say(f"request {request.id}: {json.dumps(request.config)}")
        try:
            self._run(request, directory)
            submission = self._submit(directory)
            self.board.complete(request.id, _lease(request), submission.id)
        except MoecapError as error:
            reason = without_private(str(error).replace("\n", "; "))
            self.say(f"request {request.id} failed: {error}")
            self._give_back(request, reason)
            return Done(request.id, None, None, reason)
        except KeyboardInterrupt:
            with interruptible() as interruption:
                interruption.hold()
                self._give_back(request, "the worker was told to end")
            raise
        self.say(f"request {request.id}: {submission.state} as {submission.result}")
        return Done(request.id, submission.result, submission.id, None)

    def _run(self, request: EvaluationRequest, directory: Path) -> None:
        """Run ``moecap run`` in a folder that holds nothing that its configuration could name.

        Raises:
            RunError: If it did not complete.
            LeaderboardError: If the lease was lost meanwhile.
        """
        with tempfile.TemporaryDirectory(prefix="moecap-") as place:
            config = Path(place, "request.yaml")
            config.write_text(json.dumps({**request.config, "measured": True, "output": str(directory)}))
            command = [sys.executable, "-P", "-m", "moecap", "run", "--config", config.name]
            with subprocess.Popen(
                command,
                cwd=place,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C reaches it through this process alone
            ) as child:
                try:
                    last = self._watch(child, request)
                finally:
                    with interruptible() as interruption:
                        interruption.hold()
                        _end(child)
                        interruption.release()
        if child.returncode != 0:
            stored = read_result(directory).reason if (directory / RESULT_FILE).is_file() else None
            raise RunError(stored or last or f"moecap run ended with status {child.returncode}")

    def _watch(self, child: subprocess.Popen[bytes], request: EvaluationRequest) -> str:
        """Pass on what a run says and keep its lease, until it ends; the last thing that it said as an error."""
        assert child.stderr is not None
        said: list[str] = []
        reader = threading.Thread(target=_pass_on, args=(child.stderr, said), daemon=True)
        reader.start()
        ends = time.monotonic() + self.longest
        while True:
            try:
                child.wait(min(RENEWED_EVERY_S, max(0.0, ends - time.monotonic())))
                break
            except subprocess.TimeoutExpired:
                if time.monotonic() >= ends:
                    raise RunError(f"the run was given up after {self.longest:.0f} s") from None
                self._renew(request)
        reader.join(PATIENCE_S)
        return said[-1] if said else ""

    def _renew(self, request: EvaluationRequest) -> None:
        """Keep the lease; a leaderboard that is away for a while gets its result all the same.

        Raises:
            LeaderboardError: If the lease was lost.
        """
        try:
            self.board.renew(request.id, _lease(request), LEASE_S)
        except LeaderboardError as error:
            if error.kind == "lease-lost" or error.exit_status == WRONG_CALL:
                raise
            self.say(f"{error}; the run goes on")

    def _submit(self, directory: Path) -> Submission:
        with tempfile.TemporaryDirectory(prefix="moecap-") as folder:
            package = prepare(directory, Path(folder), key=self.key, allowed=self.allowed)
            return self.board.submit(package.result, package.observations)

    def _give_back(self, request: EvaluationRequest, reason: str) -> None:
        try:
            self.board.fail(request.id, _lease(request), reason)
        except LeaderboardError as error:  # its lease ends by itself
            self.say(f"the leaderboard could not be told: {error}")


def unfit(config: Mapping[str, Any], machine: ResolvedHardware) -> str:
    """Why a request cannot be served here; empty where it can.

    Args:
        config: Its run configuration.
        machine: What this machine is.
    """
    if problem := request_problem(config):
        return problem
    asked = str(config.get("hw", "auto")).lower()
    here = machine.profile
    own_names = ("auto", here.id, *(HOST_NAMES if here.kind == "host" else ()))
    if asked not in own_names and packaged_id(asked) != here.id:
        return f"it is for {asked}, and this machine is {here.id}"
    devices = int(config.get("num_gpus") or 1)
    if devices > machine.available:
        return f"it needs {devices} devices, and this machine has {machine.available}"
    return ""


def _lease(request: EvaluationRequest) -> str:
    if request.lease is None:
        raise LeaderboardError(f"the leaderboard gave no lease with request {request.id}; update moecap")
    return request.lease


def _pass_on(stream: IO[bytes], said: list[str]) -> None:
    """Copy what a run says to stderr, and keep what it says as errors."""
    for line in stream:
        text = line.decode(errors="replace").rstrip()
        sys.stderr.write(text + "\n")
        if text.startswith("moecap: "):
            said.append(text.removeprefix("moecap: "))


def _end(child: subprocess.Popen[bytes]) -> None:
    """Tell a run to end, and see to it that it does."""
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
