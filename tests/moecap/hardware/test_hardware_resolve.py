import dataclasses
import importlib.metadata
import importlib.util

import pytest
import yaml
from test_hardware_detect import FakeNvml

from moecap.errors import BadInputError, NotAvailableError, UnknownNameError
from moecap.hardware import resolve as resolve_module
from moecap.hardware.detect import Detected, detect
from moecap.hardware.device import Device
from moecap.hardware.device_probe import device_profile
from moecap.hardware.host import HostFacts, host_profile
from moecap.hardware.probe import probe_file
from moecap.hardware.profile import KernelRate, Peak, Probe, ProbedDevice
from moecap.hardware.resolve import probed_device, resolve_hardware
from moecap.metrics.summary import RunFacts, hardware_peaks
from moecap.models.parallelism import Parallelism
from moecap.models.registry import load_model

HOST = HostFacts("AMD EPYC", "AMD", 2, (0, 1), 2, 24 * 2**30, ("avx2",), 32 * 2**20, 2**20)
TRIAD = KernelRate(
    kernel="numpy.triad",
    kind="bandwidth",
    unit="bytes/s",
    best=30e9,
    median=29e9,
    spread=0.05,
    repeats=9,
    threads=2,
    pinned=True,
    dtype="fp32",
    library="numpy 2",
    counted="three arrays",
    work=3,
)
PROBE = Probe(
    version=1,
    date="2026-11-24T00:00:00+00:00",
    seconds=9,
    cpu_model="AMD EPYC",
    threads=2,
    memory_bytes=24 * 2**30,
    last_level_cache_bytes=32 * 2**20,
    array_bytes=256_000_000,
    loadavg_before=0,
    busy_before=0.0,
    loadavg_after=0,
    steal=0,
    flags=("avx2",),
    versions={},
    environment={},
    kernels=(TRIAD,),
    absent={"torch.matmul.bf16": "torch is not installed"},
    warnings=(),
)


def device(
    identifier: str | None, *, name: str = "NVIDIA H100 80GB HBM3", mib: int = 81559, ordinal: int | None = 0
) -> Device:
    return Device(
        vendor="NVIDIA",
        index=ordinal or 0,
        name=name,
        memory_bytes=mib * 2**20,
        driver_version="580.65.06",
        part=identifier is None,
        ordinal=ordinal,
        profile_id=identifier,
        remark=None if identifier else "a MIG slice",
    )


H100 = device("h100-sxm")
L4 = device("l4", name="NVIDIA L4", mib=23034, ordinal=1)
SLICE = device(None, name="NVIDIA A100-SXM4-40GB MIG 1g.5gb", mib=4864)
DEVICE_PROBE = PROBE.model_copy(
    update={
        "threads": None,
        "memory_bytes": 81000 * 2**20,
        "kernels": (TRIAD.model_copy(update={"kernel": "torch.triad", "best": 3.0e12, "threads": None}),),
        "device": ProbedDevice(
            name="NVIDIA H100 80GB HBM3",
            driver_version="580.65.06",
            architecture="sm_90",
            toolkit="CUDA 12.8",
            processors=132,
            memory_free_bytes=80 * 2**30,
            busy_before=0.0,
        ),
    }
)


@pytest.fixture
def resolve(tmp_path, monkeypatch):
    monkeypatch.setattr(resolve_module, "probe_host", lambda **_: PROBE)

    def run(name="auto", *devices, count=None):
        return resolve_hardware(name, count=count, cache_dir=tmp_path, detected=Detected(devices, {}, HOST))

    return run


@pytest.mark.parametrize("name", ["auto", "host", "cpu", "CPU", "host-amd-epyc-2c"])
def test_without_accelerators_the_host_is_probed(resolve, name):
    found = resolve(name)
    assert (found.profile.id, found.count, found.is_local) == ("host-amd-epyc-2c", 1, True)
    assert found.profile.peak_bandwidth.value == 30e9
    assert found.profile.peak_bandwidth.source == "probed"


