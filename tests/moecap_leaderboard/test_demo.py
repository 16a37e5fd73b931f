"""What a newcomer sees: real runs, figures of others with their sources, and projections marked as such."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from importlib.resources import files

import pytest

from moecap.cli import main
from moecap_leaderboard.demo import fill_empty
from moecap_leaderboard.integrity import check_store

POINTS = json.loads(gzip.decompress((files("moecap_leaderboard") / "demo_data/published_points.json.gz").read_bytes()))


@pytest.fixture
def database_url(tmp_path):
    return f"sqlite:///{tmp_path / 'board.sqlite'}"


def test_an_empty_store_is_filled_and_another_left_alone(board):
    added = fill_empty(board.service)
    assert added["measured"] == 4
    assert fill_empty(board.service) is None

    measured = board.get("/results", limit=200)["items"]
    assert {(item["tier"], item["recomputed"], item["source"]) for item in measured} == {("recomputed", True, None)}
    for item in measured:
        rules = board.get(f"/results/{item['id']}")["rules"]
        assert [rule["id"] for rule in rules if rule["outcome"] == "failed"] == []

    imported = board.get("/export.json", kind="imported", versions="all")["items"]
    assert len(imported) == added["imported"]
    assert {(item["kind"], item["tier"]) for item in imported} == {("imported", "self_reported")}
    sources = {point["source"] for point in POINTS["points"]}
    assert {item["source"] for item in imported} == sources
    values = sum(len(board_item["metrics"]) for board_item in imported)
    shown = sum(point["metric"] not in ("gpu_power_avg_sum", "prefill_speed") for point in POINTS["points"])
    assert values == shown

    projected = board.get("/export.json", kind="projected", versions="all")["items"]
    assert len(projected) == added["projected"] > 0
    assert all("nothing was measured" in item["source"] for item in projected)
    for item in projected:
        assert all(m["low"] < m["value"] < m["high"] for m in item["metrics"].values())
    assert board.client.get(f"/api/v1/results/{projected[0]['id']}/observations").status_code == 404
    assert check_store(board.service.database, board.service.blobs.folder).problems == ()


def test_of_one_configuration_the_figure_of_the_latest_date_is_shown(board):
    """The file names some of 28 March 2026 before those of the 27th."""
    fill_empty(board.service)
    for kind in ("imported", "projected"):
        dates = {}
        for item in board.get("/export.json", kind=kind, versions="all")["items"]:
            date = board.get(f"/results/{item['id']}")["result"]["date"] if item["versions"] > 1 else None
            dates.setdefault(item["configuration"], []).append((item["version"], date))
        twice = [[date for _, date in sorted(pairs)] for pairs in dates.values() if len(pairs) > 1]
        assert twice
        assert all(found == sorted(found) for found in twice)


def test_what_a_source_ran_with_fewer_experts_is_in_no_ranking(board):
    fill_empty(board.service)
    items = board.get("/results", kind="imported", engine="ktransformers", limit=50)["items"]
    fewer = [item for item in items if "6 of 8" in item["engine"]["version"]]
    assert fewer
    assert all(item["unranked_because"] == ["model_changed"] for item in fewer)
    assert all(item["ranked"] for item in items if item not in fewer)


def test_a_published_number_stands_in_units_of_the_leaderboard(board):
    """Mixtral-8x22B on 8 H100, TensorRT-LLM 0.14, fp8, 1,000 in and 1,000 out: 16,918.03 tokens/s (row P0008)."""
    fill_empty(board.service)
    query = {"kind": "imported", "model": "Mixtral-8x22B", "hardware": "h100-sxm", "precision": "fp8"}
    found = board.get("/results", limit=200, versions="all", **query)["items"]
    rows = [i for i in found if (i["workload"]["input_len"], i["workload"]["output_len"]) == (1000, 1000)]
    rows = [i for i in rows if i["engine"]["version"].startswith("TensorRT-LLM 0.14.0")]
    values = [i["metrics"]["output_tokens_per_second"]["value"] for i in rows]
    assert 16918.03 in values
    assert rows[0]["engine"]["name"] == "trtllm"
    ttft = next(point for point in POINTS["points"] if point["id"] == "P1122")
    minimax = board.get("/results", kind="imported", model=ttft["model"], limit=200, versions="all")["items"]
    assert any(i["metrics"].get("ttft", {}).get("value") == pytest.approx(0.2686002) for i in minimax)


def test_the_command_serves_the_demonstration_and_ends_when_it_is_told(tmp_path):
    environment = os.environ | {"MOECAP_LEADERBOARD_DATA": str(tmp_path), "DATABASE_URL": ""}
    words = [sys.executable, "-m", "moecap", "serve", "--demo", "--port", "0"]
    said = []
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            for line in process.stderr:
                said.append(line)
                if "leaderboard on http://" in line:
                    break
            url = said[-1].split()[3].rstrip(";")
            with urllib.request.urlopen(f"{url}/api/v1/results?kind=all&limit=5", timeout=60) as answer:
                assert len(json.load(answer)["items"]) == 5
            process.send_signal(signal.SIGTERM)
            said += process.stderr.readlines()
        finally:
            process.kill()
    assert any("shown once: moecap_" in line for line in said)
    assert any("4 rows measured" in line for line in said)
    assert (process.returncode, said[-1]) == (130, "moecap: interrupted\n")


def test_an_address_that_is_taken_is_refused_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MOECAP_LEADERBOARD_DATA", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status = main(["serve", "--port", str(taken.getsockname()[1])])
    assert status == 2
    assert "in use" in capsys.readouterr().err.splitlines()[-1]
