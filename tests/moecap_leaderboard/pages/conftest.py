"""One leaderboard with the demonstration's rows, and pages of a real Chromium that fail on what they complain about."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from service_process import ServiceProcess

from moecap.report.picture import find_chromium

ARTIFACTS = Path(__file__).parents[2] / "artifacts"
MANY = dict.fromkeys(("MOECAP_READS_PER_SECOND", "MOECAP_READS_AT_ONCE", "MOECAP_WRITES_PER_MINUTE"), "1000000")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a leaderboard that shows the demonstration."""
    with ServiceProcess(tmp_path_factory.mktemp("site"), {"MOECAP_DEMO": "1"} | MANY) as service:
        yield service.url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=find_chromium(), args=arguments)
        yield running
        running.close()


@pytest.fixture
def open_page(browser: Any, site: str) -> Iterator[Callable[..., Any]]:
    """A function that opens a path at a width, in light or dark; what went wrong in any such page fails the test.

    A message or a request that holds ``expected`` is nothing that went wrong.
    """
    contexts: list[Any] = []
    wrong: list[str] = []

    def note(text: str, expected: str | None) -> None:
        if not (expected and expected in text):
            wrong.append(text)

    def watch(page: Any, expected: str | None) -> None:
        def said(message: Any) -> None:
            if message.type in ("error", "warning"):
                note(f"{message.type}: {message.text} ({message.location.get('url')})", expected)

        def asked(request: Any) -> None:
            if not request.url.startswith((site, "data:", "blob:")):
                note(f"a request to {request.url}", expected)

        page.on("console", said)
        page.on("pageerror", lambda error: note(f"error: {error}", expected))
        page.on("request", asked)

    def open_(
        path: str, width: int = 1280, scheme: str = "light", height: int = 900, expected: str | None = None
    ) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        watch(page, expected)
        page.goto(site + path)
        page.wait_for_selector(".gradio-container h1")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def picture() -> Callable[[Any, str], None]:
    """A function that keeps a screenshot of the whole page among the artefacts."""

    def keep(page: Any, name: str) -> None:
        ARTIFACTS.mkdir(exist_ok=True)
        page.screenshot(path=ARTIFACTS / f"{name}.png", full_page=True)

    return keep
