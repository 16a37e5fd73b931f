"""Whole searches on a server whose capacity is known: four answers at once, of 0.2 s each."""

import csv
import json
import signal

import pytest

from moecap.cli import main
from moecap.report import page as report_page
from moecap.verification.recomputation import verify_run

pytestmark = pytest.mark.engine


def _found(folder):
    return json.loads((folder / "search.json").read_text())


def test_the_largest_concurrency_is_the_number_of_answers_that_the_server_gives_at_once(words, tmp_path, capsys):
    # of five in flight one in five waits 0.2 s for its first token, which else comes after 0.05 s
    line = words("--slo", "ttft.p90=150ms,e2e.p90=300ms", "--start", "3", "--most", "12", "--requests-per-slot", "4")
    assert main([*line, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    folder = tmp_path / "search"
    assert told == _found(folder)
    assert (told["answer"], told["first_that_does_not_hold"]) == (4, 5)
    assert [point["load"] for point in told["points"]] == [3, 6, 4, 5]
    assert told["engines_opened"] == 1
    five = next(point for point in told["points"] if point["load"] == 5)
    assert 0.5 < five["attainment"][0]["share"] < 0.9 and five["attainment"][0]["n"] == 20
    assert five["attainment"][0]["low"] < five["attainment"][0]["share"] < five["attainment"][0]["high"]
    for point in told["points"]:
        assert verify_run(folder / point["name"]).ok
        assert (folder / point["name"] / "report.html").exists()
    rows = list(csv.DictReader((folder / "search.csv").read_text().splitlines()))
    assert [(row["concurrency"], row["holds"]) for row in rows] == [
        ("3.0", "True"),
        ("4.0", "True"),
        ("5.0", "False"),
        ("6.0", "False"),
    ]
    page = (folder / "search.html").read_text()
    assert "hold up to concurrency 4; 5 does not hold" in page and 'id="chart-pareto"' in page

    # the same again finds everything there, without --resume it refuses, and a finer question tries only what is new
    assert main([*line, "--json"]) == 2
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/result.json")}
    assert main([*line, "--resume"]) == 0
    assert "hold up to concurrency 4" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/result.json")} == before


def test_the_largest_rate_lies_below_the_servers_capacity(words, tmp_path, capsys):
    # evenly spaced arrivals wait for nothing up to 20 a second; at 21.9 the queue grows to 0.37 s within 4 s
    line = words("--slo", "e2e.p90=320ms", "--over", "rate", "--arrival", "constant", "--start", "16", "--most", "30")
    assert main([*line, "--seconds", "4", "--resolution", "0.4"]) == 0
    told = _found(tmp_path / "search")
    assert [(point["load"], point["holds"]) for point in told["points"]] == [(16, True), (30, False), (21.9, False)]
    assert (told["answer"], told["first_that_does_not_hold"], told["engines_opened"]) == (16, 21.9, 1)
    assert "hold up to rate 16 requests/s; 21.9 requests/s does not hold" in capsys.readouterr().out


def test_an_over_saturated_load_does_not_hold_whatever_the_levels_say(words, tmp_path):
    line = words("--slo", "e2e=60s", "--over", "rate", "--start", "60", "--most", "60", "--seconds", "2")
    main([*line, "--resolution", "0.9"])
    point = _found(tmp_path / "search")["points"][0]
    assert point["attainment"][0]["share"] == 1
    assert (point["over_saturated"], point["holds"]) == (True, False)
    assert point["reason"] == "over-saturated: the requests came faster than they were answered"


def test_no_load_holds_is_an_answer_with_its_own_status(words, tmp_path, capsys):
    assert main(words("--slo", "ttft=1ms", "--most", "1")) == 1
    assert _found(tmp_path / "search")["answer"] is None
    assert "no concurrency down to 1 holds" in capsys.readouterr().out


def test_an_interrupted_search_goes_on_where_it_was(words, tmp_path, monkeypatch, capsys):
    line = words("--slo", "ttft.p90=150ms", "--start", "1", "--most", "2", "--requests-per-slot", "4")
    written = report_page.write_report

    def interrupting(directory):  # the first run is whole when the user interrupts
        signal.setitimer(signal.ITIMER_REAL, 1.0)
        return written(directory)

    def interrupt(*_):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("moecap.search.local.write_report", interrupting)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        assert main(line) == 130
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    monkeypatch.undo()
    folder = tmp_path / "search"
    assert _found(folder)["ended"] == "interrupted"
    first = next(folder.glob("concurrency-1-*/result.json")).stat().st_mtime_ns
    assert main([*line, "--resume"]) == 0
    assert _found(folder)["answer"] == 2
    assert next(folder.glob("concurrency-1-*/result.json")).stat().st_mtime_ns == first
    assert "--resume goes on" in capsys.readouterr().err
