"""The site: every page in one Gradio application, mounted beside the API."""

from __future__ import annotations

import asyncio
import os
import warnings
from pathlib import Path
from typing import Protocol

import gradio as gr
from fastapi import APIRouter, FastAPI
from starlette.responses import Response
from starlette.routing import Mount
from starlette.types import ASGIApp

from moecap_leaderboard.pages import (
    about,
    board,
    compare,
    experts_page,
    home,
    queue,
    radar_page,
    result,
    roofline_page,
    submit,
    tasks,
    tradeoffs,
)
from moecap_leaderboard.pages.context import PageContext
from moecap_leaderboard.pages.events import logging_failures
from moecap_leaderboard.pages.look import FILES, file_bytes, theme
from moecap_leaderboard.pages.no_sessions import NoSessions
from moecap_leaderboard.pages.plain import plain_summary
from moecap_leaderboard.pages.questions import Questions
from moecap_leaderboard.pages.shell import Frame, PageMount
from moecap_leaderboard.pages.upload_progress import UploadProgress
from moecap_leaderboard.problems import ProblemError
from moecap_leaderboard.service import Service

__all__ = ["PAGES", "Page", "mount_pages"]


class Page(Protocol):
    """A module of a page."""

    TITLE: str
    PATH: str
    IN_NAVIGATION: bool

    def build(self, context: PageContext, /) -> None:
        """Build it inside its route."""


PAGES: tuple[Page, ...] = (
    home,
    board,
    radar_page,
    tradeoffs,
    roofline_page,
    experts_page,
    compare,
    result,
    tasks,
    submit,
    queue,
    about,
)
"""In the order of the navigation."""


def mount_pages(app: FastAPI, service: Service, uploads: Path) -> None:
    """Add the pages to an application, after all its other routes.

    Args:
        app: The application.
        service: The store and everything that works on it.
        uploads: Where what is dropped on a page waits.
    """
    uploads.mkdir(parents=True, exist_ok=True)
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)  # there is no other way to say it
    app.include_router(_files())
    context = PageContext(service)
    # where no loop runs Gradio opens its own and never closes them
    mounted, events = asyncio.run(_mounted(app, context))
    frames = [Frame(page.TITLE, page.PATH, page.IN_NAVIGATION) for page in PAGES]
    questions = Questions(UploadProgress(mounted), uploads, events)
    app.router.routes.append(PageMount(questions, frames, lambda: plain_summary(context)))


async def _mounted(app: FastAPI, context: PageContext) -> tuple[ASGIApp, frozenset[int]]:
    """Gradio's application, which starts and ends with the other one, and the numbers of its events."""
    blocks = gr.Blocks(analytics_enabled=False, title="moecap")
    ordered = sorted(PAGES, key=lambda page: page.PATH != "/")  # Gradio's first page is the one at the root
    with blocks:  # once, where Blocks.route would have it entered for each page: leaving it makes a whole application
        for page in ordered:
            if page.PATH != "/":
                blocks.current_page = page.PATH.strip("/")
                blocks.pages.append((blocks.current_page, page.TITLE, False))
            page.build(context)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="SSR mode is not supported")  # said even where it is off
        gr.mount_gradio_app(
            app,
            blocks,
            path="/",
            footer_links=[],
            run_history=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            show_error=False,
            max_file_size=context.service.settings.limits.body_bytes,
            theme=theme(),
        )
    blocks.process_api = logging_failures(blocks.process_api)
    blocks.has_launched = True  # before that Gradio does not ask where a file lies
    mounted = app.router.routes.pop()
    assert isinstance(mounted, Mount)
    assert isinstance(mounted.app, gr.routes.App)
    mounted.app.state_holder = blocks.state_holder = NoSessions(blocks)
    return mounted.app, frozenset(blocks.fns)


def _files() -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/look/{name}")
    def look(name: str) -> Response:
        if name not in FILES:
            raise ProblemError("not-found", f"no file {name[:80]!r} of the pages; known: {', '.join(FILES)}")
        kept = {"Cache-Control": "public, max-age=31536000, immutable"}  # its address changes with its content
        return Response(file_bytes(name), media_type=FILES[name], headers=kept)

    return router
