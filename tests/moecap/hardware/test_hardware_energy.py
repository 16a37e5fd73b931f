"""Energy counters: NVML's replayed from readings, RAPL's from a folder as the kernel lays it out."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_hardware_detect import A100_IN_SLICES, H100, FakeNvml, NvmlError

from moecap.hardware.energy_counter import EnergyReading, PackageCounter, open_energy_counter
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap.telemetry import Telemetry


class CountingNvml(FakeNvml):
    """Replays the readings of each board, millijoules and milliwatts, one after the other; None is an error."""

    def __init__(self, *boards):
        super().__init__(*boards)
        self.turn = dict.fromkeys(range(len(boards)), 0)

    def nvmlDeviceGetHandleByIndex(self, index):
        return {**super().nvmlDeviceGetHandleByIndex(index), "index": index}

    def nvmlDeviceGetPowerUsage(self, handle):
        if "milliwatts" not in handle:
            raise NvmlError("Not Supported")
        return handle["milliwatts"]

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        readings, index = handle.get("millijoules", [None]), handle["index"]
        self.turn[index] += 1
        value = readings[min(self.turn[index], len(readings)) - 1]
        if value is None:
            raise NvmlError("Not Supported")
        return value


def board(*millijoules, **more):
    return {**H100, "millijoules": list(millijoules), **more}


@pytest.fixture(autouse=True)
def all_visible(monkeypatch):
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)


def test_boards_count_in_joules_and_are_added_up():
    nvml = CountingNvml(board(1_000_000, 1_350_000, milliwatts=700_000), board(500_000, 800_000, milliwatts=600_000))
    counter = open_energy_counter("cuda", 2, nvml)
    assert counter.read() == EnergyReading(watts=1300, joules=1500)
    assert counter.read().joules == 2150
    counter.close()
    assert nvml.open == 0


def test_only_the_boards_of_the_run_are_read(monkeypatch):
    nvml = CountingNvml(board(1000), board(5000), board(9000))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,1")
    assert open_energy_counter("cuda", 1, nvml).read().joules == 9
    assert open_energy_counter("cuda", 3, nvml) is None


def test_a_board_without_a_counter_gives_its_power_and_no_energy():
    assert open_energy_counter("cuda", 1, CountingNvml({**H100, "milliwatts": 1500})).read() == EnergyReading(1.5, None)


def test_one_lost_board_leaves_that_reading_without_a_sum():
    counter = open_energy_counter("cuda", 2, CountingNvml(board(1000, 2000, 3000), board(1000, None, 3000)))
    assert [counter.read().joules for _ in range(3)] == [2, None, 6]


def test_a_slice_has_no_counter_of_its_own():
    assert open_energy_counter("cuda", 1, CountingNvml(A100_IN_SLICES)) is None


def test_unlike_boards_are_told_apart_only_in_the_order_of_the_bus(monkeypatch):
    nvml = CountingNvml({"name": "NVIDIA L4", "mib": 23034, "millijoules": [3000]}, board(7000))
    assert open_energy_counter("cuda", 1, nvml) is None
    assert open_energy_counter("cuda", 2, nvml).read().joules == 10
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert open_energy_counter("cuda", 1, nvml).read().joules == 3


def test_without_a_driver_there_is_no_counter():
    class NoDriver(CountingNvml):
        def nvmlInit(self):
            raise NvmlError("NVML Shared Library Not Found")

    assert open_energy_counter("cuda", 1, NoDriver(H100)) is None


RANGE = 262_143_328_850
"""max_energy_range_uj of a Xeon's package."""


def zone(root: Path, number: str, name: str, energy: int) -> Path:
    folder = root / "sys/class/powercap" / f"intel-rapl:{number}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(name + "\n")
    (folder / "energy_uj").write_text(f"{energy}\n")
    (folder / "max_energy_range_uj").write_text(f"{RANGE}\n")
    return folder


def test_packages_are_added_up_and_their_parts_and_the_platform_are_not(tmp_path):
    zone(tmp_path, "0", "package-0", 3_000_000)
    zone(tmp_path, "1", "package-1", 4_000_000)
    zone(tmp_path, "0:0", "dram", 1_000_000)
    zone(tmp_path, "2", "psys", 9_000_000)
    assert open_energy_counter("cpu", 1, root=tmp_path).read() == EnergyReading(None, 7)


def test_a_counter_that_wraps_goes_on_rising(tmp_path):
    folder = zone(tmp_path, "0", "package-0", RANGE - 1_000_000)
    counter = open_energy_counter("cpu", 1, root=tmp_path)
    first = counter.read().joules
    for energy, more in ((2_000_000, 3), (5_000_000, 6), (1_000_000, 2 + RANGE / 1e6)):
        (folder / "energy_uj").write_text(str(energy))
        assert counter.read().joules - first == pytest.approx(more)


@given(steps=st.lists(st.integers(0, RANGE - 1), min_size=1, max_size=20))
def test_what_is_counted_is_what_was_used_however_often_it_wraps(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("zone")
    counter = PackageCounter([folder], [RANGE])
    used, readings = 0, []
    for step in [0, *steps]:
        used += step
        (folder / "energy_uj").write_text(str(used % RANGE))
        readings.append(counter.read().joules)
    gained = [later - earlier for earlier, later in pairwise(readings)]
    assert gained == pytest.approx([step / 1e6 for step in steps], abs=1e-3)


def test_a_host_without_zones_or_with_one_that_may_not_be_read_has_no_counter(tmp_path):
    assert open_energy_counter("cpu", 1, root=tmp_path) is None
    zone(tmp_path, "0", "package-0", 1)
    folder = zone(tmp_path, "1", "package-1", 1)
    (folder / "energy_uj").unlink()
    (folder / "energy_uj").mkdir()  # unreadable for root too
    assert open_energy_counter("cpu", 1, root=tmp_path) is None


def test_a_zone_that_vanishes_leaves_a_reading_without_a_value(tmp_path):
    folder = zone(tmp_path, "0", "package-0", 1_000_000)
    counter = open_energy_counter("cpu", 1, root=tmp_path)
    (folder / "energy_uj").unlink()
    assert counter.read() == EnergyReading(None, None)
    (folder / "energy_uj").write_text("2000000")
    assert counter.read().joules == 2


def test_telemetry_stores_what_the_counter_says_and_closes_it(tmp_path):
    nvml = CountingNvml(board(*range(1_000_000, 2_000_000, 70_000), milliwatts=700_000))
    recorder = Recorder()
    with Telemetry(recorder, open_energy_counter("cuda", 1, nvml), interval=0.01) as telemetry, telemetry.paused():
        pass
    recorder.write(tmp_path)
    stored = read_observations(tmp_path).telemetry
    assert stored["energy_joules"].iloc[0] == 1000
    assert stored["energy_joules"].diff().dropna().max() == pytest.approx(70)
    assert set(stored["power_watts"]) == {700.0}
    assert nvml.open == 0


def test_telemetry_without_a_counter_stores_nulls(tmp_path):
    recorder = Recorder()
    with Telemetry(recorder, interval=0.01):
        pass
    recorder.write(tmp_path)
    assert read_observations(tmp_path).telemetry[["power_watts", "energy_joules"]].isna().all(axis=None)
