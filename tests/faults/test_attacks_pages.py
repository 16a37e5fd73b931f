"""Markup in every free field and in every address, looked at with a real browser: it is shown, and is no markup."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from urllib.parse import quote

import pytest
from boards import Run
from pydantic import ValidationError
from service_process import ADMIN, ServiceProcess

from moecap.report.picture import find_chromium
from moecap.result import Result, write_result
from moecap_leaderboard.pages.site import PAGES

pytestmark = pytest.mark.browser

MARKUP = "\"'></td></script><img data-attack src=x onerror=alert(1)>"
SHORT = "\"'><s data-attack>"
PLACES = ("model", "hardware", "backend", "workload", "constants", "metrics", "flags", "provenance", "projection")
TIMES = ("started", "finished")
CLAIMED = (
    ("model", "name"),
    ("model", "source"),
    ("model", "weights_sha256"),
    ("backend", "name"),
    ("backend", "version"),
    ("backend", "device"),
    ("backend", "timer"),
    ("backend", "batching"),
    *(("provenance", "environment", name) for name in ("python", "system", "torch", "numpy")),
)
"""What a measured result says and nothing recomputes."""
MANY = dict.fromkeys(("MOECAP_READS_PER_SECOND", "MOECAP_READS_AT_ONCE", "MOECAP_WRITES_PER_MINUTE"), "1000000")
PARAMETERS = (
    "id",
    "a",
    "b",
    "q",
    "model",
    "engine",
    "hardware",
    "task",
    "row",
    "sort",
    "kind",
    "x",
    "y",
    "price",
    "state",
)


def _leaves(value, path=()):
    """The places of all texts in a result."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _leaves(inner, (*path, number))
    elif isinstance(value, str):
        yield path


def _put(content, path, markup):
    *above, last = path
    for key in above:
        content = content[key]
    content[last] += markup


def _stated_by_others(run):
    """A result of another tool, which waits for a moderator: markup in every text that the schema leaves free."""
    content, marked = run.result, 0
    content |= {"kind": "imported", "observations": {}}
    for path in [path for path in _leaves(content) if path[0] in PLACES and path[-1] not in TIMES]:
        tried = json.loads(json.dumps(content))
        _put(tried, path, SHORT if path in {("model", "id"), ("hardware", "id"), ("backend", "version")} else MARKUP)
        try:
            Result.model_validate(tried)
        except ValidationError:
            continue
        content, marked = tried, marked + 1
    assert marked > 300
    write_result(run.folder, Result.model_validate(content).identified())
    return run


def _claimed(run):
    def change(content):
        for path in CLAIMED:
            _put(content, path, MARKUP)

    return run.changed(change)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory, derived_runs):
    """A service on which everything that can be sent bears markup, and the paths of its pages."""
    runs = {}
    for name, source in (("imported", "vllm-bf16"), ("measured", "vllm-bf16"), ("withdrawn", "llamacpp-q8_0")):
        runs[name] = Run(tmp_path_factory.mktemp("runs") / name)
        shutil.copytree(derived_runs[source], runs[name].folder)
    _stated_by_others(runs["imported"])
    with ServiceProcess(tmp_path_factory.mktemp("attacked"), MANY) as service, service.board() as board:
        sent = {}
        for name, run in runs.items():
            if name != "imported":
                _claimed(run)
            archive = run.folder.parent / f"{name}.tar.gz"
            archive.write_bytes(run.archive)
            sent[name] = board.submit(run.folder / "result.json", archive if name != "imported" else None)
        board.moderate(sent["imported"].id, "published", MARKUP)
        board.withdraw(sent["withdrawn"].id, MARKUP)
        notes = [board.ask({"model": "smollm2-moe", "seed": seed, "task": ["none"]}, MARKUP) for seed in range(2)]
        lease = board.claim(notes[0].id, "worker", 600).lease
        board.fail(notes[0].id, lease, MARKUP)
        yield service, {name: one.result for name, one in sent.items()}, runs


