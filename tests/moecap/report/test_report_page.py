"""What stands on the page: the result's own numbers, escaped texts, and a reason wherever something is missing."""

import itertools
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from page_reader import read_page

from moecap.config import CostConfig
from moecap.errors import BadInputError
from moecap.report.page import comparison_page, run_page, write_report
from moecap.report.reported_run import read_run
from moecap.result import Flag, read_result

SECTIONS = ["validity", "cap", "utilisation", "roofline", "experts", "latency", "timeline", "accuracy", "cost"]


def _charts(page):
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', page, re.DOTALL)
    return json.loads(found[1])


def test_every_number_on_the_page_is_the_results_own(make_run):
    directory = make_run()
    page = read_page(run_page(read_run(directory)))
    metrics = read_result(directory).metrics
    assert len(page.numbers) > 30
    for name, value, _text in page.numbers:
        assert float(value) == metrics[name].value, name
    shown = {name for name, _, _ in page.numbers}
    assert {"decode.s_mbu", "output_tokens_per_second", "tpot.p50", "cost_per_million_output_tokens"} <= shown
    assert "accuracy.quiz" in shown


def test_the_page_has_every_section_a_heading_each_and_one_title(make_run):
    page = read_page(run_page(read_run(make_run())))
    assert [id for id in page.sections if id in SECTIONS] == SECTIONS
    assert page.headings.count("h1") == 1
    assert page.headings.count("h2") == len(SECTIONS) + 2  # and the projection and the provenance
    levels = [int(h[1]) for h in page.headings]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert page.landmarks >= {"nav", "main", "header", "footer"}


def test_each_figure_says_what_it_shows_with_its_n_and_how_to_read_it(make_run):
    text = run_page(read_run(make_run()))
    captions = re.findall(r"<figcaption><span>(.*?)</span>", text)
    assert len(captions) >= 9
    assert all(re.search(r"\bn = [\d,]+|\d+ steps|selections", caption) for caption in captions), captions
    assert text.count("How to read this") >= 7


def test_sessions_are_drawn_turn_by_turn_where_there_are_any(make_run):
    """By hand: two sessions of five turns; 12 ms to the first token, five more of 4 ms, 20 ms before a later turn."""
    page = read_page(run_page(read_run(make_run())))
    assert not {"sessions", "server"} & {*page.sections}
    text = run_page(read_run(make_run(sessions=True)))
    assert "sessions" in read_page(text).sections
    chart = _charts(text)["chart-sessions"]
    bars = {trace["name"]: trace for trace in chart["data"]}
    assert bars["wait for the tool"]["y"] == pytest.approx([0, 0.02, 0.02, 0.02, 0.02])
    assert bars["to the first token"]["y"] == pytest.approx([0.012] * 5)
    assert bars["first to last token"]["y"] == pytest.approx([0.02] * 5)
    assert bars["wait for the tool"]["x"] == [1, 2, 3, 4, 5]
    assert bars["wait for the tool"]["customdata"] == [[2, 16]] * 5
    assert "2 sessions of up to 5 turns; of a session on average 80 ms wait for the tool" in text


def test_the_servers_own_counters_are_drawn_over_time_where_there_are_looks(make_run):
    text = run_page(read_run(make_run(server=True)))
    assert "server" in read_page(text).sections
    lines = {trace["name"]: trace["y"] for trace in _charts(text)["chart-server"]["data"]}
    assert lines == {
        "running": [2, 6, 6, 1],
        "waiting": [0, 1, 3, 0],
        "KV cache in use": [0.1, 0.6, 0.9, 0.2],
        "from the prefix cache": [None, pytest.approx(50 / 150, rel=1e-4), 0.5, 0.25],
        "preemptions": [0, 0, 2, 2],
    }
    assert "4 looks; 1 to 6 requests running; at most 3 waiting; at most 90.0% of the KV cache in use; 2 pre" in text


def test_every_place_for_a_chart_has_its_chart(make_run):
    text = run_page(read_run(make_run()))
    places = re.findall(r'<div class="plot" id="([^"]+)"', text)
    assert sorted(places) == sorted(_charts(text))
    assert set(places) >= {
        "chart-bytes",
        "chart-roofline",
        "chart-load",
        "chart-distinct",
        "chart-timeline",
        "chart-cost",
    }


def test_charts_are_drawn_from_the_observations(make_run):
    directory = make_run()
    run = read_run(directory)
    charts = _charts(run_page(run))
    roofline = {trace["name"]: trace for trace in charts["chart-roofline"]["data"]}
    work, mask = run.evidence.work, run.evidence.masks["decode"]
    flops, moved = work.flops[mask].sum(), work.bytes.total()[mask].sum()
    assert roofline["decode"]["x"][0] == pytest.approx(flops / moved)
    assert roofline["decode"]["y"][0] == pytest.approx(flops / (25 * 4e-3))  # 5 batches of 5 decode steps of 4 ms
    stacked = charts["chart-bytes"]["data"]
    decode = [trace["x"][trace["y"].index("decode")] for trace in stacked]
    assert sum(decode) * 1e6 == pytest.approx(moved / mask.sum())
    load = np.array(charts["chart-load"]["data"][0]["z"])
    assert load.shape == (4, 3)  # experts by layers
    assert load.mean(0) == pytest.approx([1, 1, 1], abs=1e-3)


