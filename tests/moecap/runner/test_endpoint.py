"""Whole runs against a server that runs already: a stub of known schedule, which any OpenAI client could talk to."""

import errno
import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from moecap.cli import main
from moecap.load.calibration import running_stub
from moecap.observations.reader import read_observations
from moecap.result import read_result
from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.settings import with_settings
from moecap.verification.recomputation import verify_run

pytestmark = pytest.mark.engine

FIRST, GAP = 0.05, 0.01


@pytest.fixture(scope="module")
def stub():
    with running_stub(FIRST, GAP) as target:
        yield f"http://{target.name}/v1"


def _run(options, stub, **changes):
    outcome = run(with_settings(options | {"endpoint": stub, "backend": "auto"} | changes, ()), Reporter(quiet=True))
    assert outcome.error is None
    return outcome.directory, outcome.result


def test_latencies_of_an_endpoint_are_those_of_its_schedule(run_options, stub):
    directory, result = _run(run_options, stub, num_requests=40, concurrency=4)
    metrics = result.metrics
    assert metrics["ttft.p50"].value == pytest.approx(FIRST, abs=0.01)
    assert metrics["tpot.p50"].value == pytest.approx(GAP, abs=0.003)
    assert metrics["itl.p50"].value == pytest.approx(GAP, abs=0.003)
    assert metrics["e2e.p50"].value == pytest.approx(FIRST + 5 * GAP, abs=0.02)
    assert metrics["failed_requests"].value == 0
    assert result.backend.name == "openai"
    assert verify_run(directory).ok
    assert json.loads((directory / "result.json").read_text())["workload"]["endpoint"].startswith("http://127.0.0.1:")


def test_what_cannot_be_known_from_outside_is_null_with_a_reason(run_options, stub):
    _, result = _run(run_options, stub)
    for name in ("experts.distinct_mean", "experts.load_entropy", "others_cpu_share", "busy_fraction"):
        assert result.metrics[name].value is None, name
        assert result.metrics[name].reason


def test_s_mbu_from_outside_is_an_estimate_with_both_bounds_and_says_so(run_options, stub):
    directory, result = _run(run_options, stub)
    mbu = result.metrics["decode.s_mbu"]
    assert mbu.low <= mbu.value <= mbu.high <= result.metrics["decode.mbu"].value * (1 + 1e-9)
    assert mbu.low < mbu.high
    assert result.routing_source == "estimated"
    assert {"steps_reconstructed", "routing_estimated", "attached"} <= {flag.name for flag in result.flags}
    assert verify_run(directory).ok