def test_auto_takes_the_accelerators_where_there_are_some(resolve):
    found = resolve("auto", H100, H100)
    assert (found.profile.id, found.count, found.is_local, found.available) == ("h100-sxm", 1, True, 2)


def test_the_host_can_be_asked_for_beside_accelerators(resolve):
    assert resolve("host", H100).profile.kind == "host"


def test_auto_takes_the_kind_there_is_most_of(resolve):
    assert resolve("auto", H100, L4, L4).profile.id == "l4"
    assert resolve("auto", H100, L4).profile.id == "h100-sxm"


def test_hidden_devices_do_not_count(resolve):
    hidden = dataclasses.replace(H100, ordinal=None)
    assert resolve("auto", hidden).profile.kind == "host"
    assert not resolve("h100", hidden).is_local


def test_a_named_profile_is_local_only_if_this_machine_has_enough_of_it(resolve):
    assert resolve("h100", H100, H100, count=2).is_local
    assert not resolve("h100", H100, H100, count=4).is_local
    assert not resolve("a100", H100).is_local
    assert resolve("a100").count == 1
    assert not resolve("epyc-9654").is_local


def test_more_devices_than_there_are_is_refused(resolve):
    with pytest.raises(NotAvailableError, match="3 devices were asked for and this machine has 2 of h100-sxm"):
        resolve("auto", H100, H100, count=3)
    with pytest.raises(NotAvailableError, match="this host is one"):
        resolve("host", count=2)


def test_a_device_without_profile_is_never_taken_for_another(resolve):
    with pytest.raises(NotAvailableError, match=r"a MIG slice.*--hw"):
        resolve("auto", SLICE)


@pytest.mark.parametrize("count", [0, -1])
def test_the_count_is_at_least_one(resolve, count):
    with pytest.raises(BadInputError, match="give 1 or more"):
        resolve("a100", count=count)


def test_an_unknown_name_is_refused(resolve):
    with pytest.raises(UnknownNameError, match="did you mean"):
        resolve("h1000")


def test_it_is_said_where_the_profile_came_from(resolve, tmp_path):
    file = tmp_path / "h100.yaml"
    file.write_text(yaml.safe_dump(resolve("h100").profile.model_dump(mode="json")))
    assert resolve("auto").source == resolve("host", H100).source == resolve("host-amd-epyc-2c").source == "probed"
    assert resolve("auto", H100).source == resolve("H100").source == resolve("epyc-9654").source == "packaged"
    assert resolve(str(file), H100).source == "file"
    assert resolve(str(file)).profile == resolve("h100").profile


def test_a_saved_host_keeps_its_probe_and_is_local_on_its_own_machine(resolve, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(host_profile(HOST, PROBE).model_dump(mode="json")))
    found = resolve(str(file))
    assert (found.is_local, found.profile.probe, found.source) == (True, PROBE, "file")
    other = host_profile(dataclasses.replace(HOST, cpu_model="Other"), PROBE)
    file.write_text(yaml.safe_dump(other.model_dump(mode="json")))
    assert not resolve(str(file)).is_local


@pytest.fixture
def probed(tmp_path):
    """A cache that holds a probe of the H100, made with this driver and the torch that is installed."""
    version = importlib.metadata.version("torch") if importlib.util.find_spec("torch") else None
    file = probe_file(tmp_path, H100.name, H100.memory_bytes, H100.driver_version, version)
    file.parent.mkdir()
    file.write_text(DEVICE_PROBE.model_dump_json())


@pytest.mark.parametrize("name", ["auto", "h100"])
def test_a_probe_of_the_device_in_the_cache_stands_beside_the_datasheet(resolve, probed, name):
    profile = resolve(name, H100, H100).profile
    assert profile.peak_bandwidth == Peak(3.35e12, "datasheet", "evidence A")
    assert profile.probe == DEVICE_PROBE


