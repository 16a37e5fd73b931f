"""The check of the memory bandwidth really runs, as the probe did, and leaves the process as it was."""

import importlib.util
import os
import subprocess
import sys
import threading

import pytest

from moecap.hardware import bandwidth_check
from moecap.hardware.bandwidth_check import check_bandwidth
from moecap.hardware.host import host_profile, read_host
from moecap.hardware.probe import measure_host
from moecap.hardware.registry import load_profile

HOST = read_host()
TORCH = importlib.util.find_spec("torch") is not None


@pytest.fixture(scope="module")
def probe():
    """A real probe with arrays of 32 MB, in this process."""
    return measure_host(HOST, repeats=3, array_bytes=32_000_000)


def _fastest(probe, name):
    """The same probe with one kernel far ahead of all others."""
    kernels = tuple(k.model_copy(update={"best": 1e15}) if k.kernel == name else k for k in probe.kernels)
    return host_profile(HOST, probe.model_copy(update={"kernels": kernels}))


def test_the_kernel_that_gave_the_peak_runs_again_on_every_core(probe):
    names = ["numpy.copy", "numpy.triad", "numpy.max"] + ["torch.triad", "torch.dot"] * TORCH
    for name in names:
        rate = check_bandwidth(HOST, _fastest(probe, name))
        assert (rate.kernel, rate.threads, rate.pinned) == (name, HOST.cores, True)
        assert 1e9 < rate.best < 2e12
        (probed,) = [k for k in probe.kernels if k.kernel == name]
        assert rate.work == probed.work  # arrays of the probe's size


def test_a_kernel_on_threads_of_a_library_is_left_to_the_probe(probe):
    assert check_bandwidth(HOST, _fastest(probe, "numpy.matvec")).pinned


def test_the_process_is_left_as_it_was(probe):
    affinity, threads = os.sched_getaffinity(0), threading.active_count()
    if TORCH:
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(3)
    try:
        check_bandwidth(HOST, _fastest(probe, "torch.dot" if TORCH else "numpy.max"))
        if TORCH:
            assert torch.get_num_threads() == 3
            seen = []
            thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
            thread.start()
            thread.join()
            assert seen == [3]  # threads that are made later too
    finally:
        if TORCH:
            torch.set_num_threads(before)
    assert os.sched_getaffinity(0) == affinity
    assert threading.active_count() == threads


@pytest.mark.skipif(not TORCH, reason="torch is not installed")
def test_torch_is_not_loaded_for_it(probe):
    profile = _fastest(probe, "torch.dot")
    code = (
        "import sys\n"
        "from moecap.hardware.bandwidth_check import check_bandwidth\n"
        "from moecap.hardware.host import read_host\n"
        "from moecap.hardware.profile import HardwareProfile\n"
        "rate = check_bandwidth(read_host(), HardwareProfile.model_validate_json(sys.stdin.read()))\n"
        "print(rate.kernel, 'torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=profile.model_dump_json(), capture_output=True, text=True, check=True
    )
    kernel, loaded = done.stdout.split()
    assert kernel.startswith("numpy.")
    assert loaded == "False"


def test_it_takes_no_more_than_an_eighth_of_the_free_memory_and_rather_is_not_made(probe, monkeypatch):
    monkeypatch.setattr(bandwidth_check, "available_memory", lambda: 8 * 20_000_000)
    rate = check_bandwidth(HOST, _fastest(probe, "numpy.max"))
    assert rate.work <= 20_000_000
    monkeypatch.setattr(bandwidth_check, "available_memory", lambda: 8 * 15_000_000)
    assert check_bandwidth(HOST, _fastest(probe, "numpy.max")) is None


def test_an_accelerator_and_a_host_without_a_probe_are_not_checked():
    assert check_bandwidth(HOST, load_profile("h100")) is None
    assert check_bandwidth(HOST, host_profile(HOST)) is None
