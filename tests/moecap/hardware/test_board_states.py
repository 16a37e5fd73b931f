"""The state of boards: NVML replayed with the names and constants of the real module, and what follows from it."""

from types import SimpleNamespace

import pandas as pd
import pynvml
import pytest
from test_hardware_detect import A100_IN_SLICES, H100, FakeNvml, NvmlError

from moecap.hardware import board_states
from moecap.hardware.board_states import BoardState, open_board_states
from moecap.metrics.boards import board_metrics
from moecap.metrics.value import measured
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap.observations.schema import BOARDS
from moecap.runner.flags import board_flags
from moecap.telemetry import Telemetry

GIB = 2**30


class StatefulNvml(FakeNvml):
    """Boards that say in what state they are; a question that a board has no entry for is an error."""

    NVML_CLOCK_SM = pynvml.NVML_CLOCK_SM
    NVML_CLOCK_MEM = pynvml.NVML_CLOCK_MEM
    NVML_TEMPERATURE_GPU = pynvml.NVML_TEMPERATURE_GPU

    def nvmlDeviceGetClockInfo(self, handle, kind):
        return self._known(handle, {self.NVML_CLOCK_SM: "sm", self.NVML_CLOCK_MEM: "memory"}[kind])

    def nvmlDeviceGetUtilizationRates(self, handle):
        return SimpleNamespace(gpu=self._known(handle, "percent"), memory=0)

    def nvmlDeviceGetMemoryInfo(self, handle):
        return SimpleNamespace(total=80 * GIB, used=self._known(handle, "used"))

    def nvmlDeviceGetTemperature(self, handle, sensor):
        assert sensor == self.NVML_TEMPERATURE_GPU
        return self._known(handle, "celsius")

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle):
        return self._known(handle, "reasons")

    def _known(self, handle, name):
        if name not in handle:
            raise NvmlError("Not Supported")
        return handle[name]


HOT = {**H100, "sm": 1200, "memory": 2619, "percent": 97, "used": 70 * GIB, "celsius": 91, "reasons": 0x40 | 0x8}


@pytest.fixture(autouse=True)
def all_visible(monkeypatch):
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)


def test_the_bits_are_those_of_nvml():
    assert pynvml.nvmlClocksEventReasonSwPowerCap == board_states.POWER_CAP
    heat = pynvml.nvmlClocksEventReasonSwThermalSlowdown | pynvml.nvmlClocksThrottleReasonHwThermalSlowdown
    assert heat == board_states.HEAT
    brake = pynvml.nvmlClocksThrottleReasonHwSlowdown | pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown
    assert brake == board_states.BRAKE


def test_each_board_says_its_state_and_what_it_does_not_tell_is_none():
    nvml = StatefulNvml(HOT, {**H100, "used": 5})
    states = open_board_states(2, nvml)
    assert states.read() == [
        BoardState(0, 1200, 2619, 0.97, 70 * GIB, 91, 0x48),
        BoardState(1, None, None, None, 5, None, None),
    ]
    states.close()
    assert nvml.open == 0


def test_a_module_of_before_driver_535_is_asked_by_the_older_name():
    nvml = StatefulNvml(HOT)
    old = SimpleNamespace(
        **{
            name: getattr(nvml, name) for name in dir(nvml) if name.startswith(("nvml", "NVML")) and "Event" not in name
        },
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda handle: 0x4,
    )
    assert open_board_states(1, old).read()[0].slowdown_reasons == 0x4


def test_slices_and_machines_without_a_driver_have_no_state():
    assert open_board_states(1, StatefulNvml(A100_IN_SLICES)) is None
    assert open_board_states(2, StatefulNvml(HOT)) is None


def test_states_pass_through_the_files_of_a_run(tmp_path):
    nvml = StatefulNvml(HOT, {**H100, "used": 5})
    recorder = Recorder()
    with Telemetry(recorder, boards=open_board_states(2, nvml), interval=0.01):
        pass
    assert "boards.parquet" in recorder.write(tmp_path)
    stored = read_observations(tmp_path).boards
    assert list(stored.columns) == BOARDS.names
    assert set(stored["board"]) == {0, 1}
    hot = stored[stored["board"] == 0]
    assert set(hot["slowdown_reasons"]) == {0x48}
    assert stored.loc[stored["board"] == 1, "sm_clock_mhz"].isna().all()
    assert nvml.open == 0


def test_a_run_without_boards_leaves_no_file(tmp_path):
    assert "boards.parquet" not in Recorder().write(tmp_path)
    assert board_metrics(read_observations(tmp_path).boards, (0, 10)) == {}


def samples(*rows):
    return pd.DataFrame(
        [(time, board, clock, 2619, 1.0, used, heat, reasons) for time, board, clock, used, heat, reasons in rows],
        columns=BOARDS.names,
    )


def test_metrics_are_of_the_steady_state_alone():
    boards = samples(
        (5, 0, 300, 99, 99, 0x8),  # before the window
        (10, 0, 1980, 7, 60, 0x4),
        (10, 1, 1900, 8, 62, 0x0),
        (20, 0, 1200, 7, 88, 0x20),
        (20, 1, 1500, 8, 70, None),
        (25, 0, 100, 99, 99, 0x80),  # after it
    )
    found = {name: (metric.value, metric.n) for name, metric in board_metrics(boards, (10, 20)).items()}
    assert found == {
        "boards.sm_clock_mean": (1645, 4),  # (1980 + 1900 + 1200 + 1500) / 4
        "boards.sm_clock_min": (1200, 4),
        "boards.temperature_max": (88, 4),
        "boards.memory_used_max": (8, 4),
        "boards.heat_share": (pytest.approx(1 / 3), 3),
        "boards.brake_share": (0, 3),
        "boards.power_cap_share": (pytest.approx(1 / 3), 3),
    }


def test_without_a_steady_state_or_a_sample_in_it_every_metric_says_why():
    boards = samples((5, 0, 300, 99, 99, 0x8))
    for window in (None, (10, 20)):
        metrics = board_metrics(boards, window)
        assert metrics
        assert all(metric.value is None and metric.reason for metric in metrics.values())


def test_heat_and_the_brake_are_a_warning_and_the_power_limit_is_a_remark():
    shares = {"boards.heat_share": 0.25, "boards.brake_share": 0.0, "boards.power_cap_share": 0.5}
    flags = list(board_flags({name: measured(share, "1", 8) for name, share in shares.items()}))
    assert [(flag.name, flag.level) for flag in flags] == [("throttled", "warning"), ("power_capped", "info")]
    assert "by heat in 25% of the samples" in flags[0].text
    assert "slowdown" not in flags[0].text
    assert "50%" in flags[1].text
    assert list(board_flags({})) == []


@pytest.mark.gpu
def test_a_real_board_tells_its_state():
    states = open_board_states(1)
    state = states.read()[0]
    states.close()
    assert state.sm_clock_mhz > 0
    assert state.memory_used_bytes > 0
    assert 10 < state.temperature_celsius < 110
