"""``moecap report``: files, JSON, CSV that reads back exactly, and one line for whatever is wrong."""

import csv
import json
import time

import pytest

from moecap.cli import main
from moecap.report.metric_table import COLUMNS
from moecap.report.picture import find_chromium
from moecap.result import read_result


def test_it_writes_the_page_and_says_where(make_run, capsys):
    directory = make_run()
    assert main(["report", str(directory), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"html": str(directory / "report.html")}
    assert (directory / "report.html").is_file()


def test_the_result_file_stands_for_its_directory(make_run, capsys):
    directory = make_run()
    assert main(["report", str(directory / "result.json")]) == 0
    assert str(directory / "report.html") in capsys.readouterr().out


def test_csv_reads_back_to_the_results_own_numbers(make_run, tmp_path, capsys):
    runs = [make_run(), make_run(kind="projected", batches=0, samples=0)]
    file = tmp_path / "m.csv"
    page = tmp_path / "both.html"
    assert main(["report", *map(str, runs), "--csv", str(file), "--html", str(page), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"html": str(page), "csv": str(file)}
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert tuple(rows[0]) == COLUMNS
    by_run = {}
    for row in rows:
        by_run.setdefault((row["run"], row["kind"]), {})[row["metric"]] = row
    for directory in runs:
        result = read_result(directory)
        found = by_run[result.id, result.kind]
        assert set(found) == set(result.metrics)
        for name, metric in result.metrics.items():
            for part in ("value", "low", "high", "n"):
                text = found[name][part]
                assert (float(text) if text else None) == getattr(metric, part)
            assert found[name]["unit"] == metric.unit
            assert (found[name]["reason"] or None) == metric.reason


def test_several_runs_make_one_page_here_where_no_place_is_named(make_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(make_run()), str(make_run()), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"html": "comparison.html"}
    assert "2 runs side by side" in (tmp_path / "comparison.html").read_text()


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "no result.json there"), ("{", "not a JSON result"), ('{"kind": "measured"}', "Field required")],
)
def test_a_run_that_cannot_be_used_is_one_line(tmp_path, capsys, content, says):
    if content is not None:
        (tmp_path / "result.json").write_text(content)
    assert main(["report", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert says in err


def test_no_run_at_all_is_one_line(capsys):
    assert main(["report"]) == 2
    assert "needs a run directory" in capsys.readouterr().err


def test_a_picture_without_a_browser_names_the_remedy_and_writes_nothing(make_run, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("MOECAP_CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    directory = make_run()
    assert main(["report", str(directory), "--png", str(tmp_path / "x.png")]) == 2
    err = capsys.readouterr().err
    assert len(err.strip().splitlines()) == 1
    assert "install Debian's package chromium" in err
    assert not (directory / "report.html").exists()


def test_the_named_browser_is_taken_first(tmp_path, monkeypatch):
    browser = tmp_path / "browser"
    browser.write_text("#!/bin/sh\n")
    browser.chmod(0o755)
    monkeypatch.setenv("MOECAP_CHROMIUM", str(browser))
    assert find_chromium() == str(browser)


def test_a_report_takes_less_than_two_seconds(make_run):
    directory = make_run(batches=100)
    start = time.process_time()
    assert main(["report", str(directory)]) == 0
    assert time.process_time() - start < 2
