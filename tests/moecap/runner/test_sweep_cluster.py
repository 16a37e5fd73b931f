"""A sweep on a real Ray cluster of two nodes in processes: tasks are placed, come back whole, survive a node."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from moecap.cli import main
from moecap.result import read_result
from moecap.verification.recomputation import verify_run

pytestmark = pytest.mark.engine

SHARED = {"model": "mixtral", "task": "none", "num_requests": 8, "input_len": 64, "output_len": 16}


@pytest.fixture
def cluster():
    script = Path(__file__).with_name("ray_cluster.py")
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"},
    )
    with process:
        process.address = process.stdout.readline().strip()
        yield process
        process.stdin.write("end\n")
        process.stdin.flush()


def _start(tmp_path, address, content, *arguments):
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump({"output": str(tmp_path / "out")} | SHARED | content, sort_keys=False))
    command = [sys.executable, "-m", "moecap", "sweep", str(path), "--executor", "ray", "--json", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"RAY_ADDRESS": address}
    )


def _ended(process):
    out, err = process.communicate()
    return process.returncode, json.loads(out)["cells"] if out else None, err


def test_cells_are_placed_by_their_demands_and_a_node_that_dies_costs_no_run(cluster, tmp_path):
    grid = {"concurrency": [1, 2, 3, 4, 5, 6]}
    running = _start(tmp_path, cluster.address, {"hw": "a100", "grid": grid})
    while not list((tmp_path / "out").glob("*/result.json")) and running.poll() is None:
        time.sleep(0.02)
    cluster.stdin.write("kill\n")
    cluster.stdin.flush()
    assert cluster.stdout.readline().strip() == "killed"
    status, rows, err = _ended(running)
    assert status == 0, err
    assert [r["status"] for r in rows] == ["complete"] * 6
    for row in rows:
        folder = tmp_path / "out" / row["name"]
        assert read_result(folder).workload.concurrency == row["settings"]["concurrency"]
        assert verify_run(folder).ok
        assert (folder / "report.html").exists()
    before = [r["id"] for r in rows]
    status, rows, _ = _ended(_start(tmp_path, cluster.address, {"hw": "a100", "grid": grid}, "--resume"))
    assert (status, [r["id"] for r in rows]) == (0, before)
    demanding = {"grid": {"hw,ray.resources": [["h100", {"second": 1}]]}}  # of the node that is gone
    status, rows, err = _ended(_start(tmp_path, cluster.address, demanding, "--resume"))
    told = err if status == 2 else rows[0]["reason"]  # the cluster may not have seen yet that it is gone
    assert status in (1, 2)
    assert "demands 1 CPU, 1 second and no node of the cluster has that" in told


def test_what_a_run_on_a_node_refuses_is_told(cluster, tmp_path):
    grid = {"hw,ray.resources": [["no-such-chip", {"second": 1}], ["a100", {"second": 2}]]}
    status, rows, err = _ended(_start(tmp_path, cluster.address, {"grid": grid}))
    assert status == 1, err
    assert [r["status"] for r in rows] == ["refused", "complete"]
    assert "no hardware profile named 'no-such-chip'" in rows[0]["reason"]


@pytest.mark.parametrize(
    ("demands", "problem"),
    [
        ({"gpu": 1}, "no demand named 'gpu'"),
        ({"gpus": -1}, "gpus is -1"),
        ({"resources": {"h100": "all"}}, "h100 is 'all'"),
        (3, "ray: 3 is no mapping"),
        ({"resources": 1}, "resources is 1 and no mapping"),
    ],
)
def test_demands_that_are_none_are_refused(tmp_path, capsys, demands, problem):
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(SHARED | {"ray": demands}))
    assert main(["sweep", str(path), "--dry-run"]) == 2
    assert problem in capsys.readouterr().err
