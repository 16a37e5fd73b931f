"""The page of a result says what it rests on, how to repeat it and what became of it; tasks say what they measure."""

from __future__ import annotations

import re

import pytest

from moecap.plugins import TASKS, plugin_names
from moecap.report.markup import Html
from moecap.result import read_result
from moecap_leaderboard.figures_store import add_figures
from moecap_leaderboard.pages.context import PageContext
from moecap_leaderboard.pages.result import result_page
from moecap_leaderboard.pages.task_catalogue import described
from moecap_leaderboard.pages.task_detail import task_detail
from moecap_leaderboard.pages.tasks import tasks_page
from moecap_leaderboard.published import imported_figures
from moecap_leaderboard.task_scores import registered_task

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

SITE = "http://board.example"


def _text(markup):
    """What a reader sees."""
    assert isinstance(markup, Html)
    return " ".join(re.sub(r"<[^>]+>", " ", markup).split())


def test_a_measured_result_shows_its_numbers_beside_those_that_were_recomputed(board, make_run):
    run = make_run()
    identifier = board.submit(run).json()["result"]
    page = result_page(PageContext(board.service), identifier, SITE)
    text, result = _text(page), read_result(run.folder)
    assert f"moecap reproduce {identifier} --url {SITE}" in text
    assert f"moecap verify {identifier} --url {SITE}" in text
    assert result.provenance.command in text
    rate = result.metrics["output_tokens_per_second"].value
    assert page.count(f'value="{rate!r}"') == 4  # as stated and as recomputed, of the whole and of its one device
    assert f"{len(result.metrics)} numbers of {len(result.metrics)}" in text
    assert "Its numbers were recomputed here" in text
    assert "16 rules" in text and "broken" not in text
    for digest in result.observations.values():
        assert digest in page
    assert f'href="/api/v1/results/{identifier}/observations"' in page
    assert f'src="/api/v1/results/{identifier}/report.html"' in page
    assert f"{result.hardware.usd_per_hour:.6g}" in text and "usd_per_hour" in text


def test_what_stayed_at_home_is_named_and_stands_as_stated(board, make_run):
    identifier = board.submit(make_run("transformers-bf16")).json()["result"]
    text = _text(result_page(PageContext(board.service), identifier, SITE))
    assert "Its submitter kept samples.jsonl." in text
    assert "these stand as stated, and measured rows are not sorted by them: accuracy.arc_easy" in text
    assert "not recomputed" in text
    assert "kept out of the main ranking by: limited tasks" in text


def test_versions_repetitions_and_withdrawals_are_history(board, make_run):
    context = PageContext(board.service)
    first = board.submit(make_run()).json()
    repeated = board.submit(make_run().repeated(), "bob", reproduces=first["result"]).json()
    page = result_page(context, first["result"], SITE)
    assert "Reproduced" not in page and "repeated within the margins by somebody else" in page
    assert f'href="/result?id={repeated["result"]}"' in page
    assert f"/result?id={first['result']}" in result_page(context, repeated["result"], SITE)
    board.client.post(
        f"/api/v1/submissions/{first['id']}/withdraw", headers=board.key("ada"), json={"reason": "wrong <power> limit"}
    )
    stone = result_page(context, first["result"], SITE)
    assert "It was withdrawn by its owner: wrong &lt;power&gt; limit." in stone
    assert "moecap reproduce" not in stone and "tokens/s" not in stone
    assert "Every change of its state" in stone


POINT = {
    "row_id": "r1",
    "id": "p1",
    "model": "org/Model",
    "hw_id": "h100-sxm",
    "hardware": "8x H100",
    "gpus": 8,
    "engine": "vLLM 0.9",
    "precision": "fp8",
    "isl": 1000,
    "osl": 1000,
    "concurrency": 32,
    "metric": "output_throughput",
    "value": 2000.0,
    "source": "https://example.org/table <2>",
    "date": "2026-01-02",
}


def test_a_published_figure_shows_its_source_as_text_and_no_command(board):
    add_figures(board.service.database, imported_figures([POINT]), "others")
    context = PageContext(board.service)
    (item,) = board.get("/results", kind="imported")["items"]
    page = result_page(context, item["id"], SITE)
    assert "https://example.org/table &lt;2&gt;" in page and 'href="https://example.org' not in page
    assert "2026-01-02" in page
    assert "moecap did not run this" in page and "moecap reproduce" not in page
    assert "No observations came with it" in page


