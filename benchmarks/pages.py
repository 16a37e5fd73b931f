"""How fast the leaderboard's pages are in a real Chromium, with 10,000 results in the store.

usage: python benchmarks/pages.py [--size 10000] [--repeats 7]

The store is filled and served as in `benchmarks/leaderboard.py`; Chromium shares the processors with the service. Each
opening has an empty cache. Printed: milliseconds to the first contentful paint and to the table with its rows, and from
a change of a filter, a sort and a word of the search to the rows that answer it. The first answer to a filter counts
over all rows that it leaves; what was counted is kept until the board changes, so each value is asked for once.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from filled_board import carried_runs, fill, service
from playwright.sync_api import sync_playwright

from moecap.report.picture import find_chromium

USABLE = """() => document.querySelectorAll("table.board tbody tr").length > 0 && performance.now()"""
PAINT = """() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime"""
ANSWERED = """(change) => new Promise((done) => {
  const results = document.getElementById("board-results");
  const start = performance.now();
  const watch = new MutationObserver(() => {
    if (results.hasAttribute("aria-busy")) return;
    watch.disconnect();
    requestAnimationFrame(() => done(performance.now() - start));
  });
  watch.observe(results, { attributes: true, childList: true, subtree: true });
  new Function(change)();
})"""
CHECK = """
const field = document.querySelector('input[name="%s"][value="%s"]');
field.click();
"""
SORT = """document.querySelectorAll("table.board thead a[data-state]")[%d].click();"""
SEARCH = """
const field = document.getElementById("board-search");
field.value = "%s";
field.dispatchEvent(new Event("input", { bubbles: true }));
"""


def opened(browser: Any, address: str) -> tuple[float, float]:
    """Milliseconds to the first contentful paint and to the rows, with an empty cache."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(f"{address}/board", wait_until="commit")
    usable = float(page.wait_for_function(USABLE).json_value())
    paint = float(page.evaluate(PAINT))
    context.close()
    return paint, usable


def changes(page: Any, repeats: int) -> dict[str, list[float]]:
    """Milliseconds from each change to the rows that answer it."""
    kept: dict[str, list[float]] = {"filter": [], "sort": [], "search": []}
    models = page.locator('input[name="model"]').evaluate_all("(all) => all.map((field) => field.value)")
    for number in range(repeats):
        kept["filter"].append(page.evaluate(ANSWERED, CHECK % ("model", models[number])))
        page.evaluate(ANSWERED, CHECK % ("model", models[number]))
    for engine in ("vllm", "transformers", "llamacpp"):
        kept["filter"].append(page.evaluate(ANSWERED, CHECK % ("engine", engine)))
        page.evaluate(ANSWERED, CHECK % ("engine", engine))
    for number in range(repeats):
        kept["sort"].append(page.evaluate(ANSWERED, SORT % number))
    for number in range(repeats):
        kept["search"].append(page.evaluate(ANSWERED, SEARCH % f"model-{number + 20}"))
    return kept


def show(what: str, values: list[float]) -> None:
    """Print a line."""
    print(f"  {what:28} median {statistics.median(values):6.0f} ms  worst {max(values):6.0f} ms  n = {len(values)}")


def main() -> None:
    """Fill, open, change and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=7)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="moecap-benchmark-") as name:
        data = Path(name)
        url = f"sqlite:///{data / 'board.sqlite'}"
        fill(url, carried_runs(data), chosen.size)
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        with service(data, url, examiners=1) as (address, _), sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=find_chromium(), args=arguments)
            print(f"{chosen.size:,} results; load of the machine {os.getloadavg()[0]:.1f}")
            opened(browser, address)  # the first one counts over all rows
            times = [opened(browser, address) for _ in range(chosen.repeats)]
            show("first contentful paint", [paint for paint, _ in times])
            show("table with its rows", [usable for _, usable in times])
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(f"{address}/board")
            page.wait_for_function(USABLE)
            for what, values in changes(page, chosen.repeats).items():
                show(f"answer to a {what}", values)
            print(f"load of the machine {os.getloadavg()[0]:.1f}")
            browser.close()


if __name__ == "__main__":
    main()
