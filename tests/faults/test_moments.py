"""Signals at fifty random moments of whole runs, and folders that cannot be written: every run ends and says how."""

import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moecap.load.calibration import running_stub
from moecap.result import read_result
from moecap.verification.recomputation import verify_run

SERVER = Path(__file__).with_name("faulty_server.py")
ENDINGS = {signal.SIGINT: 130, signal.SIGTERM: 130, signal.SIGKILL: -signal.SIGKILL}

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def endpoint():
    """A server that fails now and then, in a process of its own."""
    command = [sys.executable, str(SERVER), "7", "0.02", "0.02", "5"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        process.stdin.close()


@pytest.fixture(scope="module")
def quick_endpoint():
    """A server that never fails and answers at once."""
    with running_stub() as target:
        yield f"http://{target.name}/v1"


@pytest.fixture
def start(endpoint, prompts, tiny_model):
    """A function that starts a run in a session of its own, ended with the test."""
    running = []

    def run(output, **options):
        load = {"num_requests": 24, "concurrency": 4, "input_len": 8, "output_len": 12}
        asked = {"endpoint": endpoint} | load | options
        words = [word for name, value in asked.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        command = [sys.executable, "-m", "moecap", "run", "--hw", "a100", "--task", "none"]
        where = ["--model", str(tiny_model("mixtral")), "--dataset", str(prompts), "--output", str(output)]
        process = subprocess.Popen(
            [*command, *where, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        process.stderr.close()


def _session(number):
    """Processes of a session that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == number and fields[0] != "Z":
                found.append(int(stat.parent.name))
    return found


def _none_left(number):
    """Whether a session ends within some seconds, since what a killed run has started sees it a little later."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if not _session(number):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("tenth", range(5))
def test_a_signal_at_any_moment_leaves_a_result_that_verifies_and_no_process(start, tmp_path, tenth):
    rng = random.Random(tenth)
    for number in range(10):
        output = tmp_path / str(number)
        sent = rng.choice(list(ENDINGS))
        process = start(output)
        time.sleep(rng.random() * 6)
        process.send_signal(sent)
        _, said = process.communicate(timeout=120)
        what = f"{tenth}/{number}, {sent.name}: {process.returncode}: {said[-500:]}"
        unborn = process.returncode == -sent and not said  # before it takes signals itself
        assert process.returncode in (0, ENDINGS[sent]) or unborn, what
        assert "Traceback" not in said, what
        assert _none_left(process.pid), what
        if (output / "result.json").exists() and (sent != signal.SIGKILL or (output / "result.json").stat().st_size):
            result = read_result(output)
            # killed after its result was stored, while the report is made, a run is complete
            ended = {0: ("complete",), 130: ("interrupted",)}.get(process.returncode, ("failed", "complete"))
            assert result.status in ended, what
            assert result.status == "complete" or result.reason, what
            assert verify_run(output).ok, what
        else:  # nothing was measured yet
            assert not output.exists() or not any(output.iterdir()) or sent == signal.SIGKILL, what


def _limit(process, size):
    """From now on no file that the process writes may become larger, bytes: what a full disk does, at any size."""
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, size))


def _load_begins(process, requests):
    said = []
    for line in process.stderr:
        said.append(line)
        if f"requests: {requests}" in line:
            return
    pytest.fail(f"the load did not begin: {''.join(said)}")


def test_a_disk_without_room_for_the_first_result_ends_the_run_in_one_line_and_leaves_nothing(start, tmp_path):
    process = start(tmp_path / "run")
    _limit(process, 3000)  # the first tables do not fit
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1, said
    assert "cannot be stored" in said.splitlines()[-1], said
    assert "Traceback" not in said, said
    assert _none_left(process.pid)
    assert not (tmp_path / "run").exists()


def test_a_disk_that_is_full_at_the_end_leaves_the_result_that_the_run_began_with(start, tmp_path):
    process = start(tmp_path / "run", num_requests=60)
    _load_begins(process, 60)
    _limit(process, 3000)
    said = process.stderr.read()
    assert process.wait(timeout=120) == 1, said
    assert "cannot be stored" in said.splitlines()[-1], said
    assert "Traceback" not in said, said
    assert _none_left(process.pid)
    assert "did not end" in read_result(tmp_path / "run").reason
    assert verify_run(tmp_path / "run").ok
    assert not list((tmp_path / "run").glob(".*")), "a temporary file was left"


def test_a_disk_that_has_room_for_a_result_alone_gets_one_that_says_so(start, quick_endpoint, tmp_path):
    process = start(tmp_path / "run", endpoint=quick_endpoint, num_requests=2500, concurrency=50)
    _load_begins(process, 2500)
    _limit(process, (tmp_path / "run" / "result.json").stat().st_size + 5000)  # 2500 requests are larger
    said = process.stderr.read()
    assert process.wait(timeout=120) == 1, said
    assert "cannot be stored" in said.splitlines()[-1], said
    result = read_result(tmp_path / "run")
    assert result.status == "failed"
    assert "cannot be stored (File too large)" in result.reason
    assert str(tmp_path) not in result.reason
    assert verify_run(tmp_path / "run").ok


def test_a_disk_without_room_for_the_report_costs_the_report_alone(start, quick_endpoint, tmp_path):
    process = start(tmp_path / "run", endpoint=quick_endpoint, num_requests=50)
    _load_begins(process, 50)
    _limit(process, (tmp_path / "run" / "result.json").stat().st_size + 30_000)
    answer, said = process.communicate(timeout=120)
    assert process.returncode == 1, said
    assert "report.html: the report cannot be written (File too large)" in said.splitlines()[-1], said
    assert "S-MBU" in answer
    assert read_result(tmp_path / "run").status == "complete"
    assert verify_run(tmp_path / "run").ok


def test_a_run_directory_that_is_taken_away_ends_the_run_in_one_line(start, tmp_path):
    process = start(tmp_path / "run", num_requests=60)
    _load_begins(process, 60)
    shutil.rmtree(tmp_path / "run")
    said = process.stderr.read()
    process.wait(timeout=120)
    assert process.returncode == 1, said
    assert "cannot be stored" in said.splitlines()[-1], said
    assert "Traceback" not in said, said
    assert _none_left(process.pid)
