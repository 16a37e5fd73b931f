"""A third-party package, really installed, brings a backend and a task."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.engine]
PACKAGE = Path(__file__).parents[2] / "plugin_package"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The environment of a Python that has the package installed."""
    target = tmp_path_factory.mktemp("plugin")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(target), str(PACKAGE)], check=True, capture_output=True)
    return os.environ | {"PYTHONPATH": str(target)}


def _moecap(environment, *arguments):
    command = [sys.executable, "-m", "moecap", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def _options(run_options, **changes):
    options = run_options | changes
    return [
        word
        for name, value in options.items()
        for item in (value if isinstance(value, list) else [value])
        for word in (f"--{name.replace('_', '-')}", item)
    ]


def test_its_backend_and_task_are_listed(installed):
    backends = json.loads(_moecap(installed, "backends", "list", "--json").stdout)
    tasks = json.loads(_moecap(installed, "tasks", "list", "--json").stdout)
    assert {"name": "successor", "available": True}.items() <= next(
        b for b in backends if b["name"] == "successor"
    ).items()
    assert {"capitals", "sums"} <= {t["name"] for t in tasks}
    shown = json.loads(_moecap(installed, "tasks", "show", "sums", "--json").stdout)
    assert (shown["requires"], shown["source"]) == (["generate"], "made by rule")


def test_its_task_runs_on_a_backend_of_ours(installed, run_options):
    done = _moecap(installed, "run", *_options(run_options, task=["capitals"]))
    assert done.returncode == 0, done.stderr
    assert "capitals" in done.stdout
    assert _moecap(installed, "verify", run_options["output"]).returncode == 0


def test_its_task_that_generates_is_the_load_of_a_run(installed, run_options):
    asked = {k: v for k, v in run_options.items() if k not in ("dataset", "num_requests", "input_len")}
    done = _moecap(installed, "run", *_options(asked, task=["sums"], limit=6), "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["tasks"][0]["in_load"] is True
    assert result["metrics"]["accuracy.sums"]["n"] == 6
    assert _moecap(installed, "verify", run_options["output"]).returncode == 0
    samples = Path(run_options["output"]) / "samples.jsonl"
    scored = _moecap(installed, "score", "--task", "sums", "--limit", 6, "--predictions", samples, "--json")
    assert json.loads(scored.stdout)["n"] == 6


def test_its_tasks_are_a_short_file():
    assert len((PACKAGE / "src" / "moecap_example" / "task.py").read_text().splitlines()) < 60


def test_its_backend_runs_and_its_unknown_routing_is_not_passed_off_as_measured(installed, run_options):
    done = _moecap(installed, "run", *_options(run_options, backend="successor"), "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["backend"]["name"] == "successor"
    assert result["routing_source"] == "estimated"
    mbu = result["metrics"]["decode.s_mbu"]
    assert 0 < mbu["low"] < mbu["value"] < mbu["high"] <= result["metrics"]["decode.mbu"]["value"] * (1 + 1e-9)
    assert result["metrics"]["experts.distinct_mean"]["value"] is None
    assert "routing_estimated" in {flag["name"] for flag in result["flags"]}


@pytest.mark.parametrize("pace", [{}, {"rate": 50}])
def test_its_engine_behind_http_runs_in_both_loops_and_leaves_no_server(installed, run_options, pace):
    done = _moecap(installed, "run", *_options(run_options, backend="counting", **pace), "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["metrics"]["failed_requests"]["value"] == 0
    assert result["metrics"]["tpot.p50"]["value"] == pytest.approx(0.002, rel=1.0)
    assert "steps_reconstructed" in {flag["name"] for flag in result["flags"]}
    assert _moecap(installed, "verify", run_options["output"]).returncode == 0
    running = subprocess.run(["pgrep", "-f", "moecap_example.counting_server"], capture_output=True, check=False)
    assert running.stdout == b""


def test_the_guide_shows_that_engine_as_it_is():
    page = (PACKAGE.parents[1] / "docs" / "extend.md").read_text()
    example = (PACKAGE / "src" / "moecap_example" / "served.py").read_text()
    assert f"```python\n{example}```" in page
    assert len(example.splitlines()) <= 100


def test_a_task_that_its_backend_cannot_serve_is_refused_with_those_that_can(installed, run_options):
    done = _moecap(installed, "run", *_options(run_options, backend="successor", task=["capitals"]))
    assert done.returncode == 2
    assert "needs prompt_logprobs, which backend 'successor' lacks; backends that would do: " in done.stderr
    assert "transformers" in done.stderr.partition("would do: ")[2]
