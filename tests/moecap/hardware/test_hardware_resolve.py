import dataclasses

import pytest
import yaml

from moecap.errors import BadInputError, NotAvailableError, UnknownNameError
from moecap.hardware import resolve as resolve_module
from moecap.hardware.detect import Detected, Device
from moecap.hardware.host import HostFacts, host_profile
from moecap.hardware.profile import KernelRate, Probe
from moecap.hardware.resolve import resolve_hardware

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
    identifier: str | None, *, name: str = "NVIDIA H100 80GB HBM3", mib: int = 81559, visible: bool = True
) -> Device:
    return Device(0, name, mib * 2**20, identifier is None, visible, identifier, None if identifier else "a MIG slice")


H100 = device("h100-sxm")
L4 = device("l4", name="NVIDIA L4", mib=23034)


@pytest.fixture
def resolve(tmp_path, monkeypatch):
    monkeypatch.setattr(resolve_module, "probe_host", lambda **_: PROBE)

    def run(name="auto", *devices, count=None):
        return resolve_hardware(name, count=count, cache_dir=tmp_path, detected=Detected(devices, None, HOST))

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
    hidden = dataclasses.replace(H100, visible=False)
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
        resolve("auto", device(None, name="NVIDIA A100-SXM4-40GB MIG 1g.5gb", mib=4864))


@pytest.mark.parametrize("count", [0, -1])
def test_the_count_is_at_least_one(resolve, count):
    with pytest.raises(BadInputError, match="give 1 or more"):
        resolve("a100", count=count)


def test_an_unknown_name_is_refused(resolve):
    with pytest.raises(UnknownNameError, match="did you mean"):
        resolve("h1000")


def test_a_saved_host_keeps_its_probe_and_is_local_on_its_own_machine(resolve, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(host_profile(HOST, PROBE).model_dump(mode="json")))
    found = resolve(str(file))
    assert (found.is_local, found.profile.probe) == (True, PROBE)
    other = host_profile(dataclasses.replace(HOST, cpu_model="Other"), PROBE)
    file.write_text(yaml.safe_dump(other.model_dump(mode="json")))
    assert not resolve(str(file)).is_local
