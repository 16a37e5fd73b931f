"""The frame of every page: navigation, light and dark, what leaves the host, and what may come in."""

from __future__ import annotations

import json

import httpx2 as httpx
import pytest
from axe_playwright_python.sync_playwright import Axe

from moecap_leaderboard.pages.site import PAGES

pytestmark = pytest.mark.browser

PATHS = [page.PATH for page in PAGES]
IN_NAVIGATION = [page.TITLE for page in PAGES if page.IN_NAVIGATION and page.PATH != "/"]

SIZES = [(1280, "light"), (1280, "dark"), (1920, "dark"), (1920, "light"), (390, "light"), (390, "dark")]

CONTRAST = """() => {
  const numbers = (c) => c.match(/[\\d.]+/g).slice(0, 3).map((x) => x / 255);
  const linear = (x) => (x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
  const light = (c) => { const [r, g, b] = numbers(c).map(linear); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const text = light(getComputedStyle(document.querySelector("h1")).color);
  const paper = light(getComputedStyle(document.body).backgroundColor);
  return (Math.max(text, paper) + 0.05) / (Math.min(text, paper) + 0.05) > 7;
}"""


@pytest.mark.parametrize("path", PATHS)
def test_every_page_is_accessible_and_stands_at_every_width_in_light_and_dark(open_page, picture, path):
    page = open_page(path)
    page.wait_for_load_state("networkidle")
    found = Axe().run(page).response["violations"]
    serious = [
        f"{fault['id']}: {node['html'][:200]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]
    assert serious == []
    assert page.title().endswith("moecap") or path == "/"
    assert (page.locator("h1").count(), page.locator("main").count()) == (1, 1)
    for width, scheme in SIZES:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(CONTRAST)
        page.wait_for_timeout(100)  # charts are drawn again
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (width, scheme)
        picture(page, f"page-{path.strip('/') or 'home'}-{width}-{scheme}")


def test_the_navigation_leads_to_every_page_and_marks_the_one_that_is_open(open_page):
    page = open_page("/about")
    links = page.get_by_role("navigation", name="Pages").locator("#links a")
    assert links.all_inner_texts() == IN_NAVIGATION
    assert page.locator('#links a[aria-current="page"]').all_inner_texts() == ["About"]
    page.get_by_role("link", name="Leaderboard", exact=True).click()
    page.wait_for_selector("table.board")
    assert page.url.endswith("/board")


def test_a_phone_has_the_navigation_behind_a_button(open_page):
    page = open_page("/about", 390)
    link = page.locator("#links a", has_text="Leaderboard")
    assert not link.is_visible()
    page.get_by_role("button", name="Menu").click()
    assert link.is_visible()
    page.keyboard.press("Escape")
    assert not link.is_visible()
    assert page.evaluate("document.activeElement.id") == "menu"


def test_the_keyboard_reaches_the_content_past_the_navigation(open_page):
    page = open_page("/about")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    assert page.url.endswith("/about")


def test_light_and_dark_can_be_chosen_against_the_system_and_are_remembered(open_page):
    page = open_page("/about", scheme="light")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.get_by_role("button", name="Dark").click()
    dark = page.evaluate(paper)
    assert dark != light
    page.reload()
    page.wait_for_selector(".gradio-container h1")
    assert page.evaluate(paper) == dark
    assert page.evaluate("document.body.classList.contains('dark')")


def test_a_page_says_when_the_server_does_not_answer(open_page):
    page = open_page("/board", expected="Failed to load resource")
    page.wait_for_selector("table.board")
    assert not page.get_by_role("alert").is_visible()
    page.route("**/gradio_api/run/**", lambda route: route.fulfill(status=503, body="{}"))
    page.get_by_role("searchbox").fill("vllm")
    page.get_by_text("The server did not answer").wait_for()
    assert page.locator("#board-results[aria-busy]").count() == 0


def test_a_page_works_again_when_the_server_is_back(open_page):
    page = open_page("/board", expected="Failed to load resource")
    page.wait_for_selector("table.board")
    page.route("**/gradio_api/**", lambda route: route.abort("connectionrefused"))
    page.get_by_role("searchbox").fill("vll")
    page.get_by_text("The server did not answer").wait_for()
    page.unroute("**/gradio_api/**")
    with page.expect_response(lambda answer: "/gradio_api/app_id" in answer.url) as back:
        pass
    assert back.value.status == 200
    page.get_by_role("searchbox").fill("vllm")
    page.get_by_text("The server did not answer").wait_for(state="hidden")


def test_the_browser_itself_refuses_what_is_on_another_host(open_page):
    page = open_page("/about", expected="127.0.0.2:9")
    refused = page.evaluate("fetch('http://127.0.0.2:9/').then(() => 'sent', (e) => e.name)")
    assert refused == "TypeError"
    assert "connect-src 'self'" in httpx.get(page.url).headers["content-security-policy"]


def test_a_client_without_scripts_reads_what_is_here_and_where_the_api_is(site):
    answer = httpx.get(f"{site}/board")
    assert answer.headers["content-type"].startswith("text/html")
    assert "<title>Leaderboard \N{EN DASH} moecap</title>" in answer.text
    measured = httpx.get(f"{site}/api/v1/results").json()["items"]
    assert f"<td>{len(measured)}</td><td>measured</td>" in answer.text
    assert 'href="/api/v1/export.csv?kind=all"' in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/proxy=https://example.hf.space/x",
        "/gradio_api/file=/etc/hostname",
        "/gradio_api/file=https://example.com/x",
        "/gradio_api/queue/data?session_hash=x",
        "/gradio_api/heartbeat/x",
        "/gradio_api/info",
        "/gradio_api/startup-events",
        "/config",
        "/gradio_api/vibe-code",
        "/gradio_api/deep_link",
        "/gradio_api/runs",
        "/monitoring",
        "/login",
        "/manifest.json",
        "/nothing",
    ],
)
def test_what_the_pages_do_not_need_of_gradio_is_not_there(site, path):
    answer = httpx.get(site + path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_paths_of_the_api_answer_as_without_pages(site):
    wrong = httpx.post(f"{site}/api/v1/results")
    assert wrong.status_code == 405
    assert json.loads(wrong.text)["type"] == "/problems/no-method"
