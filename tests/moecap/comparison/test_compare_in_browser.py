"""The page of a comparison and that of an import in a real headless Chromium."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from moecap.comparison.comparison import compare_runs
from moecap.comparison.page import write_comparison_page
from moecap.importing.page import write_imported_report
from moecap.importing.run import Given, import_file
from moecap.report.picture import find_chromium

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[3]
RUNS = ROOT / "leaderboard_app" / "moecap_leaderboard" / "demo_data" / "runs"
FILE = ROOT / "tests" / "moecap" / "importing" / "files" / "vllm-detailed.json"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Both pages, and how many charts each has."""
    place = tmp_path_factory.mktemp("pages")
    import_file(FILE, "auto", Given(), place / "run")
    found = compare_runs(RUNS / "vllm-bf16", [RUNS / "transformers-bf16"], ["tpot:5%"])
    compared = write_comparison_page(found, place / "compare.html")
    return {"compare": (compared, 1), "import": (write_imported_report(place / "run"), 0)}


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=find_chromium(), args=arguments)
        yield running
        running.close()


@pytest.mark.parametrize("name", ["compare", "import"])
@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark"), (1920, "light")])
def test_a_page_fits_complains_of_nothing_and_asks_for_nothing(pages, browser, name, width, scheme):
    file, charts = pages[name]
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    complaints, requests = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(file.as_uri())
    if charts:
        page.locator(".plot .main-svg").first.wait_for()
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".plot").count() == charts
    page.close()
