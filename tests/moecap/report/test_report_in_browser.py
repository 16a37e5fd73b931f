"""The page in a real headless Chromium: no error, no request, nothing that sticks out or overlaps."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from moecap.cli import main
from moecap.report.page import write_comparison
from moecap.report.picture import find_chromium
from moecap.report.reported_run import read_run
from moecap.result import Flag

pytestmark = pytest.mark.browser

ARTIFACTS = Path(__file__).parents[2] / "artifacts"
SIZES = [(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark"), (1920, "light"), (1920, "dark")]

OVERLAPS = """() => {
  const names = "h1, h2, h3, th, td, .tile dt, .tile dd, .badge, .lead, svg.radar text, .plot text, figcaption > span";
  const texts = [...document.querySelectorAll(names)]
    .filter((e) => e.checkVisibility() && e.textContent.trim() && !e.closest(".scroll"));
  const boxes = texts.map((e) => {
    const range = document.createRange();
    range.selectNodeContents(e);
    const r = range.getBoundingClientRect();
    return { e, l: r.left + 1, t: r.top + 2, r: r.right - 1, b: r.bottom - 2 };
  }).filter((b) => b.r > b.l && b.b > b.t);
  const found = [];
  for (let i = 0; i < boxes.length; i++)
    for (let j = i + 1; j < boxes.length; j++) {
      const [a, b] = [boxes[i], boxes[j]];
      if (a.e.contains(b.e) || b.e.contains(a.e)) continue;
      if (a.l < b.r && b.l < a.r && a.t < b.b && b.t < a.b)
        found.push(`${a.e.textContent.trim()} | ${b.e.textContent.trim()}`);
    }
  return found;
}"""

CONTRASTED = ("h1", ".lead", ".note", "caption", "summary", "nav a", ".badge.measured", ".badge.cap", ".level.warning")
CONTRAST = """(selector) => {
  const numbers = (c) => c.match(/[\\d.]+/g).slice(0, 3).map((x) => x / 255);
  const linear = (x) => (x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
  const light = (c) => { const [r, g, b] = numbers(c).map(linear); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const text = light(getComputedStyle(document.querySelector(selector)).color);
  const paper = light(getComputedStyle(document.body).backgroundColor);
  return (Math.max(text, paper) + 0.05) / (Math.min(text, paper) + 0.05);
}"""

CLIPPED = """() => [...document.querySelectorAll(".plot text, svg.radar text")]
  .filter((e) => e.checkVisibility() && e.textContent.trim())
  .filter((e) => { const r = e.getBoundingClientRect(); return r.left < -0.5 || r.right > innerWidth + 0.5; })
  .map((e) => e.textContent)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """A headless Chromium; the test fails where there is none."""
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=find_chromium(), args=arguments)
        yield running
        running.close()


@pytest.fixture
def open_page(browser):
    """A function that opens a file and returns the page with what it complained about and asked for."""
    contexts = []

    def open_(path: Path, width: int = 1280, scheme: str = "light", query: str = ""):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        complaints: list[str] = []
        requests: list[str] = []
        page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: complaints.append(str(e)))
        page.on("request", lambda r: requests.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
        page.goto(path.as_uri() + query)
        page.wait_for_selector("html[data-drawn]")
        page.wait_for_timeout(250)
        return page, complaints, requests

    yield open_
    for context in contexts:
        context.close()


@pytest.fixture
def report(make_run):
    """The report of a run with several flags."""
    flags = [Flag(name="probe_unsteady", level="warning", text=f"kernel {i} is unsteady") for i in range(5)]
    directory = make_run(flags=(*flags, Flag(name="static", level="info", text="Requests run in static batches.")))
    assert main(["report", str(directory)]) == 0
    return directory / "report.html"


def _check(page, complaints, requests):
    assert complaints == []
    assert requests == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(OVERLAPS) == []
    assert page.evaluate(CLIPPED) == []


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_the_page_stands_at_every_width_in_light_and_dark(open_page, report, width, scheme):
    page, complaints, requests = open_page(report, width, scheme)
    charts = page.evaluate(
        "[...document.querySelectorAll('.plot')].map((e) => [e.id, !!e.querySelector('svg.main-svg')])"
    )
    assert len(charts) >= 10
    assert all(drawn for _, drawn in charts), charts
    assert page.locator("svg.radar").count() == 1
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"report-{width}-{scheme}.png", full_page=True)
    _check(page, complaints, requests)


def test_everything_unfolded_still_fits_a_phone(open_page, report):
    page, complaints, requests = open_page(report, 390)
    page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    _check(page, complaints, requests)