def test_every_free_text_is_escaped(make_run):
    evil = "<script>alert(1)</script>"
    flags = (Flag(name="odd", level="warning", text=f"{evil}</style>"),)
    directory = make_run(name=evil, flags=flags, status="failed", reason=f"died of {evil}", task=(evil,))
    text = run_page(read_run(directory))
    assert evil not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; on Test chip" in text
    assert text.count("&lt;script&gt;") > 3
    assert "What is &lt;b&gt;two&lt;/b&gt; &amp; two?" in text
    assert text.lower().count("<script") == text.lower().count("</script>") == 3


def test_no_content_of_the_data_can_end_its_script():
    from moecap.report.markup import json_script

    text = json_script("x", {"a": "</script><!--<script>\u2028"})
    inner = text.removeprefix('<script type="application/json" id="x">').removesuffix("</script>")
    assert "<" not in inner
    assert "\u2028" not in inner
    assert json.loads(inner) == {"a": "</script><!--<script>\u2028"}


def test_the_page_asks_for_nothing_from_any_network(make_run):
    text = run_page(read_run(make_run()))
    head, _, rest = text.partition("<script>")
    ours = head + rest.rpartition("<script>")[2]
    assert not re.search(r'(src|href)="(?!#|data:)', ours)
    assert "url(" not in ours
    assert "default-src &#x27;none&#x27;" in head


def test_flags_of_one_name_are_one_line_and_the_gravest_comes_first(make_run):
    flags = [Flag(name="probe_unsteady", level="warning", text=f"kernel {i} is unsteady") for i in range(9)]
    flags += [Flag(name="static", level="info", text="in batches"), Flag(name="bad", level="invalid", text="no good")]
    text = run_page(read_run(make_run(flags=tuple(flags))))
    listed = re.search(r'<ul class="flags">(.*?)</section>', text, re.DOTALL)[1]
    assert re.findall(r'<li class="(\w+)">', listed) == ["invalid", "warning", "info"]
    assert "Probe unsteady: 9 remarks" in listed
    assert listed.count("is unsteady</li>") == 9


def test_a_dense_model_has_a_sentence_in_place_of_experts(make_run):
    directory = make_run(dense=True)
    text = run_page(read_run(directory))
    assert "This model is dense" in text
    assert "chart-load" not in text
    assert "chart-roofline" in _charts(text)


def test_without_routing_bytes_are_estimated_and_no_expert_is_drawn(make_run):
    run = read_run(make_run(routing=False))
    text = run_page(run)
    assert run.result.routing_source == "estimated"
    assert text.count("the experts that the model selected were not observed") == 2
    assert not {"chart-load", "chart-distinct"} & set(_charts(text))
    assert {"chart-roofline", "chart-timeline"} <= set(_charts(text))
    mbu = run.result.metrics["decode.s_mbu"]
    assert mbu.low < mbu.value < mbu.high < run.result.metrics["decode.mbu"].value * (1 + 1e-9)


def test_a_lost_routing_file_leaves_the_rest_standing(make_run):
    directory = make_run()
    (directory / "routing.npz").unlink()
    text = run_page(read_run(directory))
    assert "chart-load" not in _charts(text)
    assert "chart-distinct" in _charts(text)
    assert "1 of them changed or missing" in text


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_a_run_that_ended_before_its_first_request_still_has_a_page(make_run, status):
    directory = make_run(batches=0, samples=0, status=status, reason="the engine did not open")
    text = run_page(read_run(directory))
    page = read_page(text)
    assert f"This run is {status}: the engine did not open." in text
    assert [id for id in page.sections if id in SECTIONS] == SECTIONS
    assert "no step was recorded" in text
    assert "quiz was asked for and did not finish" in text
    assert "No roofline: no request of the load was sent" in text


def test_without_an_accuracy_task_the_page_says_so_and_gives_no_label(make_run):
    text = run_page(read_run(make_run(samples=0, task=())))
    assert "no accuracy task was run" in text
    assert "no PA/PC/CA label" in text
    assert "no value for accuracy, and a label needs all three" in text


def test_without_a_price_the_slider_starts_at_a_dollar(make_run):
    text = run_page(read_run(make_run(usd_per_hour=None)))
    assert "no price is known for this hardware" in text
    assert 'id="price"' in text
    assert 'data-start="1.0"' in text


def test_the_slider_prices_in_proportion(make_run):
    directory = make_run()
    text = run_page(read_run(directory))
    metric = read_result(directory).metrics["cost_per_million_output_tokens"]
    per_dollar = float(re.search(r'data-per-dollar="([^"]+)"', text)[1])
    assert per_dollar * 2.0 == pytest.approx(metric.value)


