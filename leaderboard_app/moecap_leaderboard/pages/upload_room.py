"""Room for files that pages take without a key and keep for a while: all of them together have a bound."""

from __future__ import annotations

from pathlib import Path

from gradio.utils import get_upload_folder
from starlette.types import ASGIApp, Receive, Scope, Send

from moecap_leaderboard.middleware import problem_response
from moecap_leaderboard.problems import ProblemError

__all__ = ["UploadRoom"]

_PATH = "/gradio_api/upload"
_WAIT_SECONDS = 600


class UploadRoom:
    """Refuses an upload to a page where those that wait take all the room.

    Args:
        app: Who answers.
        most: Bytes of all files that wait.
    """

    def __init__(self, app: ASGIApp, most: int = 4_000_000_000) -> None:
        self._app, self._most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and scope["path"] == _PATH and _waiting() > self._most:
            said = "the uploads that wait to be sent take all the room; send with moecap submit, or try again later"
            problem = ProblemError("unavailable", said, retry_after=_WAIT_SECONDS)
            await problem_response(problem, _PATH)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _waiting() -> int:
    """Bytes in Gradio's folder of uploads."""
    total = 0
    for path in Path(get_upload_folder()).rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # taken away meanwhile
            continue
    return total
