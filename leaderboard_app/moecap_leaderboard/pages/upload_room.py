"""Room for files that pages take without a key and keep for a while: each client's and all together have a bound."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moecap_leaderboard.middleware import UPLOAD, problem_response
from moecap_leaderboard.problems import ProblemError
from moecap_leaderboard.rates import client_of

__all__ = ["KEPT_S", "UploadRoom", "sweep", "sweeping"]

KEPT_S = 900
"""How long an upload waits."""

_SWEPT_S = 300
_WAIT_SECONDS = 600


class UploadRoom:
    """Refuses an upload to a page where those that wait and those that come take all the room.

    Args:
        app: Who answers.
        folder: Where uploads wait.
        body_bytes: Largest body of a request, which one counts as that does not say its size.
        most: Bytes of all files that wait.
        share: Bytes that one client may send while a file waits, whether or not they are gone already.
    """

    def __init__(
        self, app: ASGIApp, folder: Path, body_bytes: int, most: int = 4_000_000_000, share: int = 1_000_000_000
    ) -> None:
        self._app, self._folder, self._body_bytes, self._most, self._share = app, folder, body_bytes, most, share
        self._coming: Counter[str] = Counter()
        self._came: deque[tuple[float, str, int]] = deque()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["path"] != UPLOAD:
            await self._app(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"content-length", b"")
        size = min(int(said) if said.isdigit() else self._body_bytes, self._body_bytes)  # what says more gets 413
        client, got = client_of(scope), 0

        async def counted() -> Message:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            return message

        self._coming[client] += size
        try:
            if problem := await self._refusal(client):
                await problem_response(problem, UPLOAD)(scope, receive, send)
                return
            await self._app(scope, counted, send)
        finally:
            self._coming -= Counter({client: size})
            if got:
                self._came.append((time.monotonic(), client, got))

    async def _refusal(self, client: str) -> ProblemError | None:
        """Why there is no room for what is coming from a client."""
        while self._came and self._came[0][0] < time.monotonic() - KEPT_S - _SWEPT_S:
            self._came.popleft()
        if sum(size for _, whose, size in self._came if whose == client) + self._coming[client] > self._share:
            text = f"uploads of {self._share} bytes came from here within {(KEPT_S + _SWEPT_S) // 60} minutes"
            again = f"{text}; send with moecap submit, or try again later"
            return ProblemError("too-many-requests", again, retry_after=_WAIT_SECONDS)
        if await run_in_threadpool(_waiting, self._folder) + self._coming.total() > self._most:
            text = "the uploads that wait to be sent take all the room; send with moecap submit, or try again later"
            return ProblemError("unavailable", text, retry_after=_WAIT_SECONDS)
        return None


@contextlib.asynccontextmanager
async def sweeping(folder: Path) -> AsyncIterator[None]:
    """Take away, from now on, what has waited for longer than :data:`KEPT_S`, and what a broken upload left behind."""

    async def swept() -> None:
        while True:
            await run_in_threadpool(sweep, folder, KEPT_S)
            await asyncio.sleep(_SWEPT_S)

    task = asyncio.create_task(swept())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def sweep(folder: Path, seconds: float) -> None:
    """Delete files that were written longer ago than that, and folders that are empty since.

    Args:
        folder: Where uploads wait.
        seconds: How long a file may wait.
    """
    before = time.time() - seconds
    for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder comes before it
        with contextlib.suppress(OSError):  # taken away or filled meanwhile
            if path.lstat().st_ctime > before:
                continue
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink()


def _waiting(folder: Path) -> int:
    """Bytes of the files that wait."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # taken away meanwhile
            total += path.stat().st_size if path.is_file() else 0
    return total
