"""Threads of an engine on a processor that wait for each other leave the cores to others."""

import os
import re
import subprocess
import sys

import pytest


def _option(name):
    return f"--{name.replace('_', '-')}"


@pytest.mark.engine
def test_waiting_threads_sleep(run_options):
    words = [word for name, value in (run_options | {"task": "none"}).items() for word in (_option(name), str(value))]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-m", "moecap", "run", *words],
        env=environment | {"OMP_DISPLAY_ENV": "TRUE"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(re.findall(r"OMP_WAIT_POLICY = '(.*)'", done.stderr)) == {"PASSIVE"}  # OpenMP's own word as it is loaded
