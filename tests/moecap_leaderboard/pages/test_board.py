"""The leaderboard's page in a browser: filters, sort, columns, downloads and the address that holds them all."""

from __future__ import annotations

import csv
import io
import re
from urllib.parse import parse_qs, urlsplit

import httpx2 as httpx
import pytest

pytestmark = pytest.mark.browser


@pytest.fixture
def board(open_page):
    """A function that opens the leaderboard at an address and waits for its rows."""

    def open_(query: str = "", **how):
        page = open_page(f"/board{query}", **how)
        page.wait_for_selector("#board-results[aria-busy], table.board, .empty")
        settled(page)
        return page

    return open_


def settled(page):
    """Wait until the rows are those of the address."""
    page.wait_for_selector("#board-results:not([aria-busy]) [data-counts]", state="attached")


def asked(page):
    """What the address of a page asks for."""
    return parse_qs(urlsplit(page.url).query)


def rows(page):
    """Cells of the rows by the names of their heads' metrics."""
    return page.locator("table.board tbody tr")


def column(page, name):
    """The texts of a column by the head over it and its own."""
    place = page.evaluate(
        """(name) => {
          const upper = [...document.querySelectorAll(".board thead tr:first-child th")];
          const lower = [...document.querySelectorAll(".board thead tr:last-child th")];
          let at = 0, below = 0;
          for (const cell of upper) {
            if (cell.rowSpan === 2) {
              if (cell.innerText.startsWith(name)) return at;
              at += 1;
              continue;
            }
            for (let i = 0; i < cell.colSpan; i++, at++, below++)
              if (`${cell.innerText} ${lower[below].innerText}`.startsWith(name)) return at;
          }
          throw new Error(`no column ${name}`);
        }""",
        name,
    )
    script = f"(rows) => rows.map((row) => row.children[{place}].innerText.trim())"
    return rows(page).evaluate_all(script)


def number(text):
    """The number at the start of a cell."""
    return float(re.match(r"[\d,.]+", text).group().replace(",", ""))


def test_measured_rows_alone_are_shown_at_first(board):
    page = board()
    assert rows(page).count() == 4
    assert "measured" in rows(page).first.inner_text()
    assert page.locator("table.board .badge.projected, table.board .badge.imported").count() == 0
    assert page.get_by_role("radio", name="measured").is_checked()


def test_a_row_says_all_that_the_board_promises(board):
    page = board()
    text = rows(page).filter(has_text="arc_easy").inner_text()
    for part in ("smollm2-moe", "bf16", "AMD EPYC", "5.19.0", "4 at once", "arc_easy", "recomputed", "min"):
        assert part in text, part
    heads = page.locator("table.board thead").inner_text()
    for unit in ("tok/s", "ms", "%", "$/M tok", "J/tok"):
        assert unit in heads, unit


def test_the_shown_numbers_are_those_of_the_api(board, site):
    page = board("?kind=imported&sort=tpot")
    items = httpx.get(f"{site}/api/v1/results?kind=imported&sort=tpot&limit=50").json()["items"]
    shown = [number(text) for text in column(page, "Latency TPOT stated")]
    assert shown == pytest.approx([item["metrics"]["tpot"]["value"] * 1e3 for item in items], rel=5e-3)
    assert column(page, "Hardware")[0].startswith(f"{items[0]['hardware']['count']}\N{NO-BREAK SPACE}")


def test_each_filter_narrows_the_rows_and_stands_in_the_address(board):
    page = board("?kind=imported")
    page.locator("summary", has_text="Engine").click()
    page.get_by_role("checkbox", name=re.compile("^sglang")).check()
    page.wait_for_function("[...document.querySelectorAll('.board tbody tr')].every((r) => /sglang/.test(r.innerText))")
    assert asked(page) == {"kind": ["imported"], "engine": ["sglang"]}
    settled(page)
    assert page.get_by_role("status").first.inner_text().endswith("imported results")
    page.get_by_role("link", name="Remove the filter engine sglang").click()
    page.wait_for_function("[...document.querySelectorAll('.board tbody tr')].some((r) => !/sglang/.test(r.innerText))")
    assert asked(page) == {"kind": ["imported"]}
    assert not page.locator('input[name="engine"][value="sglang"]').is_checked()


def test_the_counts_beside_the_values_follow_the_other_filters(board, site):
    page = board("?kind=imported&engine=trtllm")
    count = httpx.get(f"{site}/api/v1/export.json?kind=imported&engine=trtllm&hardware=h100-sxm").json()
    page.locator("summary", has_text="Hardware").click()
    shown = page.locator('[data-count="hardware=h100-sxm"]').inner_text()
    assert int(shown.replace(",", "")) == len(count["items"]) > 0


def test_the_search_finds_words_of_model_hardware_and_engine_as_one_types(board):
    page = board("?kind=all")
    page.get_by_role("searchbox").press_sequentially("scout-17b-16e-instruct", delay=15)
    page.wait_for_function(
        "document.querySelectorAll('.board tbody tr').length && "
        "[...document.querySelectorAll('.board tbody th')].every((r) => /Scout/.test(r.innerText))"
    )
    assert asked(page) == {"kind": ["all"], "q": ["scout-17b-16e-instruct"]}
    assert page.get_by_role("searchbox").input_value() == "scout-17b-16e-instruct"


