import importlib.util
import json
import os

import pytest

from moecap.errors import RunError
from moecap.hardware import probe as probe_module
from moecap.hardware.host import read_host
from moecap.hardware.probe import measure_host, probe_host
from moecap.hardware.profile import Probe

HOST = read_host()
TORCH = importlib.util.find_spec("torch") is not None


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def measured(cache, told) -> Probe:
    """One real probe in its own process; every other test reads it."""
    return probe_host(cache_dir=cache, progress=told.append)


def test_every_kernel_is_repeated_and_the_best_repeat_is_its_peak(measured):
    names = {kernel.kernel for kernel in measured.kernels}
    assert {"numpy.copy", "numpy.triad", "numpy.max", "numpy.dot", "numpy.matvec", "numpy.matmul.fp32"} <= names
    assert ({"torch.triad", "torch.dot", "torch.matmul.fp32"} <= names) == TORCH
    for kernel in measured.kernels:
        assert kernel.repeats >= 5
        assert kernel.best >= kernel.median > 0
        assert kernel.best - kernel.median <= kernel.spread * kernel.median * (1 + 1e-9)
        assert kernel.threads == HOST.cores


def test_the_peaks_are_those_of_a_computer(measured):
    bandwidth, fp32 = measured.best_bandwidth(), measured.best_matmul("fp32")
    assert 1e9 < bandwidth.best < 2e12
    assert 1e9 < fp32.best < 1e14
    assert bandwidth.best == max(k.best for k in measured.kernels if k.unit == "bytes/s")


def test_bf16_is_measured_only_where_the_processor_has_it(measured):
    native = TORCH and bool({"avx512_bf16", "amx_bf16"} & set(HOST.flags))
    assert (measured.best_matmul("bf16") is not None) == native
    assert ("torch.matmul.bf16" in measured.absent) == (not native)


def test_arrays_are_larger_than_the_last_level_cache(measured):
    assert measured.array_bytes >= 2 * (HOST.last_level_cache_bytes or 0)


def test_the_conditions_stand_beside_the_figures(measured):
    assert measured.cpu_model == HOST.cpu_model
    assert measured.seconds < 60
    assert "numpy" in measured.versions
    assert measured.steal is None or 0 <= measured.steal <= 1
    peaks = [measured.best_bandwidth(), measured.best_matmul("fp32")]
    for kernel in peaks:
        assert any(kernel.kernel in text for text in measured.warnings) == (kernel.spread > 0.25)


def _disturbed(probe, factor, busy=0.9):
    """The same probe with something else running, and every figure multiplied."""
    kernels = tuple(k.model_copy(update={"best": k.best * factor, "spread": 0.1}) for k in probe.kernels)
    return probe.model_copy(update={"kernels": kernels, "busy_before": busy, "steal": 0.0, "warnings": ()})


def test_the_second_probe_comes_from_the_cache(measured, tmp_path, told, monkeypatch):
    assert len(told) == 1
    assert "measuring the peaks" in told[0]
    steady = _disturbed(measured, 1.0, busy=0.0)
    monkeypatch.setattr(probe_module, "_run_apart", lambda host: steady)
    assert probe_host(cache_dir=tmp_path) == steady
    monkeypatch.setattr(probe_module, "_run_apart", lambda host: pytest.fail("measured again"))
    assert probe_host(cache_dir=tmp_path) == steady


def test_a_disturbed_probe_is_measured_again_until_one_is_steady(measured, tmp_path, monkeypatch):
    factors = [(0.9, 0.9), (0.5, 0.9), (0.8, 0.0)]  # the third is steady and stands as it is; then the cache answers
    probes = iter([_disturbed(measured, factor, busy) for factor, busy in factors])
    monkeypatch.setattr(probe_module, "_run_apart", lambda host: next(probes))
    peak = measured.best_bandwidth().best
    for expected in (0.9, 0.9, 0.8, 0.8):
        probe = probe_host(cache_dir=tmp_path)
        assert probe.best_bandwidth().best == pytest.approx(expected * peak)
    assert probe.busy_before == 0.0


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"version": 1}', b"NaN"])
def test_a_corrupt_cache_is_measured_anew(measured, tmp_path, monkeypatch, content):
    monkeypatch.setattr(probe_module, "_run_apart", lambda host: measured)
    probe_host(cache_dir=tmp_path)
    (file,) = (tmp_path / "probe").glob("*.json")
    file.write_bytes(content)
    assert probe_host(cache_dir=tmp_path) == measured
    assert Probe.model_validate_json(file.read_bytes()) == measured
    assert list((tmp_path / "probe").iterdir()) == [file]  # no temporary file is left


def test_refresh_measures_again(measured, tmp_path, monkeypatch):
    steady = _disturbed(measured, 1.0, busy=0.0)
    later = steady.model_copy(update={"date": "2030-01-01T00:00:00+00:00"})
    probes = iter([steady, later])
    monkeypatch.setattr(probe_module, "_run_apart", lambda host: next(probes))
    probe_host(cache_dir=tmp_path)
    assert probe_host(refresh=True, cache_dir=tmp_path).date == later.date
    assert probe_host(cache_dir=tmp_path).date == later.date


def test_another_machine_has_another_cache_entry(measured, tmp_path, monkeypatch):
    import dataclasses

    monkeypatch.setattr(probe_module, "_run_apart", lambda host: measured)
    for change in ({}, {"cores": HOST.cores + 1}, {"cpu_model": "Other"}, {"memory_bytes": 3 * 2**30}):
        probe_host(cache_dir=tmp_path, host=dataclasses.replace(HOST, **change))
    assert len(list((tmp_path / "probe").iterdir())) == 4


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise MemoryError('no room')", "no room"),
        ("print('hello')", "no usable result"),
        ("raise SystemExit(3)", "exit status 3"),
    ],
)
def test_a_probe_that_fails_says_so_in_one_line(monkeypatch, tmp_path, code, message):
    import subprocess
    import sys

    real = subprocess.run
    monkeypatch.setattr(
        probe_module.subprocess, "run", lambda command, **how: real([sys.executable, "-c", code], **how)
    )
    with pytest.raises(RunError, match=message) as caught:
        probe_host(cache_dir=tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "probe").exists()


def test_variables_that_slow_numpy_are_recorded_with_a_warning(monkeypatch):
    for name in [name for name in os.environ if name.startswith("OPENBLAS")]:
        monkeypatch.delenv(name)  # a machine may come with its own
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    small = measure_host(HOST, repeats=2, array_bytes=1_000_000)
    assert small.environment == {"OPENBLAS_CORETYPE": "Haswell"}
    assert any("OPENBLAS_CORETYPE" in text for text in small.warnings)
    assert json.loads(small.model_dump_json())["array_bytes"] == 1_000_000
    copy = next(kernel for kernel in small.kernels if kernel.kernel == "numpy.copy")
    assert copy.work == pytest.approx(2 * 1_000_000, rel=0.05)  # read and written, in whole rows


def test_stolen_time_is_a_share_of_all_time():
    before, after = (100, 0, 50, 800, 10, 0, 0, 40), (150, 0, 60, 900, 10, 0, 0, 80)
    assert probe_module._steal(before, after) == pytest.approx(40 / 200)
    assert probe_module._steal((), after) is None
    assert probe_module._steal(before, before) is None
