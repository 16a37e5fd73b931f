"""A sweep: every cell a run directory, none run twice, none lost, one engine for those that ask for the same."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from moecap.cli import main
from moecap.result import read_result
from moecap.runner.reporter import Reporter
from moecap.sweep.folder import taken
from moecap.sweep.grid import read_sweep
from moecap.sweep.local import run_sweep
from moecap.sweep.shared_engine import SharedEngine
from moecap.verification.recomputation import verify_run

PROJECTED = {"model": "mixtral", "task": "none", "num_requests": 8, "input_len": 64, "output_len": 16}


@pytest.fixture
def file(tmp_path):
    def write(**content):
        path = tmp_path / "s.yaml"
        path.write_text(yaml.safe_dump({"output": str(tmp_path / "out")} | content, sort_keys=False))
        return path

    return write


def _sweep(*arguments):
    return main(["sweep", *map(str, arguments)])


def test_hardware_is_swept_and_each_run_verifies(file, tmp_path, capsys):
    path = file(**PROJECTED, grid={"hw": ["a100", "h100"], "concurrency": [1, 4]})
    assert _sweep(path, "--json") == 0
    rows = json.loads(capsys.readouterr().out)["cells"]
    assert [(r["settings"]["hw"], r["settings"]["concurrency"], r["status"]) for r in rows] == [
        (hw, concurrency, "complete") for hw in ("a100", "h100") for concurrency in (1, 4)
    ]
    for row in rows:
        folder = tmp_path / "out" / row["name"]
        result = read_result(folder)
        assert verify_run(folder).ok
        assert (folder / "report.html").exists()
        assert row["kind"] == result.kind == "projected"
        assert row["metrics"]["tpot.p50"]["value"] == result.metrics["tpot.p50"].value
    with (tmp_path / "out" / "sweep.csv").open() as lines:
        table = list(csv.DictReader(lines))
    assert [float(line["tpot.p50 (s)"]) for line in table] == [r["metrics"]["tpot.p50"]["value"] for r in rows]


def test_a_dry_run_shows_the_plan_and_leaves_nothing(file, tmp_path, capsys):
    path = file(**PROJECTED, grid={"hw": ["a100", "no-such-chip"]})
    assert _sweep(path, "--dry-run", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert [(r["kind"], r["hardware"]) for r in plan["runs"]] == [("projected", "a100-sxm4-80gb"), ("refused", "")]
    assert "no-such-chip" in plan["runs"][1]["reason"]
    assert plan["seconds"] > 0 == plan["usd"]
    assert not (tmp_path / "out").exists()


def test_a_run_that_cannot_be_is_recorded_and_the_others_run(file, tmp_path, capsys):
    path = file(**PROJECTED, grid={"hw": ["no-such-chip", "h100"]})
    assert _sweep(path) == 1
    assert "1 of 2 runs are not complete" in capsys.readouterr().err
    rows = json.loads((tmp_path / "out" / "sweep.json").read_text())["cells"]
    assert [r["status"] for r in rows] == ["refused", "complete"]
    assert "no-such-chip" in rows[0]["reason"]


def test_a_sweep_goes_on_where_it_was_and_repeats_nothing(file, tmp_path):
    assert _sweep(file(**PROJECTED, grid={"hw": ["a100"]})) == 0
    (name,) = [p.name for p in (tmp_path / "out").iterdir() if p.is_dir()]
    before = read_result(tmp_path / "out" / name).id
    more = file(**PROJECTED, grid={"hw": ["h100", "a100"]})
    assert _sweep(more) == 2  # it has runs already
    assert _sweep(more, "--resume") == 0
    assert read_result(tmp_path / "out" / name).id == before
    assert len([p for p in (tmp_path / "out").iterdir() if p.is_dir()]) == 2


def test_two_sweeps_do_not_work_in_one_folder(file, capsys):
    path = file(**PROJECTED)
    with taken(read_sweep(path), resume=False):
        assert _sweep(path, "--resume") == 2
    assert "another sweep works there" in capsys.readouterr().err


@pytest.mark.engine
def test_one_engine_serves_all_loads_that_it_can(file, run_options, monkeypatch):
    opened = []
    original = SharedEngine._opened

    def counted(self, plan, job):
        opened.append(job.dtype)
        return original(self, plan, job)

    monkeypatch.setattr(SharedEngine, "_opened", counted)
    shared = {key: value for key, value in run_options.items() if key not in ("output", "precision", "concurrency")}
    sweep = read_sweep(file(**shared, grid={"concurrency": [1, 3], "precision": ["fp32", "bf16"]}))
    with taken(sweep, resume=False):
        outcomes = run_sweep(sweep, Reporter(quiet=True))
    assert {o.status for o in outcomes.values()} == {"complete"}
    assert opened == ["fp32", "bf16"]
    for cell in sweep.cells:
        result = read_result(sweep.folder / cell.name)
        assert result.workload.concurrency == cell.config.concurrency
        assert verify_run(sweep.folder / cell.name).ok


@pytest.mark.engine
def test_a_sweep_that_was_killed_loses_no_finished_run_and_repeats_none(file, run_options, tmp_path):
    shared = {key: value for key, value in run_options.items() if key not in ("output", "concurrency")}
    path = file(**shared, grid={"concurrency": [1, 2, 3]})
    sweep = read_sweep(path)
    command = [sys.executable, "-m", "moecap", "sweep", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    first = sweep.folder / sweep.cells[0].name
    while not (first / "report.html").exists() and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = read_result(first).id
    assert _sweep(path, "--resume") == 0
    assert read_result(first).id == before
    assert [read_result(sweep.folder / c.name).status for c in sweep.cells] == ["complete"] * 3
