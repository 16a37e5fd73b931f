"""Take the picture of a report that the documentation shows: python docs/screenshot.py RUN docs/images/report.png."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from moecap.report.page import write_report

WIDTH, HEIGHT = 1280, 1180


def main() -> None:
    """Open the report in headless Chromium and photograph the top of the page."""
    run, target = Path(sys.argv[1]), Path(sys.argv[2])
    page_file = write_report(run).resolve()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(page_file.as_uri())
        page.wait_for_selector(".plot .main-svg")
        page.screenshot(path=target)
        browser.close()


if __name__ == "__main__":
    main()
