"""Where the answer cannot be written, one line says so, and never a traceback."""

import subprocess
import sys

import pytest

COMMANDS = ["run --help", "models list", "hw list --json", "schema result"]


def _shell(command: str, streams: str) -> subprocess.CompletedProcess[str]:
    line = f"set -o pipefail; {sys.executable} -m moecap {command} {streams}"
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_is_one_line_and_exit_status_1(command):
    done = _shell(command, "> /dev/full")
    assert done.returncode == 1
    assert done.stderr.startswith("moecap: the answer could not be written (No space left on device); ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [*COMMANDS, "verify ."])
def test_a_closed_stdout_is_one_line_and_exit_status_1(command):
    done = _shell(command, ">&-")
    assert done.returncode == 1
    assert done.stderr.startswith("moecap: stdout is closed, ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_has_gone_ends_the_command_quietly(command):
    done = _shell(command, "| true")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("stderr", ["2>&-", "2>/dev/full"])
def test_without_stderr_the_exit_status_stays(stderr):
    assert _shell("verify /nowhere", stderr).returncode == 2
    assert _shell("schema result", f"{stderr} > /dev/null").returncode == 0


def test_a_closed_descriptor_is_not_given_to_a_data_file(tmp_path):
    path = tmp_path / "host.yaml"
    script = f"""
import os, sys
sys.argv = ["moecap", "schema"]
from moecap.cli import main
assert main() == 0
with open({str(path)!r}, "w") as file:
    os.write(2, b"a library complains")
    file.write("data")
"""
    command = ["bash", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, script]
    subprocess.run(command, stdout=subprocess.DEVNULL, timeout=300, check=True)
    assert path.read_text() == "data"
