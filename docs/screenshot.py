"""Take the pictures that the documentation shows, in headless Chromium.

python docs/screenshot.py RUN docs/images/report.png                  the report of a run
python docs/screenshot.py http://127.0.0.1:7860 docs/images           pages of a leaderboard (moecap serve --demo)
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from moecap.report.page import write_report

WIDTH, HEIGHT = 1280, 1180


PAGES = {
    "home": ("/", "#answer .radar, #answer svg"),
    "board": ("/board", "table.board tbody tr"),
    "tradeoffs": ("/tradeoffs", ".js-plotly-plot .main-svg"),
}
"""Where a page lies, and what is there once it is drawn."""


def main() -> None:
    """Photograph what was asked for."""
    asked, target = sys.argv[1], Path(sys.argv[2])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        if asked.startswith("http"):
            for name, (path, drawn) in PAGES.items():
                page.goto(asked + path)
                page.wait_for_selector(drawn)
                page.wait_for_timeout(1000)
                page.screenshot(path=target / f"{name}.png")
        else:
            page.goto(write_report(Path(asked)).resolve().as_uri())
            page.wait_for_selector(".plot .main-svg")
            page.screenshot(path=target)
        browser.close()


if __name__ == "__main__":
    main()
