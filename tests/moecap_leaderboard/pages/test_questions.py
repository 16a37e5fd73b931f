"""A newcomer's questions, each answered in under three clicks from the first page, and what the pages do on the way."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

pytestmark = pytest.mark.browser


def answer_of(page):
    """The text of the answer once it has come."""
    page.wait_for_selector("#answer .verdict")
    return page.inner_text("#answer")


def query(page):
    return parse_qs(urlsplit(page.url).query, keep_blank_values=True)


def test_the_cheapest_way_to_serve_mixtral_at_50_ms_a_token(open_page, picture):
    page = open_page("/")
    answer_of(page)
    page.get_by_role("link", name="The cheapest way to serve Mixtral at 50 ms a token").click()
    page.wait_for_url(re.compile("tpot=50"))
    text = answer_of(page)
    assert "none of the 45 rows in question states a time per token" in text
    assert "H100 SXM5 80GB, TensorRT-LLM, fp8 is the cheapest of 4 configurations: $0.291" in text
    projected = page.inner_text("section.projection")
    assert "Nothing here was measured." in projected
    assert re.search(r"per million output tokens \(80 % of predictions \$[\d.]+ to \$[\d.]+\)", projected)
    levels = [row.split("\t") for row in projected.splitlines() if row.count("\t") == 7][1:]
    assert levels
    assert all(float(cells[5].removesuffix(" ms")) <= 50 for cells in levels)
    picture(page, "question-mixtral")


def test_which_engine_is_faster_on_an_h100_for_qwen3_30b_a3b(open_page, picture):
    page = open_page("/")
    answer_of(page)
    page.get_by_role("link", name="Which engine is faster on an H100 for Qwen3-30B-A3B").click()
    page.wait_for_url(re.compile("hw=h100-sxm"))
    text = answer_of(page)
    assert "None of the 59 rows of this model is of H100 SXM5 80GB." in text
    assert "Too little data: the board has no row in question" in text
    assert re.search(
        r"follows at \$[\d.]+ \(\$[\d.]+ to \$[\d.]+\): .* times the tokens a second; the intervals meet", text
    )
    assert "Qwen/Qwen3-Coder-30B-A3B-Instruct" in page.inner_text(".kin")
    picture(page, "question-qwen")


def test_which_engine_is_faster_where_the_board_has_both(open_page):
    """gpt-oss-120b, which most rows are of, on H200: one choice; n and the lack of an interval are said."""
    page = open_page("/")
    answer_of(page)
    page.get_by_label("Hardware", exact=True).select_option("h200-sxm")
    page.wait_for_url(re.compile("hw=h200-sxm"))
    text = answer_of(page)
    assert re.search(r"gives \d\.\d\d times the throughput of .* by published figures", text)
    assert "That range is over loads and no interval." in text


def test_the_sentence_is_kept_in_the_address_and_works_with_the_keyboard(open_page):
    page = open_page("/")
    answer_of(page)
    care = page.get_by_label("What matters most")
    care.focus()
    care.press("t")  # throughput or time, as the browser chooses by the letter
    page.wait_for_url(re.compile("care="))
    chosen = query(page)["care"][0]
    assert chosen in ("speed", "latency", "ttft")
    assert page.evaluate("document.activeElement.name") == "care"
    again = open_page(page.url.removeprefix(page.url.split("/?")[0]))
    answer_of(again)
    assert again.get_by_label("What matters most").input_value() == chosen


def test_the_best_configurations_lead_to_their_results_and_to_a_comparison(open_page):
    page = open_page("/?model=openai/gpt-oss-120b")
    answer_of(page)
    links = page.locator(".cards h3 a")
    assert links.count() == 3
    assert all(re.fullmatch(r"/result\?id=[0-9a-f]{64}", link.get_attribute("href")) for link in links.all())
    page.get_by_role("link", name="Compare the first two").click()
    page.wait_for_selector("#compare table")
    text = page.inner_text("#compare")
    assert "none with an interval on both" in text
    assert "not said: neither has an interval" in text


def test_a_measured_pair_is_compared_with_intervals_where_n_allows_one(open_page, picture):
    page = open_page("/compare")
    page.wait_for_selector("#compare table")
    for side in ("A", "B"):
        page.get_by_label(f"Model of {side}").select_option("smollm2-moe")
        page.wait_for_url(re.compile(f"model_{side.lower()}=smollm2-moe"))
    page.wait_for_selector("#compare tbody tr:nth-child(11)")
    text = page.inner_text("#compare")
    assert "decode.s_mbu" in text
    assert "n = " in text
    assert "neither has an interval" in text
    picture(page, "compare")


def test_a_price_moves_every_cost(open_page, picture):
    page = open_page("/tradeoffs?model=Mixtral-8x22B")
    page.wait_for_selector("#tradeoffs .shows")
    page.wait_for_selector("#tradeoffs-chart .js-plotly-plot")
    before = page.evaluate("document.querySelector('#tradeoffs-chart .js-plotly-plot').data[0].y")
    slider = page.locator("input[type=range]")
    slider.focus()
    for _ in range(3):
        slider.press("ArrowRight")
    page.wait_for_url(re.compile(r"usd\.h100-sxm=3\.32"))
    page.wait_for_function(
        "(old) => JSON.stringify(document.querySelector('#tradeoffs-chart .js-plotly-plot').data[0].y) !== old",
        arg=page.evaluate("(y) => JSON.stringify(y)", before),
    )
    after = page.evaluate("document.querySelector('#tradeoffs-chart .js-plotly-plot').data[0].y")
    assert after[0] / before[0] == pytest.approx(3.32 / 3.29)
    assert "Priced by you: H100 SXM5 80GB at $3.32 per device-hour." in page.inner_text("#tradeoffs")
    picture(page, "tradeoffs")


def test_rows_join_and_leave_the_radar_and_it_can_be_taken_away(open_page, picture, tmp_path):
    page = open_page("/radar?model=smollm2-moe")
    page.wait_for_selector("#radar svg.radar")
    rows = query(page)["row"]
    assert len(rows) == 3
    page.get_by_role("button", name="Take away this one").first.click()
    page.wait_for_function("document.querySelectorAll('#radar .system').length === 2")
    assert query(page)["row"] == rows[1:]
    page.get_by_label("Add a row").select_option(rows[0])
    page.wait_for_function("document.querySelectorAll('#radar .system').length === 3")
    page.get_by_label("TTFT").uncheck()
    page.wait_for_function("!document.querySelector('#radar [data-label=ttft]')")
    assert "$1,000 → $0.01" in page.inner_text("#radar")
    for ending, beginning in (("SVG", b"<svg"), ("PNG", b"\x89PNG")):
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Save as {ending}").click()
        path = Path(tmp_path, download.value.suggested_filename)
        download.value.save_as(path)
        assert path.name == f"cap-radar.{ending.lower()}"
        assert path.read_bytes().startswith(beginning)
    picture(page, "radar")


def _choose(page, engine):
    """The oldest row of an engine, whichever rows other tests have sent."""
    option = page.locator("select[name=id] option", has_text=engine).last
    page.locator("select[name=id]").select_option(option.get_attribute("value"))


def test_the_roofline_and_the_experts_of_a_row_come_from_its_observations(open_page, picture):
    page = open_page("/roofline")
    _choose(page, "vLLM")
    page.wait_for_selector("#roofline-0 .js-plotly-plot", timeout=60_000)
    assert re.search(r"Prefill \(n = 5\) does [\d.]+ FLOP for each byte", page.inner_text(".explained"))
    picture(page, "roofline")
    _choose(page, "llama.cpp")
    page.wait_for_selector("text=no chart, since this hardware has no native rate for int8")
    assert not page.locator("#roofline-0 .js-plotly-plot").is_visible()
    _choose(page, "vLLM")  # the place that had nothing shows the next chart
    page.wait_for_selector("#roofline-0 .js-plotly-plot", timeout=60_000)
    page = open_page("/experts")
    _choose(page, "vLLM")
    page.wait_for_selector("#experts-1 .js-plotly-plot", timeout=60_000)
    assert "all 120 were selected" in page.inner_text("body")
    page.get_by_text("The chart as a table").first.click()
    assert page.locator("table", has_text="expert 3").is_visible()
    picture(page, "experts")


def test_a_row_without_observations_says_so(open_page, site):
    import json
    import urllib.request

    with urllib.request.urlopen(f"{site}/api/v1/results?kind=imported&limit=1") as answer:
        (item,) = json.load(answer)["items"]
    page = open_page(f"/roofline?id={item['id']}")
    page.wait_for_selector("text=this row is imported and came without observations")
    page = open_page("/roofline?id=0000")
    page.wait_for_selector("text=no result '0000'")