def test_the_client_says_how_much_of_its_ceiling_was_used(run_options, stub):
    directory, result = _run(run_options, stub, num_requests=40)
    ceiling = result.backend.client_chunks_per_second
    chunks = pq.read_table(directory / "chunks.parquet").to_pandas()
    requests = pq.read_table(directory / "requests.parquet").to_pandas()
    load = chunks[chunks["request"].isin(requests["request"][requests["stage"] == "load"])]
    second = ((load["time_ns"] - load["time_ns"].min()) // 1_000_000_000).value_counts().max()
    assert result.metrics["client.peak_chunks_per_second"].value == second
    assert result.metrics["client.utilisation"].value == pytest.approx(second / ceiling)
    assert "client_limit" not in {flag.name for flag in result.flags}


def test_a_client_near_its_ceiling_makes_the_run_invalid(run_options, stub, monkeypatch):
    """inference-perf#86: the client's own delay must not pass for the server's latency."""
    from moecap.load.calibration import Calibration

    monkeypatch.setattr("moecap_backends.served.calibrate", lambda *_: Calibration(100.0, 0.01, 100, 2))
    _, result = _run(run_options, stub, num_requests=40)
    flag = next(flag for flag in result.flags if flag.name == "client_limit")
    assert flag.level == "invalid"
    assert "more than 60%: its own delays" in flag.text
    use = result.metrics["client.utilisation"].value
    assert f"(it had 1; --client-processes {math.ceil(use / 0.6)})" in flag.text


@pytest.mark.parametrize(
    ("changes", "streams", "choices"),
    [
        ({"concurrency": 3}, 3, 1),
        ({"concurrency": 3, "n": 2, "temperature": 1.0}, 3, 2),
        # answers of 44 tokens stream for 0.22 s at 200 a second, and one comes every 0.05 s
        ({"rate": 20.0, "arrival": "constant", "output_len": 44}, 5, 1),
    ],
)
def test_auto_knows_how_many_answers_will_stream_at_once(run_options, stub, monkeypatch, changes, streams, choices):
    from moecap.load.calibration import Calibration

    asked = []

    def calibrated(*how):
        asked.append(how)
        return Calibration(1e6, 1e-6, 100, 2)

    monkeypatch.setattr("moecap_backends.served.calibrate", calibrated)
    _run(run_options, stub, client_processes="auto", **changes)
    assert asked == [(streams, "auto", choices)]


def test_several_client_processes_leave_the_observations_of_one(run_options, stub, tmp_path):
    load = {"num_requests": 12, "concurrency": 4, "turns": 2}
    found = {}
    for processes in (1, 2):
        directory, result = _run(
            run_options, stub, **load, client_processes=processes, output=str(tmp_path / f"by-{processes}")
        )
        assert verify_run(directory).ok
        assert result.backend.client_processes == processes
        assert ("--client-processes 2" in result.provenance.command) == (processes == 2)
        requests = read_observations(directory).requests
        columns = ["prompt_id", "session", "turn", "status", "input_tokens", "output_tokens", "answer_sha256"]
        sent = requests.loc[requests["stage"] == "load", columns].sort_values("prompt_id")
        found[processes] = sent.astype(str).to_numpy().tolist()
        assert result.metrics["ttft.p50"].value == pytest.approx(FIRST, abs=0.1)
    assert found[1] == found[2]
    assert len(found[1]) == 12


def test_an_open_loop_arrives_as_asked_and_counts_from_the_schedule(run_options, stub):
    directory, result = _run(run_options, stub, rate=20.0, num_requests=40, arrival="constant")
    requests = pq.read_table(directory / "requests.parquet").to_pandas()
    load = requests[requests["stage"] == "load"].sort_values("scheduled_ns")
    assert np.diff(load["scheduled_ns"]) * 1e-9 == pytest.approx([0.05] * 39, abs=1e-6)
    assert result.metrics["requests_per_second"].value == pytest.approx(20, rel=0.1)
    late = (load["sent_ns"] - load["scheduled_ns"]) * 1e-9
    assert late.min() >= 0
    scheduled, sent = (result.metrics[n].value for n in ("ttft_from_schedule.p50", "ttft.p50"))
    assert scheduled >= sent
    assert verify_run(directory).ok


def test_two_runs_share_no_prompt_so_that_no_prefix_cache_inflates_them(run_options, stub, tmp_path, monkeypatch):
    """vllm#52884: a fixed seed and a prefix cache made results up to 2.3 times too good."""
    from moecap_backends.openai import OpenaiEngine

    sent = []
    original = OpenaiEngine.render

    def render(self, prompt, key):
        sent.append(prompt.tokens)
        return original(self, prompt, key)

    monkeypatch.setattr(OpenaiEngine, "render", render)
    for name in ("a", "b"):
        _run(run_options, stub, output=str(tmp_path / name))
    assert len({tokens[:12] for tokens in sent}) == len(sent)
    assert {len(tokens) for tokens in sent} == {16}
    sent.clear()
    for name in ("c", "d"):
        _run(run_options, stub, output=str(tmp_path / name), allow_prefix_cache=True)
    assert len(set(sent)) < len(sent)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--engine-arg", "model=other"], "no model 'other' is served; it serves stub"),
        (["--engine-arg", "api=soap"], "api=soap: not one of completions, chat"),
        (["--task", "arc_easy"], "needs prompt_logprobs, which backend 'openai' lacks"),
    ],
)
def test_wrong_wishes_are_one_line(run_options, stub, capsys, options, problem):
    words = ["run", "--endpoint", stub]
    for name, value in run_options.items():
        if name not in ("task", "backend"):
            words += [f"--{name.replace('_', '-')}", str(value)]
    words += options if "--task" in options else ["--task", "none", *options]
    assert main(words) == 2
    assert problem in capsys.readouterr().err.strip().splitlines()[-1]


def test_an_endpoint_elsewhere_needs_the_name_of_its_hardware(run_options, capsys):
    words = ["run", "--endpoint", "http://192.0.2.1:8000", "--model", str(run_options["model"]), "--task", "none"]
    assert main(words) == 2
    assert "name its hardware with --hw" in capsys.readouterr().err


def test_an_interrupted_load_keeps_what_came_and_exits_with_130(run_options, tmp_path):
    with running_stub(0.05, 0.05) as target:
        options = run_options | {"endpoint": f"http://{target.name}", "backend": "auto", "output_len": 400}
        words = [w for n, v in options.items() for x in (v if isinstance(v, list) else [v]) for w in _option(n, x)]
        command = [sys.executable, "-m", "moecap", "run", *words]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for line in process.stderr:
            if "requests: 10" in line:
                break
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=300)
    assert process.returncode == 130, said
    result = read_result(tmp_path / "run")
    assert result.status == "interrupted"
    chunks = pq.read_table(tmp_path / "run" / "chunks.parquet").to_pandas()
    requests = pq.read_table(tmp_path / "run" / "requests.parquet").to_pandas()
    load = requests[requests["stage"] == "load"]
    assert set(load["status"]) == {"unfinished"}
    assert chunks["request"].isin(load["request"]).sum() > 10
    assert verify_run(tmp_path / "run").ok


