"""What stands around Gradio's page: head, navigation and footer as plain HTML, and which of Gradio's paths are open.

Gradio answers every page with one file that holds no word of it; the title, the navigation and what the page is are
written into it here, so that they are painted before any script has run and read by whoever runs none. Styles come with
the page as a file, since Gradio hands over its own ``css`` only when its scripts run.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.routing import Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moecap import __version__
from moecap.report.markup import Html, element, join
from moecap_leaderboard.api.answers import FRAMED
from moecap_leaderboard.middleware import QUESTION, UPLOAD, problem_response
from moecap_leaderboard.pages.look import FILES, file_bytes
from moecap_leaderboard.pages.upload_progress import PROGRESS
from moecap_leaderboard.problems import ProblemError

__all__ = ["GRADIO_FILES", "GRADIO_PATHS", "Frame", "PageMount", "file_url"]

GRADIO_PATHS = ("/theme.css", "/favicon.ico", "/gradio_api/app_id", QUESTION, UPLOAD, PROGRESS)
GRADIO_FILES = ("/assets/", "/static/")
"""What its scripts ask for. Its queue, which has no bound, its heartbeats, which hold connections, its files, which may
be those of other hosts, its proxy, deep links, recordings, monitoring and editor are not reachable.
"""

_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'{}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; "
    f"{FRAMED}"
)
"""The browser itself refuses a request to another host, and any inline script but those of Gradio's own page, by their
digests. Gradio makes functions of the scripts that come with its events, and styles are inline.
"""

_INLINE = re.compile(r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL)

_META = re.compile(r'<meta\s+(?:property|name)="(?:og|twitter):[^>]*>\s*|<link rel="manifest"[^>]*>\s*|<base [^>]*>\s*')


@dataclass(frozen=True, slots=True)
class Frame:
    """What the frame needs to know of a page.

    Attributes:
        title: Its title.
        path: Its path.
        in_navigation: Whether the navigation leads to it.
    """

    title: str
    path: str
    in_navigation: bool


def file_url(name: str) -> str:
    """The address of a file of the frame, another one whenever its content is another."""
    return f"/look/{name}?v={hashlib.sha256(file_bytes(name)).hexdigest()[:12]}"


class PageMount(Mount):
    """Gradio's application at the root, for the pages, :data:`GRADIO_PATHS` and what is under :data:`GRADIO_FILES`.

    Args:
        app: Gradio's application.
        frames: The pages, in the order of the navigation.
        plain: What a client without scripts reads in place of a page.
    """

    def __init__(self, app: ASGIApp, frames: Sequence[Frame], plain: Callable[[], Html]) -> None:
        self._frames = {frame.path: frame for frame in frames}
        self._plain = plain
        self._heads = {frame.path: str(self._head(frame)) for frame in frames}
        self._bars = {frame.path: self._bar(frame) for frame in frames}
        self._foot = self._footer()
        super().__init__("/", app=self._framed(app), name="pages")

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether a request is for a page; all others are answered as if Gradio were not here."""
        path = scope.get("path", "")
        page = path in self._frames and scope.get("method") in ("GET", "HEAD")
        if scope["type"] != "http" or not (page or path in GRADIO_PATHS or path.startswith(GRADIO_FILES)):
            return Match.NONE, {}
        return super().matches(scope)

    def _framed(self, app: ASGIApp) -> ASGIApp:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            frame = self._frames.get(scope["path"])
            if frame is None:
                await self._other(app, scope, receive, send)
                return
            plain = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
            start: Message = {}
            parts: list[bytes] = []

            async def taken(message: Message) -> None:
                nonlocal start
                if message["type"] == "http.response.start":
                    start = message
                if message["type"] != "http.response.body":
                    return
                parts.append(message.get("body", b""))
                if message.get("more_body", False):
                    return
                body, digests = b"".join(parts), ""
                if start["status"] == 200:
                    text = body.decode()
                    digests = "".join(f" {_digest(script)}" for script in _INLINE.findall(text))
                    body = (await run_in_threadpool(self._with_frame, text, frame)).encode()  # which counts rows
                headers = MutableHeaders(raw=list(start["headers"]))
                headers["Content-Length"] = str(len(body))
                headers["Content-Security-Policy"] = _POLICY.format(digests)
                headers["Cache-Control"] = "no-cache"
                await send({**start, "headers": headers.raw})
                await send({"type": "http.response.body", "body": body})

            asked = {**scope, "headers": plain}
            await app(asked, receive, taken)
            scope["route"] = asked.get("route")

        return answer

    async def _other(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Gradio's files, and what pages ask and send, which no page of another site may."""
        if scope["method"] == "POST" and (b"sec-fetch-site", b"cross-site") in scope["headers"]:
            problem = ProblemError(
                "other-site", "a page of another site sent this; open the page here and send it there"
            )
            await problem_response(problem, scope["path"])(scope, receive, send)
            return

        refused: ProblemError | None = None
        begun = False

        async def read() -> Message:
            nonlocal refused
            try:
                return await receive()
            except ProblemError as problem:
                refused = problem
                raise

        async def with_policy(message: Message) -> None:
            nonlocal begun
            if refused is not None and not begun:
                return  # Gradio takes it for a failure of its own
            begun = True
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=list(message["headers"]))
                headers["Content-Security-Policy"] = _POLICY.format("")
                message = {**message, "headers": headers.raw}
            await send(message)

        try:
            await app(scope, read, with_policy)
        except Exception:  # of Gradio, whatever it makes of a body that was cut off
            if refused is None or begun:
                raise
        if refused is not None and not begun:
            await problem_response(refused, scope["path"])(scope, receive, send)

    def _with_frame(self, text: str, frame: Frame) -> str:
        text = _META.sub("", text).replace('control_page_title="true"', 'control_page_title="false"')
        text = text.replace("<style>", f"{self._heads[frame.path]}<style>", 1)
        text = re.sub(r"<body[^>]*>", lambda found: found[0] + self._header(frame), text, count=1)
        text = text.replace("<gradio-app", '<div id="content" tabindex="-1"><gradio-app', 1)
        return text.replace("</gradio-app>", f"</gradio-app></div>{self._foot}", 1)

    def _head(self, frame: Frame) -> Html:
        title = frame.title if frame.path == "/" else f"{frame.title} \N{EN DASH} moecap"
        return join(
            element("title", title),
            element("meta", name="description", content=_DESCRIPTION),
            element("link", rel="icon", href=file_url("icon.svg"), type="image/svg+xml"),
            *(element("link", rel="stylesheet", href=file_url(name)) for name in FILES if name.endswith(".css")),
            element("script", src=file_url("look.js")),
        )

    def _header(self, frame: Frame) -> Html:
        return join(self._bars[frame.path], element("noscript", self._plain()))

    def _bar(self, frame: Frame) -> Html:
        links = [
            element("a", other.title, href=other.path, aria_current="page" if other.path == frame.path else None)
            for other in self._frames.values()
            if other.in_navigation and other.path != "/"
        ]
        here = "page" if frame.path == "/" else None
        bar = element(
            "nav",
            element(
                "a",
                element("span", class_="mark", aria_hidden="true"),
                "moecap",
                class_="wordmark",
                href="/",
                aria_current=here,
                aria_label="moecap, home",
            ),
            element("button", "Menu", id="menu", type="button", aria_expanded="false", aria_controls="links"),
            element("div", *links, id="links"),
            element("button", "Dark", id="theme", type="button"),
            aria_label="Pages",
        )
        skip = element("a", "Skip to the content", class_="skip", href=f"{frame.path}#content")
        busy = element("div", class_="busy", aria_hidden="true")
        failed = element("div", "The server did not answer. Reload the page.", id="failed", role="alert", hidden=True)
        return join(element("header", skip, bar, class_="site"), busy, failed)

    def _footer(self) -> Html:
        return element(
            "footer",
            element("a", "API", href="/docs"),
            element("a", "About", href="/about"),
            element("span", f"moecap {__version__}"),
            class_="site",
        )


def _digest(script: str) -> str:
    """A source of a content security policy that is one inline script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


_DESCRIPTION = (
    "Accuracy, cost and performance of Mixture-of-Experts language models on real hardware, each measured number "
    "recomputed from the observations of its run."
)
