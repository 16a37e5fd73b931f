"""A newcomer's questions about evidence and doing, each answered in under three clicks in a real browser."""

from __future__ import annotations

import shutil

import pytest
from axe_playwright_python.sync_playwright import Axe
from service_process import ADMIN

pytestmark = pytest.mark.browser

UPLOADING = "Method not implemented."
"""What Gradio's own script says whenever an upload has ended."""


def _archive(run, tmp_path, form="zip"):
    return shutil.make_archive(str(tmp_path / "dropped"), form, run.folder.parent, run.folder.name)


def _drop(page, path):
    with page.expect_response(lambda response: "/gradio_api/upload?" in response.url):
        page.set_input_files("#run input[type=file]", path)
    page.wait_for_selector("#run .file-preview")


def _id(page):
    page.wait_for_selector("#result h1")
    return page.url.partition("?id=")[2]


def test_what_does_this_row_rest_on_and_how_do_i_repeat_it(open_page, picture):
    page = open_page("/board")
    page.click("#board-results a[href^='/result?id=']")
    identifier = _id(page)
    assert "recomputed here from the observations" in page.inner_text("#trust")
    assert (
        page.inner_text("#reproduce-command") == f"moecap reproduce {identifier} --url {page.url.split('/result')[0]}"
    )
    copy = page.locator("#repeat button").first
    copy.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("['Copied', 'Selected'].includes(document.querySelector('#repeat button').textContent)")
    with page.expect_download() as download:
        page.click("#files a[href$='/observations']")
    assert download.value.suggested_filename == f"moecap-{identifier[:16]}.tar.gz"
    page.click("#charts summary")
    page.frame_locator("iframe.report").locator("#roofline .main-svg").first.wait_for()
    picture(page, "result-1280")


def test_submit_my_result(open_page, make_run, tmp_path):
    run = make_run("llamacpp-q8_0").repeated(1.002)
    page = open_page("/about", expected=UPLOADING)
    page.click("nav >> text=Submit")
    page.wait_for_selector("#check")
    _drop(page, _archive(run, tmp_path, "gztar"))
    page.fill("#token input", ADMIN)
    page.click("#send")
    page.wait_for_selector("#verdict .became.published")
    link = page.get_attribute("#verdict a", "href")
    assert link == f"/result?id={run.result['id']}"
    assert ADMIN not in page.content() and ADMIN not in page.url


def test_a_broken_archive_gives_the_broken_rule_with_both_numbers(open_page, make_run, picture, tmp_path):
    def wrong(content):
        content["metrics"]["tpot.p50"]["value"] = 0.001

    run = make_run()
    true = run.result["metrics"]["tpot.p50"]["value"]
    page = open_page("/submit", expected=UPLOADING)
    _drop(page, _archive(run.changed(wrong), tmp_path))
    page.fill("#token input", ADMIN)
    page.click("#check")
    page.wait_for_selector("#verdict .became.rejected")
    row = page.locator("#verdict table table tbody tr").first.inner_text().split()
    assert row == ["tpot.p50", "0.001", f"{true:.9g}"]
    picture(page, "submit-broken-1280")


def test_ask_for_an_evaluation(open_page, picture):
    page = open_page("/about")
    page.click("nav >> text=Queue")
    page.wait_for_selector("#ask")
    page.fill("#token input", ADMIN)
    page.click("#ask")
    page.wait_for_selector("#asked [role=status]")
    assert "smollm2-moe on any hardware" in page.inner_text("#queue")
    picture(page, "queue-1280")


def test_a_token_that_is_none_is_said_to_be_none(open_page):
    page = open_page("/queue")
    page.fill("#token input", "moecap_wrong")
    page.click("#ask")
    page.wait_for_selector("#asked [role=alert]")
    assert "ask an administrator" in page.inner_text("#asked")


def _open_method(open_page, name):
    page = open_page("/about")
    page.click("nav >> text=Tasks")
    page.click(f"#tasks a[href='/tasks?task={name}']")
    page.wait_for_selector("#task-command")
    return page


def test_what_a_papers_method_measures_and_what_its_paper_gives(open_page, picture):
    page = _open_method(open_page, "knowledge_module")
    assert page.inner_text("#task-command") == "moecap run --task knowledge_module"
    page.click("#tasks details summary")
    assert page.locator("#tasks details tbody tr").count() > 5
    picture(page, "task-method-1280")


def test_how_does_moicl_at_ten_experts_compare_with_concatenation_in_cost_and_accuracy(open_page, picture):
    page = _open_method(open_page, "moicl")
    shown = page.eval_on_selector_all("#tasks data[data-metric]", "all => all.map(one => one.dataset.metric)")
    needed = ["accuracy_concat", "accuracy_scalar_k10", "latency_k1", "latency_k10", "prompt_tokens_per_query_k10"]
    assert {f"task.moicl_{name}" for name in needed} <= set(shown)
    assert "cost_per_million_output_tokens" in shown
    picture(page, "task-moicl-1280")


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1920, "light")])
@pytest.mark.parametrize("name", ["result", "tasks", "submit", "queue"])
def test_pages_fit_the_screen_and_can_be_read_by_all(open_page, picture, name, width, scheme):
    page = open_page("/board" if name == "result" else f"/{name}", width, scheme)
    if name == "result":
        page.click("#board-results a[href^='/result?id=']")
        _id(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page).response["violations"]
    grave = [(v["id"], n["html"]) for v in found if v["impact"] in ("serious", "critical") for n in v["nodes"]]
    assert grave == []
    picture(page, f"{name}-{width}")