def _option(name, value):
    return f"--{name.replace('_', '-')}", str(value)


def test_a_server_that_answers_nothing_ends_the_run_with_its_words(run_options, monkeypatch):
    from moecap_backends.openai import OpenaiEngine

    original = OpenaiEngine.render

    def unknown(self, prompt, key):
        request = original(self, prompt, key)
        return request.replace(b"POST /v1/completions", b"GET /v1/completions0")

    monkeypatch.setattr(OpenaiEngine, "render", unknown)
    with running_stub() as target:
        options = run_options | {"endpoint": f"http://{target.name}", "backend": "auto"}
        outcome = run(with_settings(options, ()), Reporter(quiet=True))
    assert outcome.result.status == "failed"
    assert outcome.result.reason.startswith("none of 2 requests was answered: HTTP 404")
    assert verify_run(outcome.directory).ok


def test_requests_are_kept_where_an_engine_finds_after_the_load_that_something_is_missing(run_options, monkeypatch):
    """Such an engine records no steps: its requests and chunks are all that was observed."""
    from moecap.errors import NotAvailableError
    from moecap_backends.openai import OpenaiEngine

    def missing(_self, _records, recorder):
        if recorder.stage == "load":
            raise NotAvailableError("reading the record needs a package")

    monkeypatch.setattr(OpenaiEngine, "observe", missing)
    with running_stub() as target:
        options = run_options | {"endpoint": f"http://{target.name}", "backend": "auto"}
        outcome = run(with_settings(options, ()), Reporter(quiet=True))
    assert outcome.result.status == "failed"
    assert outcome.result.reason == "reading the record needs a package"
    assert (read_observations(outcome.directory).requests["stage"] == "load").any()


def test_observations_that_contradict_each_other_are_kept_beside_a_result_that_says_so(run_options, monkeypatch):
    from moecap.errors import RunError
    from moecap_backends.openai import OpenaiEngine

    def contradicting(_self, _records, recorder):
        if recorder.stage == "load":
            recorder.chunk(1_000_000, time.monotonic_ns(), 1)

    monkeypatch.setattr(OpenaiEngine, "observe", contradicting)
    with running_stub() as target:
        options = run_options | {"endpoint": f"http://{target.name}", "backend": "auto"}
        with pytest.raises(RunError, match="observations are kept there and give no result, since chunks"):
            run(with_settings(options, ()), Reporter(quiet=True))
    place = Path(run_options["output"])
    result = read_result(place)
    assert result.status == "failed"
    assert "a chunk of request 1000000, which requests.parquet does not have" in result.reason
    assert verify_run(place).ok
    kept = pq.read_table(place / "refused" / "requests.parquet").to_pandas()
    assert (kept["status"] == "completed").sum() >= run_options["num_requests"]


def test_contradicting_observations_for_which_there_is_no_room_end_the_run_in_one_line_too(run_options, monkeypatch):
    from moecap.errors import RunError
    from moecap.observations.recorder import Recorder
    from moecap_backends.openai import OpenaiEngine

    original = Recorder.write

    def contradicting(_self, _records, recorder):
        if recorder.stage == "load":
            recorder.chunk(1_000_000, time.monotonic_ns(), 1)

    def full(recorder, directory):
        if directory.name == "refused":
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(recorder, directory)

    monkeypatch.setattr(OpenaiEngine, "observe", contradicting)
    monkeypatch.setattr(Recorder, "write", full)
    with running_stub() as target:
        options = run_options | {"endpoint": f"http://{target.name}", "backend": "auto"}
        with pytest.raises(
            RunError, match=r"cannot be kept \(No space left on device\) and give no result, since chunks"
        ):
            run(with_settings(options, ()), Reporter(quiet=True))
    assert read_result(Path(run_options["output"])).status == "failed"


def test_the_name_of_another_machine_is_in_no_result():
    from moecap.runner.places import public_endpoint

    assert public_endpoint("http://gpu7.corp.internal:8000/v1") == "http://endpoint/v1"
    assert public_endpoint("http://user:key@10.0.0.7/v1") == "http://endpoint/v1"
    assert public_endpoint("http://127.0.0.1:8000/v1") == "http://127.0.0.1:8000/v1"
