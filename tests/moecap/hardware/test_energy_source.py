"""Which energy counter a run takes: its own, or Zeus's, whose functions are replayed where no board is."""

from types import SimpleNamespace

import pytest
from test_hardware_energy import CountingNvml, board, zone

from moecap.errors import NotAvailableError
from moecap.hardware.energy_counter import EnergyReading
from moecap.hardware.energy_source import find_energy_source


class ZeusError(Exception):
    """Stands for zeus.exception.ZeusBaseError."""


class Boards:
    """The functions of zeus.device.gpu.GPUs (0.16) that are used, with readings in mJ and mW."""

    def __init__(self, *millijoules, milliwatts=250_000):
        self.millijoules = list(millijoules)
        self.milliwatts = milliwatts

    def __len__(self):
        return len(self.millijoules)

    def get_total_energy_consumption(self, gpu_index):
        if self.millijoules[gpu_index] is None:
            raise ZeusError("GPU 1 is a chiplet of a dual-die board")
        return self.millijoules[gpu_index]

    def get_instant_power_usage(self, gpu_index):
        return self.milliwatts


class Package:
    """The functions of zeus.device.cpu.RAPLCPU (0.16) that are used."""

    def __init__(self, index, millijoules):
        self.cpu_index = index
        self.millijoules = millijoules

    def get_total_energy_consumption(self):
        return SimpleNamespace(cpu_mj=self.millijoules, dram_mj=None)


def fake_zeus(gpus=None, cpus=()):
    def get_gpus():
        if gpus is None:
            raise ZeusError("NVML and AMDSMI unavailable. Failed to initialize GPU management library.")
        return gpus

    device = SimpleNamespace(get_gpus=get_gpus, get_cpus=lambda: SimpleNamespace(cpus=list(cpus)))
    return SimpleNamespace(device=device, exception=SimpleNamespace(ZeusBaseError=ZeusError))


@pytest.fixture(autouse=True)
def all_visible(monkeypatch):
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)


def test_a_board_with_a_counter_of_its_own_is_read_by_nvml():
    source = find_energy_source("auto", "cuda", 1, nvml=CountingNvml(board(1000, 2000)), zeus=fake_zeus(Boards(7)))
    assert source.name == "nvml"
    assert source.counter.read().joules == 2  # the first reading was the look whether there is one


def test_where_nvml_gives_no_energy_zeus_counts():
    nvml = CountingNvml({**board(), "millijoules": [None]})
    source = find_energy_source("auto", "cuda", 2, nvml=nvml, zeus=fake_zeus(Boards(3000, 4500)))
    assert source.name.startswith("zeus ")
    assert source.counter.read() == EnergyReading(watts=500, joules=7.5)
    assert nvml.open == 0


def test_a_host_that_only_root_may_read_is_counted_by_zeus_without_its_platform(tmp_path):
    for number, name in (("0", "package-0"), ("1", "psys"), ("2", "package-1")):
        folder = zone(tmp_path, number, name, 1)
        (folder / "energy_uj").unlink()
        (folder / "energy_uj").mkdir()  # unreadable for root too
    zeus = fake_zeus(cpus=[Package(0, 3000.0), Package(1, 9000.0), Package(2, 4000.0)])
    source = find_energy_source("auto", "cpu", 1, zeus=zeus, root=tmp_path)
    assert source.counter.read() == EnergyReading(None, 7)


def test_zeus_can_be_asked_for_although_there_is_another_counter():
    source = find_energy_source("zeus", "cuda", 1, nvml=CountingNvml(board(1000)), zeus=fake_zeus(Boards(9000)))
    assert source.counter.read().joules == 9


def test_what_zeus_cannot_read_is_said_in_its_words():
    assert find_energy_source("zeus", "cuda", 1, zeus=fake_zeus()).name == (
        "none: Zeus counts nothing here (NVML and AMDSMI unavailable. Failed to initialize GPU management library.)"
    )
    assert find_energy_source("zeus", "cuda", 2, zeus=fake_zeus(Boards(1))).name == "none: Zeus sees 1 of 2 devices"
    chiplets = find_energy_source("zeus", "cuda", 2, zeus=fake_zeus(Boards(1, None)))
    assert chiplets.counter is None
    assert "dual-die" in chiplets.name


def test_a_board_that_is_lost_later_leaves_a_reading_without_a_value():
    boards = Boards(1000, 2000)
    counter = find_energy_source("zeus", "cuda", 2, zeus=fake_zeus(boards)).counter
    boards.millijoules[1] = None
    assert counter.read() == EnergyReading(500, None)


@pytest.mark.parametrize(
    ("wanted", "device", "reason"),
    [
        ("nvml", "cpu", "energy_source=nvml counts boards, and this run is on the host"),
        ("rapl", "cuda", "energy_source=rapl counts the host's packages, and this run is on boards"),
        ("rapl", "cpu", "no readable energy counter (/sys/class/powercap/intel-rapl:*)"),
    ],
)
def test_a_counter_that_cannot_be_is_none_with_the_reason(tmp_path, wanted, device, reason):
    source = find_energy_source(wanted, device, 1, zeus=fake_zeus(Boards(1)), root=tmp_path)
    assert (source.counter, source.name) == (None, f"none: {reason}")


def test_without_zeus_its_name_gives_the_remedy_and_auto_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr("moecap.hardware.energy_source._installed", lambda: False)
    with pytest.raises(NotAvailableError, match=r'pip install "moecap\[zeus\]"'):
        find_energy_source("zeus", "cpu", 1, root=tmp_path)
    assert find_energy_source("auto", "cpu", 1, root=tmp_path).name.startswith("none: no readable energy counter")
