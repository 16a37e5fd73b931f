import json
import sys
from types import ModuleType

import pytest

from moecap.cli.hw import app
from moecap.errors import UnknownNameError
from moecap.hardware import detect as detect_module
from moecap.hardware import device_probe as device_probe_module
from moecap.hardware import probe as probe_module
from moecap.hardware import resolve as resolve_module
from moecap.hardware.detect import Detected
from moecap.hardware.device import Device
from moecap.hardware.host import read_host
from moecap.hardware.profile import KernelRate, Probe, ProbedDevice
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


L4 = Device(
    vendor="NVIDIA",
    index=0,
    name="NVIDIA L4",
    memory_bytes=23034 * 2**20,
    driver_version="580.65.06",
    part=False,
    ordinal=0,
    profile_id="l4",
    remark=None,
)
HIDDEN = Device(
    vendor="AMD",
    index=0,
    name="AMD Instinct MI300X",
    memory_bytes=196592 * 2**20,
    driver_version="6.12.12",
    part=True,
    ordinal=None,
    profile_id=None,
    remark="the board is partitioned (CPX)",
)
DEVICE_PROBE = PROBE.model_copy(
    update={
        "threads": None,
        "kernels": tuple(k.model_copy(update={"kernel": "torch.copy", "threads": None}) for k in PROBE.kernels),
        "device": ProbedDevice(
            name="NVIDIA L4",
            driver_version="580.65.06",
            architecture="sm_89",
            toolkit="CUDA 12.8",
            processors=58,
            memory_free_bytes=23 * 10**9,
            busy_before=None,
        ),
    }
)


@pytest.fixture
def gpu_machine(monkeypatch):
    """A machine with an NVIDIA L4, a partition of an AMD board that is hidden, and nothing that answers for a third."""
    machine = Detected((L4, HIDDEN), {"AMD": "pip install amdsmi"}, read_host())
    monkeypatch.setattr(detect_module, "detect", lambda: machine)
    monkeypatch.setattr(device_probe_module, "probe_device", lambda *_, **__: DEVICE_PROBE)


@pytest.mark.parametrize("words", [[], ["--device", "cuda"], ["--device", "cuda:0"]])
def test_probe_measures_the_accelerator_where_there_is_one(hw, gpu_machine, words):
    shown = json.loads(hw("probe", *words, "--json"))
    assert shown["id"] == "l4"
    assert shown["peak_bandwidth"]["source"] == "datasheet"
    assert shown["probe"]["device"]["toolkit"] == "CUDA 12.8"


def test_probe_measures_the_host_beside_an_accelerator_where_it_is_named(hw, gpu_machine):
    assert json.loads(hw("probe", "--device", "host", "--json"))["kind"] == "host"


def test_the_table_of_a_device_names_it_with_its_driver(hw, gpu_machine):
    text = hw("probe")
    assert "NVIDIA L4, driver 580.65.06, CUDA 12.8" in text
    assert "None" not in text


def test_a_probed_device_is_saved_with_its_datasheet(hw, gpu_machine, tmp_path):
    file = tmp_path / "l4.yaml"
    hw("probe", "--save", str(file))
    saved = load_profile(file)
    assert saved.probe == DEVICE_PROBE
    assert saved.memory_bandwidth == load_profile("l4").memory_bandwidth


def test_detect_shows_what_processes_see_and_what_is_missing(hw, gpu_machine):
    text = hw("detect")
    assert "cuda:0" in text
    assert "hidden" in text
    assert "pip install amdsmi" in text
    found = json.loads(hw("detect", "--json"))
    assert [d["ordinal"] for d in found["devices"]] == [0, None]
    assert found["missing"] == {"AMD": "pip install amdsmi"}


def test_doctor_says_what_is_missing_for_a_device(gpu_machine, capsys):
    from moecap.cli.doctor import doctor

    assert doctor(json=True) == 1
    findings = {f["what"]: f for f in json.loads(capsys.readouterr().out)["findings"]}
    assert findings["NVIDIA board 0"]["ok"]
    assert "l4" in findings["NVIDIA board 0"]["found"]
    assert findings["AMD board 0"]["remedy"] == "the board is partitioned (CPX)"
    assert findings["AMD device"]["remedy"] == "pip install amdsmi"