@pytest.mark.parametrize("identifier", ["", "0" * 64, "<script>"])
def test_a_result_that_is_not_there_leads_to_the_board(board, identifier):
    page = result_page(PageContext(board.service), identifier, SITE)
    assert 'href="/board"' in page and "<script>" not in page


def test_every_registered_task_is_listed_with_what_it_needs(board, make_run):
    board.submit(make_run("transformers-bf16"))
    page = tasks_page(PageContext(board.service), "")
    for name in plugin_names(TASKS):
        task = described(name)
        assert f'href="/tasks?task={name}"' in page
        assert all(part in _text(page) for part in (*task.requires, task.paper.replace("&", "&amp;")))
    row = re.search(r'<tr><th scope="row"><a href="/tasks\?task=arc_easy">.*?</tr>', page)[0]
    assert re.findall(r'class="number">([^<]*)<', row) == ["1", "\N{EN DASH}"]  # one row, whose accuracy is as stated


def test_a_task_shows_its_rows_side_by_side_with_cost(board, make_run):
    identifier = board.submit(make_run("transformers-bf16")).json()["result"]
    page = tasks_page(PageContext(board.service), "arc_easy")
    assert "moecap run --task arc_easy" in page
    assert f'href="/result?id={identifier}"' in page
    result = board.get(f"/results/{identifier}")["result"]
    for name in ("accuracy.arc_easy", "accuracy.arc_easy_norm", "cost_per_million_output_tokens"):
        assert f'data-metric="{name}"' in page
        assert f'value="{result["metrics"][name]["value"]!r}"' in page
    assert "accuracy.arc_easy_stderr" not in page


def test_a_method_shows_the_figures_of_its_paper_and_how_each_is_known(board):
    task = described("moicl")
    page = tasks_page(PageContext(board.service), "moicl")
    assert task.published
    for figure in task.published:
        assert f"{figure.value:g} {figure.unit}" in page
    assert "No row of this board has run it yet" in page


def test_a_task_that_is_not_registered_is_said_to_be_none(board):
    assert "No task &lt;b&gt; is registered" in tasks_page(PageContext(board.service), "<b>")


def test_a_member_of_a_family_counts_for_the_family(database_url):
    tasks = ["lm_eval", "mmlu", "mmlu_pro"]
    assert [registered_task(name, tasks) for name in ("lm_eval:mmlu", "mmlu_pro", "own:task")] == [
        "lm_eval",
        "mmlu_pro",
        "own:task",
    ]


def test_numbers_at_several_k_stand_side_by_side_with_the_one_that_has_none(board, make_run):
    identifier = board.submit(make_run()).json()["result"]
    row = board.get(f"/results/{identifier}")
    stated = {"accuracy_concat": 0.5, "accuracy_scalar_k10": 0.625, "latency_k1": 2.0, "latency_k10": 0.75}
    row["result"]["metrics"] |= {
        f"task.moicl_{name}": {"value": value, "unit": "s" if "latency" in name else "1", "low": None, "high": None}
        for name, value in stated.items()
    }
    page = task_detail(described("moicl"), [row])
    side, by_k = re.findall(r"<table class=\"figures\">.*?</table>", page)
    assert 'data-metric="task.moicl_accuracy_concat">0.500<' in side and "_k10" not in side
    assert 'data-metric="cost_per_million_output_tokens"' in side
    assert re.findall(r'scope="col">(k = \d+)<', by_k) == ["k = 1", "k = 10"]
    latency = re.search(r"<tr><th[^>]*><code>task\.moicl_latency</code>.*?</tr>", by_k)[0]
    assert re.findall(r'value="([\d.]+)"', latency) == ["2.0", "0.75"]
    accuracy = re.search(r"<tr><th[^>]*><code>task\.moicl_accuracy_scalar</code>.*?</tr>", by_k)[0]
    assert re.findall(r'class="number">(?:<data value="([\d.]+)|([^<]))', accuracy) == [
        ("", "\N{EN DASH}"),
        ("0.625", ""),
    ]