@pytest.fixture(scope="module")
def page(attacked):
    """A page of a browser, whose scripts, dialogs and refusals are noted."""
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=arguments)
        made = browser.new_page()
        made.noted = []
        made.on("dialog", lambda dialog: (made.noted.append(f"a dialog: {dialog.message}"), dialog.dismiss()))
        made.on("pageerror", lambda error: made.noted.append(f"an error: {error}"))
        made.on("console", lambda said: made.noted.append(said.text) if "Content Security" in said.text else None)
        yield made
        browser.close()


def _looked_at(page, url):
    """Whether markup was shown as text; none of it may have become markup."""
    page.goto(url)
    if "/api/" not in url:
        page.wait_for_selector(".gradio-container h1")
    page.wait_for_load_state("networkidle")
    for folded in page.query_selector_all("details:not([open]):not(#charts *) > summary"):
        folded.evaluate("summary => summary.parentElement.setAttribute('open', '')")
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.querySelectorAll('[data-attack]').length") == 0, url
    assert page.noted == [], url
    return "data-attack" in page.evaluate("document.body.innerText")


def test_markup_in_what_was_sent_is_text_on_every_page(page, attacked):
    service, results, _ = attacked
    imported, measured, withdrawn = (results[name] for name in ("imported", "measured", "withdrawn"))
    shown = {}
    for path in (
        "/",
        "/board",
        "/board?kind=all&versions=all&column=all",
        f"/result?id={imported}",
        f"/result?id={measured}",
        f"/result?id={withdrawn}",
        f"/compare?a={measured}&b={imported}",
        "/tradeoffs?kind=all",
        f"/radar?id={measured}&id={imported}",
        f"/roofline?id={measured}",
        f"/experts?id={measured}",
        "/queue",
        f"/tasks?task={quote(SHORT)}",
        f"/api/v1/results/{measured}/report.html",
    ):
        shown[path] = _looked_at(page, service.url + path)
    for path in (
        "/board",
        f"/result?id={imported}",
        f"/result?id={withdrawn}",
        "/queue",
        f"/compare?a={measured}&b={imported}",
    ):
        assert shown[path], f"{path} did not show what was sent: {shown}"
    assert shown[f"/api/v1/results/{measured}/report.html"]


def test_markup_in_an_address_is_text(page, attacked):
    service = attacked[0]
    every = "&".join(f"{name}={quote(MARKUP)}" for name in PARAMETERS)
    for page_of in PAGES:
        _looked_at(page, f"{service.url}{page_of.PATH}?{every}#{quote(MARKUP)}")
    for name, path in itertools.product(("id", "task"), ("/result", "/tasks", "/roofline")):
        _looked_at(page, f"{service.url}{path}?{name}={quote(MARKUP)}")


def test_markup_in_a_run_that_is_dropped_is_text_in_its_verdict(page, attacked, tmp_path):
    """In its file's name, in a file that goes no further, and in what the rules say of it."""
    service, _, runs = attacked
    folder = tmp_path / "run"
    shutil.copytree(runs["withdrawn"].folder, folder)
    (folder / f"notes{SHORT.replace('/', '')}.txt").write_text(MARKUP)
    changed = Run(folder).changed(lambda content: content["model"].update(id=content["model"]["id"] + SHORT))
    archive = shutil.make_archive(str(tmp_path / f"run{SHORT}"), "zip", changed.folder)
    page.goto(f"{service.url}/submit")
    page.wait_for_selector("#run input[type=file]", state="attached")
    page.set_input_files("#run input[type=file]", archive)
    page.wait_for_selector("#run .file-preview")
    page.fill("#token input", ADMIN)
    page.click("#check")
    page.wait_for_selector("#verdict .became")
    assert page.evaluate("document.querySelectorAll('[data-attack]').length") == 0
    assert "data-attack" in page.inner_text("#verdict")
    assert page.noted == []
