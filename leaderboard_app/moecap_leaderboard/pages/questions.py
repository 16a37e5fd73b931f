"""What pages ask, before Gradio reads it: small, of no session, and with no file but those that were uploaded.

Mounted in another application, Gradio takes the path of any file of the server, and the address of a file elsewhere, in
place of an upload and in every field. Of each session it keeps what was asked and answered last; the state of these
pages is in their addresses and in the browser.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moecap_leaderboard.middleware import QUESTION, problem_response
from moecap_leaderboard.pages.no_sessions import NO_SESSION
from moecap_leaderboard.problems import ProblemError

__all__ = ["Questions"]

_MOST_BYTES = 1_000_000
_MOST_FILES = 8
_PASSED = ("data", "event_data", "fn_index", "trigger_id")


class Questions:
    """Hands Gradio what it may read of a question; everything that is none passes as it is.

    Args:
        app: Gradio's application.
        uploads: The folder of uploads.
        events: Numbers of the events that can be asked for.
    """

    def __init__(self, app: ASGIApp, uploads: Path, events: Container[int]) -> None:
        self._app, self._uploads, self._events = app, uploads.resolve(), events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["path"] != QUESTION or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        try:
            body = self._passed(await _body(scope, receive))
        except ProblemError as problem:
            await problem_response(problem, QUESTION)(scope, receive, send)
            return
        headers = [(name, value) for name, value in scope["headers"] if name != b"content-length"]
        whole: Message = {"type": "http.request", "body": body, "more_body": False}
        told = False

        async def asked() -> Message:
            nonlocal told
            if told:
                return await receive()
            told = True
            return whole

        headers.append((b"content-length", str(len(body)).encode()))
        await self._app({**scope, "headers": headers}, asked, send)

    def _passed(self, body: bytes) -> bytes:
        try:
            question = json.loads(body)
        except (ValueError, RecursionError):
            question = None
        if not isinstance(question, dict):
            raise ProblemError("bad-request", "a page's question is an object of JSON; reload the page")
        number = question.get("fn_index")
        if type(number) is not int or number not in self._events:
            raise ProblemError("bad-request", "the page asks for what is not there; reload the page")
        files = list(_files(question))
        if len(files) > _MOST_FILES:
            raise ProblemError("bad-request", f"{len(files)} files are named; drop one archive of a run directory")
        for file in files:
            if not self._is_upload(file):
                raise ProblemError("bad-request", "a file is named that was not uploaded here; drop it on the page")
        passed = {name: question[name] for name in _PASSED if name in question}
        return json.dumps({**passed, "session_hash": NO_SESSION}).encode()

    def _is_upload(self, path: object) -> bool:
        try:
            return isinstance(path, str) and Path(path).resolve().is_relative_to(self._uploads)
        except (OSError, ValueError):
            return False


async def _body(scope: Scope, receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in Request(scope, receive).stream():
        size += len(part)
        if size > _MOST_BYTES:
            raise ProblemError("too-large", f"a page's question is larger than {_MOST_BYTES} bytes", limit=_MOST_BYTES)
        parts.append(part)
    return b"".join(parts)


def _files(content: Any) -> Iterator[object]:
    """The paths of all objects that Gradio could take for a file, wherever they stand."""
    waiting = [content]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, dict):
            if "path" in inner:
                yield inner["path"]
            waiting += inner.values()
        elif isinstance(inner, list):
            waiting += inner
