"""The sampler reads this machine, counts only the processors that the process may use, and can be paused."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from moecap import telemetry as module
from moecap.observations.recorder import Recorder
from moecap.observations.schema import TELEMETRY
from moecap.telemetry import Telemetry, descendants, processor_seconds

TICKS = os.sysconf("SC_CLK_TCK")
STAT = """cpu  1000 0 0 9000 0 0 0 0 0 0
cpu0 100 10 20 7000 5 1 2 30 99 99
cpu1 200 0 0 7000 5 0 0 0 0 0
cpu10 700 0 0 7000 5 0 0 40 0 0
intr 1 2 3
cpu2 9 9 9 9 9 9 9 9 9 9
"""


def _rows(recorder):
    return pd.DataFrame(recorder._telemetry, columns=TELEMETRY.names)


def test_idle_time_is_not_busy_and_stolen_time_stands_apart():
    # user, nice, system, irq and softirq are busy; idle and iowait are not; guest is in user already
    seconds = processor_seconds(STAT)
    assert seconds["cpu0"] == (pytest.approx(133 / TICKS), pytest.approx(30 / TICKS))
    assert seconds["cpu10"] == (pytest.approx(700 / TICKS), pytest.approx(40 / TICKS))
    assert list(seconds) == ["cpu", "cpu0", "cpu1", "cpu10"]


def _busy(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))


def test_only_the_processors_of_the_affinity_mask_are_counted():
    everywhere = os.sched_getaffinity(0)
    recorder = Recorder()
    try:
        os.sched_setaffinity(0, {min(everywhere)})
        with Telemetry(recorder):
            time.sleep(0.05)
    finally:
        os.sched_setaffinity(0, everywhere)
    rows = _rows(recorder)
    assert set(rows["processors"]) == {1}
    assert set(rows["usable_processors"]) == {1.0}
    if len(everywhere) > 1:
        assert (rows["processors_busy_seconds"] < rows["machine_cpu_seconds"]).all()


def test_a_kernel_that_does_not_list_each_processor_gives_no_time(monkeypatch):
    monkeypatch.setattr(module, "usable_processors", lambda: ({0, 100_000}, 2.0))
    recorder = Recorder()
    with Telemetry(recorder):
        time.sleep(0.05)
    rows = _rows(recorder)
    assert rows["processors_busy_seconds"].isna().all()
    assert rows["processors_steal_seconds"].isna().all()


def test_samples_come_ten_times_a_second_and_follow_this_process():
    recorder = Recorder()
    begin = time.process_time()
    with Telemetry(recorder):
        _busy(1.0)
    used = time.process_time() - begin
    rows = _rows(recorder)
    assert 3 <= len(rows) <= 12
    assert rows["time_ns"].is_monotonic_increasing
    spent = rows["cpu_seconds"].iloc[-1] - rows["cpu_seconds"].iloc[0]
    assert 0.1 < spent <= used + 2 / TICKS
    busy = rows["processors_busy_seconds"].iloc[-1] - rows["processors_busy_seconds"].iloc[0]
    assert busy > spent - 0.1  # what this process used was used on the processors that it may use
    assert set(rows["processors"]) == {len(os.sched_getaffinity(0))}
    assert (rows["usable_processors"] <= rows["processors"]).all()


def test_nothing_is_sampled_while_it_is_paused():
    recorder = Recorder()
    with Telemetry(recorder) as telemetry:
        time.sleep(0.25)
        with telemetry.paused():
            first = len(recorder._telemetry)
            large = np.ones(200_000_000, np.uint8)  # 200 MB that must not show as the engine's memory
            time.sleep(0.35)
            assert len(recorder._telemetry) == first
            del large
        time.sleep(0.25)
    rows = _rows(recorder)
    assert len(rows) > first
    assert rows["rss_bytes"].max() - rows["rss_bytes"].min() < 100_000_000
    assert rows["time_ns"].is_monotonic_increasing


SPINS = "import subprocess, sys, time; x = bytearray(60_000_000); t = time.time()\nwhile time.time() < t + 5: pass"
STARTS = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SPINS!r}])"


def test_memory_and_time_of_the_processes_that_it_started_are_counted():
    recorder = Recorder()
    with subprocess.Popen([sys.executable, "-c", STARTS]) as starter:
        try:
            time.sleep(1.0)
            family = descendants(os.getpid())
            assert starter.pid in family
            assert set(descendants(starter.pid)) < set(family)
            with Telemetry(recorder):
                time.sleep(1.0)
        finally:
            for pid in descendants(starter.pid):
                os.kill(pid, 9)
            starter.kill()
    rows = _rows(recorder)
    own = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert rows["rss_bytes"].max() > own + 50_000_000
    used = rows["cpu_seconds"].iloc[-2] - rows["cpu_seconds"].iloc[0]
    assert used > 0.1  # this process sleeps, the one that it started spins


BURNS = "import time\nwhile time.process_time() < 0.4: pass"
RUNS = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {BURNS!r}])"
AFTER = f"{RUNS}; print(1, flush=True); time.sleep(60)"


def test_time_of_processes_that_have_ended_is_kept_whoever_started_them():
    recorder = Recorder()
    with Telemetry(recorder, interval=0.05):
        with subprocess.Popen([sys.executable, "-c", AFTER], stdout=subprocess.PIPE) as starter:
            assert starter.stdout.readline() == b"1\n"  # a grandchild has used 0.4 s and has ended
            time.sleep(0.2)
            with_grandchild = len(recorder._telemetry)
            subprocess.run([sys.executable, "-c", BURNS], check=True)
            starter.kill()
        time.sleep(0.2)
    used = _rows(recorder)["cpu_seconds"]
    assert used.iloc[-1] - used.iloc[0] > 0.75
    assert used.iloc[-1] >= used.iloc[with_grandchild] + 0.35
