"""Whole runs against servers that fail: each ends, says what happened, and keeps what was answered."""

import itertools
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from faulty_server import SILENT, FaultyServer

from moecap.errors import UsageError
from moecap.load.calibration import running_stub
from moecap.observations.reader import read_observations
from moecap.result import read_result
from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.settings import with_settings
from moecap.verification.recomputation import verify_run

pytestmark = pytest.mark.engine

HERE = Path(__file__).parent


@pytest.fixture
def options(tiny_model, prompts, tmp_path):
    """A load that a server answers within a second."""
    return {
        "model": str(tiny_model("mixtral")),
        "dataset": str(prompts),
        "hw": "a100",
        "task": ["none"],
        "num_requests": 12,
        "concurrency": 3,
        "input_len": 8,
        "output_len": 6,
        "output": str(tmp_path / "run"),
    }


def _run(options, reporter=None, **more):
    return run(with_settings(options | more, ()), reporter or Reporter(quiet=True))


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("429", r"HTTP 429: refused with 429"),
        ("503", r"HTTP 503: refused with 503"),
        ("reset at once", "connection"),
        ("malformed event", "malformed answer"),
        ("no HTTP", "does not speak HTTP"),
        ("never answers", "no (whole answer|connection) within 2 s"),
        ("headers and no body", "no (whole answer|connection) within 2 s"),
        ("stalls midway", "no (whole answer|connection) within 2 s"),
        ("one byte a second", "no (whole answer|connection) within 2 s"),
    ],
)
def test_a_server_that_answers_no_request_ends_the_run_in_its_warm_up(options, kind, why):
    limit = 2 if kind in SILENT else 60
    with FaultyServer(1, faults=1.0, only=kind) as server:
        outcome = _run(options, endpoint=f"http://{server.target.name}", engine_arg=[f"timeout={limit}"])
    result = outcome.result
    assert result.status == "failed"
    assert re.search(rf"none of 3 requests was answered: .*{why}", result.reason), result.reason
    assert verify_run(outcome.directory).ok
    requests = read_observations(outcome.directory).requests
    assert requests["stage"].tolist() == ["warmup"] * 3
    assert requests["status"].tolist() == ["failed"] * 3
    assert server.asked == 3, "a request was sent again"


def test_a_server_that_is_killed_in_the_middle_of_a_load_costs_what_it_had_not_answered(options):
    command = [sys.executable, str(HERE / "faulty_server.py"), "7", "0.02", "0.02", "0"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        port = server.stdout.readline().strip()

        class Killer(Reporter):
            @contextmanager
            def bar(self, text, total, told=None):
                yield lambda number: server.send_signal(signal.SIGKILL) if 6 <= number < total else None

        outcome = _run(options, Killer(quiet=True), endpoint=f"http://127.0.0.1:{port}", num_requests=60)
    assert outcome.result.status == "complete"
    assert verify_run(outcome.directory).ok
    requests = read_observations(outcome.directory).requests
    load = requests[requests["stage"] == "load"]
    assert len(load) == 60
    answered = load["status"] == "completed"
    assert answered.sum() >= 6
    assert set(load.loc[~answered, "status"]) == {"failed"}
    assert load.loc[~answered, "error"].str.contains("connect").all(), load.loc[~answered, "error"].unique()
    assert outcome.result.metrics["failed_requests"].value == 60 - answered.sum()


def test_an_encrypted_server_is_measured_like_any_other(options, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with FaultyServer(1, faults=0.0, tls=certificate[1]) as server:
        outcome = _run(options, endpoint=f"https://{server.target.name}")
    assert outcome.error is None
    assert outcome.result.metrics["failed_requests"].value == 0
    assert verify_run(outcome.directory).ok


def test_a_server_whose_certificate_nobody_vouches_for_is_refused_in_one_line(options, certificate, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with FaultyServer(1, tls=certificate[1]) as server, pytest.raises(UsageError, match="certificate verify") as said:
        _run(options, endpoint=f"https://{server.target.name}")
    assert "\n" not in str(said.value)
    assert not Path(options["output"]).exists()


def test_counts_of_a_server_that_are_wrong_are_flagged(options):
    with FaultyServer(1, faults=0.0, only="wrong usage") as server:
        outcome = _run(options, endpoint=f"http://{server.target.name}")
    flags = {flag.name: flag.text for flag in outcome.result.flags}
    assert flags["output_length"].startswith("12 of 12 ")
    assert outcome.result.metrics["itl.p50"].value is None


@pytest.fixture(scope="module")
def stepping_clock(tmp_path_factory):
    """A library that sets the wall clock of a process an hour back and forth every tenth of a second."""
    library = tmp_path_factory.mktemp("clock") / "stepping_clock.so"
    subprocess.run(
        ["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(HERE / "stepping_clock.c")],
        check=True,
    )
    return library


def test_a_wall_clock_that_is_set_during_a_run_changes_no_measured_time(options, stepping_clock, tmp_path):
    words = [w for n, v in options.items() for x in (v if isinstance(v, list) else [v]) for w in _word(n, x)]
    with running_stub(0.05, 0.02) as target:
        command = [sys.executable, "-m", "moecap", "run", "--endpoint", f"http://{target.name}", *words]
        done = subprocess.run(
            command, env=os.environ | {"LD_PRELOAD": str(stepping_clock)}, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    result = read_result(tmp_path / "run")
    provenance = result.provenance
    span = (pd.Timestamp(provenance.finished) - pd.Timestamp(provenance.started)).total_seconds()
    assert -1 < span - sum(provenance.seconds.values()) < 600
    values = {name: result.metrics[name].value for name in ("ttft.p50", "tpot.p50", "e2e.p50")}
    assert 0.05 <= values["ttft.p50"] < 60, values
    assert 0.015 <= values["tpot.p50"] < 60, values
    assert 0.05 + 5 * 0.02 <= values["e2e.p50"] < 60, values
    assert verify_run(tmp_path / "run").ok
    seen = read_observations(tmp_path / "run")
    for times in (seen.chunks.groupby("request")["time_ns"].apply(list), [seen.telemetry["time_ns"].tolist()]):
        assert all(a <= b for of in times for a, b in itertools.pairwise(of))


def _word(name, value):
    return f"--{name.replace('_', '-')}", str(value)
