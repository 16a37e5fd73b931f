"""The command line of a search: projected searches, plans, and what it refuses."""

import json

import pytest

from moecap.cli import main
from moecap.report.search_page import steps

PROJECTED = ["search", "--model", "mixtral", "--hw", "h100", "--input-len", "256", "--output-len", "64"]


def test_a_projected_search_says_that_nothing_was_measured_and_its_answer_keeps_the_levels(tmp_path, capsys):
    folder = tmp_path / "search"
    line = [*PROJECTED, "--slo", "tpot.p50=12ms", "--output", str(folder), "--resolution", "0.3", "--most", "64"]
    assert main(line) == 0
    said = capsys.readouterr().out
    told = json.loads((folder / "search.json").read_text())
    assert "PROJECTED, nothing was measured: TPOT p50 ≤ 12 ms hold" in said
    best = next(point for point in told["points"] if point["load"] == told["answer"])
    beyond = next(point for point in told["points"] if point["load"] == told["first_that_does_not_hold"])
    assert best["metrics"]["tpot.p50"]["value"] <= 0.012 < beyond["metrics"]["tpot.p50"]["value"]
    assert best["attainment"][0]["low"] is None, "a projection has no interval of requests"
    rates = [point["metrics"]["output_tokens_per_second_per_device"]["value"] for point in told["points"]]
    users = [point["output_tokens_per_second_per_user"] for point in told["points"]]
    for place, load in enumerate(told["pareto"]):
        of = [point["load"] for point in told["points"]].index(load)
        beaten = [u > users[of] and r >= rates[of] for u, r in zip(users, rates, strict=True)]
        assert not any(beaten), place
    assert "Every number on this page is a projection." in (folder / "search.html").read_text()


def test_the_plan_shows_the_loads_that_doubling_tries_and_runs_nothing(tmp_path, capsys):
    line = [*PROJECTED, "--slo", "mlperf:mixtral-8x7b-server", "--output", str(tmp_path / "s"), "--dry-run"]
    assert main([*line, "--json", "--over", "rate", "--start", "2", "--most", "10", "--seconds", "10"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(row["load"], row["num_requests"]) for row in told["doubling"]] == [(2, 20), (4, 40), (8, 80), (10, 100)]
    assert told["levels"] == ["TTFT p99 ≤ 2 s", "TPOT p99 ≤ 200 ms"]
    assert not (tmp_path / "s").exists()
    assert main([*line, "--most", "4", "--requests-per-slot", "20"]) == 0
    assert "doubled until one does not hold" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--slo", "latency=1s"], "no service level named 'latency'"),
        (["--slo", "mlperf:gpt-4"], "no MLPerf level named 'gpt-4'"),
        (["--slo", "ttft=1s", "--concurrency", "4"], "--concurrency: the search sets it"),
        (["--slo", "ttft=1s", "--over", "rate", "--rate", "4"], "--rate: the search sets it"),
        (["--slo", "ttft=1s", "--rate", "4"], "--rate: the search sets it"),
        (["--slo", "ttft=1s", "--set", "concurrency=4"], "--concurrency: the search sets it"),
        (["--slo", "ttft=1s", "--start", "1.5"], "a concurrency is a whole number"),
        (["--slo", "ttft=1s", "--start", "8", "--most", "4"], "--most 4: it is below the start"),
        (["--slo", "ttft=1s", "--start", "0"], "--start 0: give a number above 0"),
        (["--slo", "ttft=1s", "--resolution", "1"], "--resolution 1: give a share"),
        (["--slo", "ttft=1s", "--model", "nope"], "no model named 'nope'"),
        (["--slo", "ttft=1s", "--repeats", "3"], "--repeats 3: a projection is computed"),
    ],
)
def test_what_is_no_search_is_refused_in_one_line(options, problem, capsys, tmp_path):
    assert main([*PROJECTED[:1], "--hw", "h100", "--output", str(tmp_path / "s"), *options]) == 2
    said = capsys.readouterr().err
    assert problem in said and "Traceback" not in said


def test_the_curve_is_steps_at_which_each_point_is_a_corner():
    x, y = steps([(20.0, 300.0), (50.0, 120.0), (80.0, 60.0)])
    corners = list(zip(x, y, strict=True))
    assert corners == [(0, 300), (20, 300), (20, 120), (50, 120), (50, 60), (80, 60), (80, 0)]