def test_an_owned_system_is_priced_by_what_owning_costs(make_run):
    # 8,760 dollars over one year are a dollar an hour, and 2 kW x 1.5 x 50 cents are 1.50
    own = CostConfig(basis="own", capital=8760, years=1, kw=2, pue=1.5, usd_per_kwh=0.5, utilisation=0.5)
    directory = make_run(cost=own)
    result, text = read_result(directory), run_page(read_run(directory))
    assert result.metrics["cost.own_usd_per_hour"].value == pytest.approx(2.5)
    assert result.metrics["cost.rent_usd_per_hour"].value == pytest.approx(2.0)
    rented = read_result(make_run()).metrics["cost_per_million_output_tokens"].value
    owned = result.metrics["cost_per_million_output_tokens"].value
    assert owned / rented == pytest.approx(2.5 / 2.0)
    assert result.metrics["cost_per_million_output_tokens_at_utilisation"].value == pytest.approx(2 * owned)
    per_dollar = float(re.search(r'data-per-dollar="([^"]+)"', text)[1])
    assert per_dollar * 2.5 == pytest.approx(owned)
    assert "In 50% of the hours" in text


def test_the_page_prints_every_constant_with_its_source(make_run):
    directory = make_run(cost=CostConfig(years=5))
    text = run_page(read_run(directory))
    constants = read_result(directory).constants
    assert len(constants) == 13
    for constant in constants:
        assert f">{constant.name}<" in text
    assert "given by the user" in text
    assert "codecarbon" in text
    assert "no price is known of the storage" in text


def test_a_result_whose_rent_is_not_the_one_among_its_constants_is_refused(make_run):
    directory = make_run()
    path = directory / "result.json"
    content = json.loads(path.read_text())
    content["hardware"]["usd_per_hour"] = 0.01
    path.write_text(json.dumps(content))
    with pytest.raises(BadInputError, match="not the usd_per_hour among the constants"):
        read_result(directory)


def test_observations_that_cannot_be_read_leave_the_results_own_tables(make_run):
    directory = make_run()
    (directory / "steps.parquet").write_bytes(b"nothing")
    text = run_page(read_run(directory))
    assert "steps.parquet cannot be read" in text
    assert read_page(text).numbers
    assert _charts(text) == {}


def test_a_changed_file_is_named(make_run):
    directory = make_run()
    assert "all unchanged" in run_page(read_run(directory))
    lines = (directory / "samples.jsonl").read_text().splitlines()
    (directory / "samples.jsonl").write_text("\n".join(lines[:-1]))
    text = run_page(read_run(directory))
    assert "1 of them changed or missing" in text
    assert "<td>changed</td>" in text


def test_a_projected_run_says_that_nothing_was_measured(make_run):
    text = run_page(read_run(make_run(kind="projected")))
    assert "Nothing was measured." in text
    assert "Cost at the projected speed of this run" in text


def test_the_report_is_written_beside_the_result_or_where_one_says(make_run, tmp_path):
    directory = make_run()
    assert write_report(directory) == directory / "report.html"
    assert (directory / "report.html").read_text().startswith("<!doctype html>")
    other = tmp_path / "other.html"
    assert write_report(directory, other) == other
    with pytest.raises(BadInputError, match="cannot be written"):
        write_report(directory, tmp_path / "missing" / "x.html")


def test_a_folder_without_a_result_is_refused(tmp_path):
    with pytest.raises(BadInputError, match=r"no result\.json there"):
        write_report(tmp_path)


def test_several_runs_share_a_radar_and_a_table_and_kinds_are_marked(make_run):
    runs = [read_run(make_run()), read_run(make_run(kind="projected", dense=True, name="tiny-llama"))]
    text = comparison_page(runs)
    assert "These runs are not of one kind (measured, projected)" in text
    table = re.search(r'<table class="comparison">(.*?)</table>', text, re.DOTALL)[1]
    rows = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
    for row in rows[1:]:
        cells = re.findall(r'<td class="number">(.*?)</td>', row, re.DOTALL)
        assert "projected" not in cells[0]
        assert "projected" in cells[1] or "no value" in cells[1]
    page = read_page(text)
    assert {float(v) for n, v, _ in page.numbers if n == "decode.s_mbu"} == {
        run.result.metrics["decode.s_mbu"].value for run in runs
    }
    assert 'class="system s1 projected"' in text
    assert "tiny-llama" in text


def test_runs_that_differ_in_nothing_say_so(make_run):
    directory = make_run()
    copy = directory.with_name("copy")
    shutil.copytree(directory, copy)
    assert "are the same in all of these runs" in comparison_page([read_run(directory), read_run(copy)])


def test_the_page_is_well_formed(make_run):
    text = run_page(read_run(make_run()))
    stack, wrong = [], []

    class Tags(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "link", "input", "br"):
                stack.append(tag)

        def handle_endtag(self, tag):
            if not stack or stack.pop() != tag:
                wrong.append(tag)

    Tags().feed(text)
    assert (stack, wrong) == ([], [])
    ids = re.findall(r'\bid="([^"]+)"', text.partition("<script>")[0])
    assert len(ids) == len(set(ids))
