import json
import sys
from types import ModuleType

import pytest

from moecap.cli.hw import app
from moecap.errors import UnknownNameError
from moecap.hardware import probe as probe_module
from moecap.hardware import resolve as resolve_module
from moecap.hardware.profile import KernelRate, Probe
from moecap.hardware.registry import load_profile

TRIAD = {"kernel": "numpy.triad", "kind": "bandwidth", "unit": "bytes/s", "best": 30e9, "median": 29e9, "spread": 0.4}
CONDITIONS = {
    "repeats": 9,
    "threads": 2,
    "pinned": True,
    "dtype": "fp32",
    "library": "numpy 2",
    "counted": "[three]",
    "work": 3,
}
PROBE = Probe(
    version=1,
    date="2026-11-24T00:00:00+00:00",
    seconds=9,
    cpu_model="AMD EPYC",
    threads=2,
    memory_bytes=24 * 2**30,
    last_level_cache_bytes=None,
    array_bytes=256_000_000,
    loadavg_before=0.5,
    busy_before=0.0,
    loadavg_after=0.5,
    steal=0,
    flags=(),
    versions={},
    environment={},
    kernels=(KernelRate.model_validate(TRIAD | CONDITIONS),),
    absent={"torch.matmul.bf16": "torch is not installed"},
    warnings=("numpy.triad: the 9 repeats differ by 40%",),
)


@pytest.fixture(autouse=True)
def recorded(monkeypatch, tmp_path):
    """The probe is a recorded one, and the cache a folder of the test."""
    cache = ModuleType("moecap.data.cache")
    cache.cache_root = lambda: tmp_path
    monkeypatch.setitem(sys.modules, "moecap.data.cache", cache)
    monkeypatch.setattr(probe_module, "probe_host", lambda *_, **__: PROBE)
    monkeypatch.setattr(resolve_module, "probe_host", lambda *_, **__: PROBE)


@pytest.fixture
def hw(capsys):
    def run(*words):
        app(words, result_action="return_value", exit_on_error=False)
        return capsys.readouterr().out

    return run


def test_show_gives_the_keys_that_scripts_rely_on(hw):
    shown = json.loads(hw("show", "H100", "--json"))
    assert shown["id"] == "h100-sxm"
    assert shown["name"] == "H100 SXM5 80GB"
    assert shown["memory_bytes"] == 80_000_000_000
    assert shown["memory_bandwidth"] == 3.35e12
    assert shown["tdp_watts"] == 700
    assert shown["dense_flops"]["bf16"] == 989.4e12
    assert shown["dense_flops"]["fp4"] is None
    assert {"bf16", "fp16", "fp8", "fp4", "int8", "tf32", "fp32"} <= set(shown["dense_flops"])
    assert {"usd_per_hour": 3.29, "provider": "RunPod secure", "date": "2026-08-27"}.items() <= shown["prices"][
        0
    ].items()
    assert shown["peak_bandwidth"] == {"value": 3.35e12, "source": "datasheet", "detail": "evidence A"}


def test_show_prints_units_and_a_dash_for_a_missing_format(hw):
    text = hw("show", "h100")
    assert "3,350 GB/s, datasheet" in text
    row = next(line for line in text.splitlines() if "989.4" in line)
    assert row.split() == ["67", "494.7", "989.4", "989.4", "1,978.9", "-", "1,978.9"]
    assert "LLM-Viewer uses 3072 GB/s" in text


def test_show_host_tells_probed_peaks_from_datasheet_ones(hw):
    shown = json.loads(hw("show", "host", "--json"))
    assert shown["memory_bandwidth"] is None
    assert shown["peak_bandwidth"] == {"value": 30e9, "source": "probed", "detail": "numpy.triad"}
    assert shown["peak_flops"]["bf16"] is None


def test_show_of_an_unknown_name_is_refused(hw):
    with pytest.raises(UnknownNameError, match="did you mean 'h100'"):
        hw("show", "h10")


def test_list_has_every_profile(hw):
    listed = json.loads(hw("list", "--json"))
    assert len(listed) == 52
    assert {"id", "name", "aliases", "memory_bytes", "memory_bandwidth", "dense_flops", "prices"} <= set(listed[0])
    text = hw("list")
    for profile in listed:
        assert profile["id"] in text
    assert "GB/s" in text
    assert "bf16 TFLOP/s" in text


def test_detect_says_what_this_machine_is(hw):
    found = json.loads(hw("detect", "--json"))
    assert found["host"]["cores"] >= 1
    assert found["host"]["id"].startswith("host-")
    assert isinstance(found["devices"], list)
    assert found["host"]["id"] in hw("detect")


def test_probe_marks_the_peak_and_keeps_the_brackets(hw):
    text = hw("probe")
    line = next(line for line in text.splitlines() if line.startswith("numpy.triad"))
    assert line.split() == ["numpy.triad", "30.0", "29.0", "GB/s", "40%", "peak", "[three]"]
    assert "torch.matmul.bf16: torch is not installed" in text


def test_probe_saves_a_profile_that_loads_again(hw, tmp_path):
    file = tmp_path / "mine.yaml"
    shown = json.loads(hw("probe", "--save", str(file), "--json"))
    saved = load_profile(file)
    assert saved.probe == PROBE
    assert saved.id == shown["id"]
    assert saved.peak_bandwidth.value == shown["peak_bandwidth"]["value"] == 30e9


def test_probe_cannot_save_into_a_missing_folder(hw, tmp_path):
    from moecap.errors import BadInputError

    with pytest.raises(BadInputError, match="cannot write"):
        hw("probe", "--save", str(tmp_path / "none" / "mine.yaml"))