@pytest.mark.parametrize(
    "wishes",
    [
        {"dense": True},
        {"routing": False},
        {"batches": 0, "samples": 0, "status": "failed", "reason": "the engine did not open"},
        {"samples": 0, "task": (), "usd_per_hour": None},
        {"sessions": True, "server": True},
        {"name": "<script>alert(1)</script>"},
        {"name": "a-very-long-name-of-a-model-" * 4},
    ],
    ids=["dense", "no routing", "failed", "no accuracy", "served sessions", "hostile", "long"],
)
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_of_incomplete_runs_stand_too(open_page, make_run, wishes, width):
    directory = make_run(**wishes)
    assert main(["report", str(directory)]) == 0
    page, complaints, requests = open_page(directory / "report.html", width)
    ARTIFACTS.mkdir(exist_ok=True)
    _check(page, complaints, requests)


@pytest.mark.parametrize("width", [390, 1280])
def test_several_runs_stand_side_by_side(open_page, make_run, tmp_path, width):
    runs = [make_run(), make_run(kind="projected", dense=True, name="tiny-llama"), make_run(batches=3)]
    target = write_comparison([read_run(run) for run in runs], tmp_path / "comparison.html")
    page, complaints, requests = open_page(target, width)
    page.screenshot(path=ARTIFACTS / f"comparison-{width}.png", full_page=True)
    assert page.locator("svg.radar g.system").count() == 3
    _check(page, complaints, requests)


def test_the_button_switches_the_colours_and_redraws_the_charts(open_page, report):
    page, complaints, _ = open_page(report)
    paper = "getComputedStyle(document.body).backgroundColor"
    grid = "getComputedStyle(document.querySelector('#chart-cost .gridlayer path')).stroke"
    before = page.evaluate(paper), page.evaluate(grid)
    page.get_by_role("button", name="Switch between light and dark").click()
    after = page.evaluate(paper), page.evaluate(grid)
    assert before[0] != after[0]
    assert before[1] != after[1]
    assert complaints == []


def test_the_slider_prices_tokens_anew(open_page, report):
    page, complaints, _ = open_page(report)
    cell = page.locator("output[data-per-dollar]").first
    per_dollar = float(cell.get_attribute("data-per-dollar"))
    page.locator("#price").fill("1")  # ten dollars an hour
    assert page.locator("#price-shown").inner_text() == "$10/h"
    shown = float(cell.inner_text().removeprefix("$").replace(",", ""))
    assert shown == pytest.approx(per_dollar * 10, rel=0.01)
    page.locator("#price-reset").click()
    assert page.locator("#price-shown").inner_text() == "$2/h"
    assert complaints == []


def test_the_page_prints(open_page, report, tmp_path):
    page, complaints, _ = open_page(report, scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible()
    assert complaints == []


def test_text_has_enough_contrast_in_light_and_dark(open_page, report):
    for scheme in ("light", "dark"):
        page, _, _ = open_page(report, scheme=scheme)
        for selector in CONTRASTED:
            ratio = page.evaluate(CONTRAST, selector)
            assert ratio >= 4.5, (scheme, selector)


def test_the_command_draws_a_picture(make_run, tmp_path):
    target = tmp_path / "cap.png"
    assert main(["report", str(make_run()), "--png", str(target)]) == 0
    head = target.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", head[16:24])
    assert width == 2360
    assert height > 1000
    ARTIFACTS.mkdir(exist_ok=True)
    shutil.copy(target, ARTIFACTS / "report-cap.png")


def test_the_command_writes_every_chart_as_a_drawing(make_run, tmp_path, open_page):
    run = make_run()
    assert main(["report", str(run), "--svg", str(tmp_path / "charts")]) == 0
    drawn = {path.stem: path.read_text() for path in (tmp_path / "charts").iterdir()}
    page, _, _ = open_page(run / "report.html")
    shown = page.evaluate("() => Object.keys(JSON.parse(document.getElementById('charts').textContent))")
    assert {f"chart-{name}" for name in drawn} == set(shown)
    for name, text in drawn.items():
        root = ElementTree.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg", name
        assert root.get("width") == "900", name
        assert len(list(root.iter())) > 30, name


@pytest.fixture(scope="module")
def search_page(tmp_path_factory):
    """The page of a projected search."""
    folder = tmp_path_factory.mktemp("search") / "search"
    line = ["--model", "mixtral", "--hw", "h100", "--input-len", "256", "--output-len", "64", "--output", str(folder)]
    assert main(["search", "--slo", "ttft=2s,tpot=20ms", *line, "--most", "64", "--resolution", "0.3"]) == 0
    return folder / "search.html"


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light"), (1920, "light")])
def test_the_page_of_a_search_has_its_two_charts_and_nothing_overlaps(search_page, open_page, width, scheme):
    page, complaints, requests = open_page(search_page, width, scheme)
    _check(page, complaints, requests)
    assert page.evaluate(CLIPPED) == []
    assert page.locator("#chart-levels svg.main-svg").count() and page.locator("#chart-pareto svg.main-svg").count()
    assert page.locator("#chart-pareto .scatterlayer .trace").count() >= 2
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"search-{width}-{scheme}.png", full_page=True)
