"""The progress of uploads, of which Gradio keeps something for each name that anybody asks for, and for ever."""

from __future__ import annotations

from gradio.routes import file_upload_statuses
from starlette.datastructures import QueryParams
from starlette.types import ASGIApp, Receive, Scope, Send

from moecap_leaderboard.middleware import UPLOAD, problem_response
from moecap_leaderboard.problems import ProblemError

__all__ = ["PROGRESS", "UploadProgress"]

PROGRESS = f"{UPLOAD}_progress"
"""Where a page asks how far its upload is."""

_LONGEST = 64


class UploadProgress:
    """Refuses names of uploads that no page makes, and forgets each when who asked for its progress has gone.

    Args:
        app: Gradio's application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["path"] not in (UPLOAD, PROGRESS):
            await self._app(scope, receive, send)
            return
        names = QueryParams(scope["query_string"]).getlist("upload_id")
        if any(len(name) > _LONGEST for name in names):
            problem = ProblemError("bad-request", f"an upload's name has {_LONGEST} characters at most; drop it anew")
            await problem_response(problem, scope["path"])(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            for name in names if scope["path"] == PROGRESS else ():
                file_upload_statuses._signals.pop(name, None)