def test_a_probe_beside_the_datasheet_reaches_the_metrics_for_every_device(resolve, probed):
    spec, profile = load_model("mixtral")[0], resolve("auto", H100, H100).profile
    peaks = hardware_peaks(RunFacts(spec, profile, 2, "bf16", 1, None, parallelism=Parallelism(tensor=2)))
    assert (peaks.bandwidth, peaks.probed_bandwidth) == (2 * 3.35e12, 2 * 3.0e12)
    assert (peaks.bandwidth_source, peaks.flops) == ("datasheet", {"bf16": 2 * 989.4e12})


@pytest.mark.parametrize("change", [{"driver_version": "570.1"}, {"memory_bytes": 80000 * 2**20}])
def test_a_probe_of_another_device_or_driver_is_not_taken(resolve, probed, change):
    assert resolve("auto", dataclasses.replace(H100, **change)).profile.probe is None


def test_a_profile_of_hardware_that_is_not_here_carries_no_probe(resolve, probed):
    assert resolve("a100", H100).profile.probe is None
    assert resolve("h100").profile.probe is None


def test_a_device_without_profile_is_local_through_the_profile_that_was_probed_on_it(resolve, tmp_path):
    file = tmp_path / "slice.yaml"
    file.write_text(yaml.safe_dump(device_profile(SLICE, DEVICE_PROBE).model_dump(mode="json")))
    found = resolve(str(file), SLICE)
    assert (found.profile.id, found.is_local) == ("nvidia-a100-sxm4-40gb-mig-1g-5gb", True)
    assert found.profile.peak_bandwidth == Peak(3.0e12, "probed", "torch.triad")
    assert found.profile.peak_flops("bf16") is None
    larger = dataclasses.replace(SLICE, memory_bytes=19968 * 2**20)
    assert not resolve(str(file), larger).is_local
    assert not resolve(str(file), H100).is_local


@pytest.mark.parametrize(
    ("name", "devices", "ordinal"),
    [
        (None, [], None),
        (None, [H100, L4], 0),
        (None, [SLICE, L4], 1),  # what --hw auto takes
        (None, [SLICE], 0),
        ("host", [H100], None),
        ("cuda", [H100, L4], 0),
        ("CUDA:1", [H100, L4], 1),
    ],
)
def test_the_probe_measures_what_auto_takes_or_what_is_named(name, devices, ordinal):
    found = probed_device(name, Detected(tuple(devices), {}, HOST))
    assert (found.ordinal if found else None) == ordinal


@pytest.mark.parametrize("name", ["cuda:2", "cuda:1"])
def test_a_device_that_is_not_here_is_refused_with_those_that_are(name):
    hidden = dataclasses.replace(L4, ordinal=None)
    with pytest.raises(NotAvailableError, match=r"this machine has cuda:0 NVIDIA H100 80GB HBM3; `moecap doctor`"):
        probed_device(name, Detected((H100, hidden), {}, HOST))


@pytest.mark.parametrize("name", ["", "tpu", "cuda:", "cuda:-1", "cuda:x", "mps"])
def test_another_name_of_a_device_is_refused(name):
    with pytest.raises(BadInputError, match="give cuda, cuda:N"):
        probed_device(name, Detected((H100,), {}, HOST))


def test_a_board_that_is_sold_in_two_sizes_has_the_memory_of_the_one_that_is_here(tmp_path):
    small, large = ({"name": f"Tesla V100-SXM2-{gb}GB", "mib": mib} for gb, mib in ((16, 16160), (32, 32510)))
    sizes = {}
    for boards, name, count in (((small,), "v100", 1), ((large, small), "v100", 1), ((large, small), "auto", 2)):
        machine = detect(FakeNvml(*boards))
        sizes[len(boards), count] = resolve_hardware(name, count=count, cache_dir=tmp_path, detected=machine).profile
    assert [profile.memory_bytes for profile in sizes.values()] == [16e9, 32e9, 16e9]
    assert resolve_hardware("v100", cache_dir=tmp_path, detected=Detected((), {}, HOST)).profile.memory_bytes == 32e9