def test_a_head_sorts_on_the_server_and_says_so(board):
    page = board("?kind=projected")
    page.locator("table.board thead a", has_text="TPOT stated").click()
    page.wait_for_selector('th[aria-sort="ascending"] >> text=TPOT stated')
    rising = [number(text) for text in column(page, "Latency TPOT stated")]
    assert rising == sorted(rising)
    assert asked(page)["sort"] == ["tpot"]
    page.locator("table.board thead a", has_text="TPOT stated").click()
    page.wait_for_selector('th[aria-sort="descending"] >> text=TPOT stated')
    falling = [number(text) for text in column(page, "Latency TPOT stated")]
    assert falling == sorted(falling, reverse=True)
    assert falling[0] > rising[-1]
    page.go_back()
    page.wait_for_selector('th[aria-sort="ascending"] >> text=TPOT stated')


def test_pages_follow_each_other_without_a_row_twice(board):
    page = board("?kind=imported&limit=30")
    links = "(rows) => rows.map((row) => row.querySelector('th a').href)"
    first = rows(page).evaluate_all(links)
    page.get_by_role("link", name="Next page").click()
    page.wait_for_selector("text=31\N{EN DASH}60 of")
    second = rows(page).evaluate_all(links)
    assert len(first) == len(second) == 30
    assert not {*first} & {*second}


def test_columns_are_chosen_and_kept_by_the_address(board, open_page):
    page = board()
    page.locator("summary", has_text="Columns").click()
    page.get_by_role("checkbox", name="Speed all devices").check()
    page.wait_for_selector("table.board thead >> text=all devices")
    page.get_by_role("checkbox", name="S-MFU prefill").uncheck()
    page.wait_for_function("!/prefill[\\s\\S]*prefill/.test(document.querySelector('.board thead').innerText)")
    other = open_page(page.url.partition("/board")[1] + page.url.partition("/board")[2])
    other.wait_for_selector("table.board thead >> text=all devices")
    assert column(other, "Speed all devices") == column(page, "Speed all devices")


def test_a_link_with_everything_in_it_opens_the_same_rows(board):
    page = board("?kind=imported&model=openai%2Fgpt-oss-120b&engine=trtllm&concurrency_max=16&sort=tpot")
    assert {text.partition("\n")[0] for text in column(page, "Model")} == {"gpt-oss-120b"}
    assert all(int(text.split(" ")[0].replace(",", "")) <= 16 for text in column(page, "Load"))
    assert page.locator('select[name="concurrency_max"]').input_value() == "16"
    assert page.locator(".chips a").count() == 4


@pytest.mark.parametrize("name", ["CSV", "JSON", "Parquet"])
def test_what_is_shown_can_be_downloaded(board, name):
    page = board("?kind=imported&engine=ktransformers")
    shown = rows(page).count()
    address = page.get_by_role("link", name=name, exact=True).evaluate("(link) => link.href")
    content = httpx.get(address)
    assert content.status_code == 200
    if name == "CSV":
        assert len(list(csv.DictReader(io.StringIO(content.text)))) == shown
    elif name == "JSON":
        assert len(content.json()["items"]) == shown
    else:
        assert content.content.startswith(b"PAR1")


def test_the_best_value_of_a_column_is_marked_for_eyes_and_readers(board, site):
    page = board("?kind=imported&engine=sglang")
    best = page.locator("td strong:has(+ .sr)")
    items = httpx.get(f"{site}/api/v1/results?kind=imported&engine=sglang&sort=tpot&limit=1").json()["items"]
    assert best.count() >= 1
    shown = {number(text) for text in best.all_inner_texts()}
    assert any(value == pytest.approx(items[0]["metrics"]["tpot"]["value"] * 1e3, rel=5e-3) for value in shown)


def test_where_nothing_matches_the_page_says_what_would(board):
    page = board("?engine=trtllm")
    assert "No measured result matches" in page.locator(".empty").inner_text()
    page.locator(".empty a", has_text="imported").click()
    page.wait_for_selector("table.board")
    assert asked(page) == {"kind": ["imported"], "engine": ["trtllm"]}


@pytest.mark.parametrize("query", ["?sort=nonsense", "?kind=none", "?colour=red", "?cursor=x"])
def test_an_address_that_asks_for_what_cannot_be_says_so(board, query):
    page = board(query)
    assert page.get_by_role("alert").is_visible()
    assert page.get_by_role("link", name="Open the leaderboard without filters").is_visible()


def test_the_table_is_a_table_for_a_screen_reader(board):
    page = board()
    table = page.locator("table.board")
    assert table.locator("caption").count() == 1
    assert table.locator("tbody tr").count() == table.locator("tbody th[scope=row]").count()
    assert table.locator("thead th:not([scope])").count() == 0
    assert table.locator("th[aria-sort]").count() == 1
    region = page.get_by_role("region", name="Results")
    region.focus()
    assert region.evaluate("(box) => document.activeElement === box")


def test_the_keyboard_opens_a_list_and_closes_it(board):
    page = board()
    summary = page.locator("summary", has_text="Engine")
    summary.focus()
    page.keyboard.press("Enter")
    field = page.locator('input[name="engine"][value="vllm"]')
    assert field.is_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.wait_for_function("location.search.includes('engine=')")
    page.keyboard.press("Escape")
    assert not field.is_visible()
    assert summary.evaluate("(e) => document.activeElement === e")


def test_a_row_leads_to_its_evidence(board, site):
    page = board()
    link = rows(page).first.locator("th a")
    identifier = parse_qs(urlsplit(link.evaluate("(a) => a.href")).query)["id"][0]
    assert httpx.get(f"{site}/api/v1/results/{identifier}").status_code == 200
