"""Servers that end with us, with their own words where they fail, and leave no process behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moecap.errors import RunError
from moecap.telemetry import descendants
from moecap_backends.server_process import ServerProcess, free_port

SLEEPS = "import time; time.sleep(600)"
FAMILY = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEPS!r}]); {SLEEPS}"
SERVES = "import http.server as h, sys; h.test(h.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind='127.0.0.1')"


def _server(code, tmp_path, *arguments, port=9, deadline=30.0):
    return ServerProcess(
        "test",
        [sys.executable, "-c", code, *arguments],
        variables={"MOECAP_TEST": "1"},
        log=tmp_path / "server.log",
        health=f"http://127.0.0.1:{port}/",
        deadline=deadline,
    )


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _all_gone(pids, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any(_alive(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def _family(pid, size, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if len(found := descendants(pid)) >= size:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{found} after {seconds} s")


def test_a_server_is_ready_when_it_answers_and_gone_when_it_is_left(tmp_path):
    port = free_port()
    said = []
    with _server(SERVES, tmp_path, str(port), port=port) as server:
        server.wait_until_ready(said.append)
        family = descendants(server._process.pid)
        assert family
        assert not server.ended
    assert _all_gone(family)
    assert said == ["starting test; it writes to server.log"]


ROOT_CAUSE = """
print("(EngineCore pid=7) ERROR 11-26 02:10:35 [core.py:15] RuntimeError: Worker failed with error 'out of memory'")
print("(Worker pid=8) ERROR 11-26 02:10:36 [executor.py:3] Worker proc died unexpectedly (failed)", flush=True)
raise RuntimeError("Engine core initialization failed. See root cause above.")
"""
CHILD = """
print("[2026-11-26 02:56:06] Scheduler hit an exception: Traceback (most recent call last):")
print("ValueError: Loaded weights leave no memory for the KV cache")
raise SystemExit("[2026-11-26 02:56:06] Received sigquit from a child process. It usually means the child failed.")
"""


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("print('loading'); raise ValueError('no such model: x')", "ValueError: no such model: x"),
        (
            "import argparse; argparse.ArgumentParser().parse_args(['--frobnicate'])",
            "unrecognized arguments: --frobnicate",
        ),
        ("print('bye')", "bye"),
        ("bytearray(1 << 62)", "MemoryError"),
        (ROOT_CAUSE, "RuntimeError: Worker failed with error 'out of memory'"),
        (CHILD, "ValueError: Loaded weights leave no memory for the KV cache"),
        ("import os; print('loading weights', flush=True); os.kill(os.getpid(), 9)", "loading weights"),
        ("", "nothing"),
    ],
)
def test_a_server_that_ends_while_starting_gives_its_own_words(tmp_path, code, words):
    with _server(code, tmp_path) as server, pytest.raises(RunError, match="ended with status") as caught:
        server.wait_until_ready(lambda _line: None)
    assert str(caught.value).endswith(words)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise SystemExit(3)", "ended with status 3 while"),
        ("raise SystemExit(129 + 64)", "ended with status 193 while"),
        ("import os; os.kill(os.getpid(), 15)", r"ended with status 143 \(SIGTERM\) while"),
        ("import os; os.kill(os.getpid(), 9)", r"status 137 \(SIGKILL, which the system sends where memory runs out\)"),
    ],
)
def test_a_signal_that_ended_a_server_is_named(tmp_path, code, words):
    with _server(code, tmp_path) as server, pytest.raises(RunError, match=words):
        server.wait_until_ready(lambda _line: None)


STAYS = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
LEAVES = (
    f"import subprocess, sys; left = subprocess.Popen([sys.executable, '-c', {STAYS!r}], stdout=subprocess.PIPE); "
    f"left.stdout.readline(); {SERVES}"
)


def test_a_server_that_answers_no_more_is_waited_for_until_all_of_it_has_ended(tmp_path):
    """Where a client sees its requests fail, the process that watches the server may still be at its end."""
    port = free_port()
    with _server(LEAVES, tmp_path, str(port), port=port) as server:
        server.wait_until_ready(lambda _line: None)
        assert not server.ending
        family = _family(server._process.pid, 2)
        os.kill(family[0], signal.SIGKILL)
        while server._answers():
            time.sleep(0.01)
        assert not server.ended  # what it has left behind is given some seconds to end
        assert server.ending
        assert server.ended
    assert _all_gone(family)


def test_a_server_that_does_not_get_ready_is_ended_at_its_deadline(tmp_path):
    with _server(f"print('still loading', flush=True); {SLEEPS}", tmp_path, deadline=1.0) as server:
        family = _family(server._process.pid, 1)
        with pytest.raises(RunError, match="was not ready within 1 s; the last it said: still loading"):
            server.wait_until_ready(lambda _line: None)
    assert _all_gone(family)


def test_what_a_server_has_started_is_ended_with_it(tmp_path):
    with _server(FAMILY, tmp_path) as server:
        family = _family(server._process.pid, 2)
    assert _all_gone(family)


def test_no_process_is_left_behind_when_moecap_is_killed(tmp_path):
    code = f"""
import sys, time
from pathlib import Path
from moecap_backends.server_process import ServerProcess
server = ServerProcess("test", [sys.executable, "-c", {FAMILY!r}], variables={{}}, log=Path({str(tmp_path / "log")!r}),
                       health="http://127.0.0.1:9/", deadline=60)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code]) as parent:
        family = _family(parent.pid, 3)
        parent.kill()
    assert _all_gone(family)


def test_a_servers_temporary_files_go_with_it_also_when_moecap_is_killed(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    code = f"import tempfile; tempfile.mkstemp(); print('up', flush=True); {SLEEPS}"
    with _server(code, tmp_path / "a") as server:
        while "up" not in (tmp_path / "a" / "server.log").read_text():
            time.sleep(0.05)
        (scratch,) = tmp_path.glob("moecap-*")
        assert len(list(scratch.iterdir())) == 1
        family = [server._process.pid, *descendants(server._process.pid)]
        server._process.stdin.close()  # what its guardian sees when this process is gone
        assert _all_gone(family)
    assert not list(tmp_path.glob("moecap-*"))


def test_a_server_that_ignores_a_request_to_end_is_killed(tmp_path, monkeypatch):
    stubborn = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); {SLEEPS}"
    monkeypatch.setenv("MOECAP_GRACE_SECONDS", "1")
    with _server(stubborn, tmp_path) as server:
        family = _family(server._process.pid, 1)
        while "up" not in (tmp_path / "server.log").read_text():
            time.sleep(0.05)
    assert _all_gone(family)
