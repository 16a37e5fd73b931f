import os
import subprocess
from types import SimpleNamespace

import pytest

from moecap.hardware.detect import detect
from moecap.hardware.device import match_profile
from moecap.hardware.nvidia import bus_order

MIB = 2**20


class NvmlError(Exception):
    pass


class FakeNvml:
    """Replays what drivers answered: name, total memory in MiB, default power limit in watts, MIG slices."""

    NVMLError = NvmlError

    def __init__(self, *boards, as_bytes=False):
        self.boards = boards
        self.as_bytes = as_bytes
        self.open = 0

    def nvmlInit(self):
        self.open += 1

    def nvmlShutdown(self):
        self.open -= 1

    def nvmlSystemGetDriverVersion(self):
        return "580.65.06"

    def nvmlDeviceGetCount(self):
        return len(self.boards)

    def nvmlDeviceGetHandleByIndex(self, index):
        return {"uuid": f"GPU-{index:04x}", **self.boards[index]}

    def nvmlDeviceGetName(self, handle):
        return handle["name"].encode() if self.as_bytes else handle["name"]

    def nvmlDeviceGetUUID(self, handle):
        return handle["uuid"].encode() if self.as_bytes else handle["uuid"]

    def nvmlDeviceGetMemoryInfo(self, handle):
        if handle["mib"] is None:
            raise NvmlError("Not Supported")
        return SimpleNamespace(total=handle["mib"] * MIB)

    def nvmlDeviceGetPowerManagementDefaultLimit(self, handle):
        if "watts" not in handle:
            raise NvmlError("Not Supported")
        return handle["watts"] * 1000

    def nvmlDeviceGetMigMode(self, handle):
        if "slices" not in handle:
            raise NvmlError("Not Supported")
        return [1 if handle["slices"] else 0, 0]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle):
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle, slot):
        if slot >= len(handle["slices"]):
            raise NvmlError("Not Found")
        return {"uuid": f"MIG-{slot:04x}", **handle["slices"][slot]}


H100 = {"name": "NVIDIA H100 80GB HBM3", "mib": 81559, "watts": 700, "slices": []}
A100_IN_SLICES = {
    "name": "NVIDIA A100-SXM4-40GB",
    "mib": 40960,
    "slices": [
        {"name": "NVIDIA A100-SXM4-40GB MIG 3g.20gb", "mib": 19968},
        {"name": "NVIDIA A100-SXM4-40GB MIG 1g.5gb", "mib": 4864},
    ],
}


@pytest.fixture(autouse=True)
def all_visible(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("name", "mib", "identifier"),
    [
        ("NVIDIA H100 80GB HBM3", 81559, "h100-sxm"),
        ("NVIDIA H200", 143771, "h200-sxm"),
        ("NVIDIA GB200", 189471, "gb200"),
        ("NVIDIA B300 SXM6 AC", 275040, "b300-sxm"),
        ("NVIDIA GB300", 284208, "gb300"),
        ("NVIDIA A100-SXM4-80GB", 81920, "a100-sxm4-80gb"),
        ("NVIDIA A100-PCIE-40GB", 40960, "a100-pcie-40gb"),
        ("nvidia a100-pcie-40gb", 40960, "a100-pcie-40gb"),
        ("NVIDIA GH200 480GB", 97871, "gh200-96gb"),  # the driver's name has the host's memory
        ("NVIDIA L4", 23034, "l4"),
        ("NVIDIA GeForce RTX 4090", 24564, "rtx-4090"),
        ("NVIDIA A10G", 23028, "a10g"),
        ("NVIDIA A10", 23028, "a10"),
        ("Tesla T4", 15360, "t4"),
        ("NVIDIA GB10", None, "gb10"),  # memory shared with the processor is not reported
    ],
)
def test_recorded_driver_answers_find_their_profile(name, mib, identifier):
    device = detect(FakeNvml({"name": name, "mib": mib})).devices[0]
    assert (device.profile_id, device.remark, device.part) == (identifier, None, False)


@pytest.mark.parametrize(
    ("name", "mib"), [("NVIDIA H100 80GB HBM3", 40000), ("NVIDIA H100 80GB HBM3", 143771), ("NVIDIA Z999", 81559)]
)
def test_a_name_alone_or_a_memory_size_alone_is_no_match(name, mib):
    device = detect(FakeNvml({"name": name, "mib": mib})).devices[0]
    assert device.profile_id is None
    assert "no profile" in device.remark


def test_a_board_sold_in_two_sizes_gets_the_size_at_hand():
    assert match_profile("Tesla V100-SXM2-16GB", 16160 * MIB).memory_bytes == 16 * 10**9
    assert match_profile("Tesla V100-SXM2-32GB", 32510 * MIB).memory_bytes == 32 * 10**9


def test_bytes_from_old_bindings_are_understood():
    assert detect(FakeNvml(H100, as_bytes=True)).devices[0].profile_id == "h100-sxm"


def test_several_boards_keep_their_order_and_the_driver_is_released():
    nvml = FakeNvml(H100, {"name": "NVIDIA L4", "mib": 23034}, H100)
    machine = detect(nvml)
    assert [(d.index, d.profile_id) for d in machine.devices] == [(0, "h100-sxm"), (1, "l4"), (2, "h100-sxm")]
    assert [(d.vendor, d.driver_version) for d in machine.devices] == [("NVIDIA", "580.65.06")] * 3
    assert nvml.open == 0


def test_a_board_in_slices_is_replaced_by_them_and_they_borrow_no_peaks():
    devices = detect(FakeNvml(H100, A100_IN_SLICES)).devices
    assert [(d.index, d.part, d.profile_id) for d in devices] == [
        (0, False, "h100-sxm"),
        (1, True, None),
        (1, True, None),
    ]
    assert devices[1].memory_bytes == 19968 * MIB
    assert "MIG slice" in devices[1].remark
    assert "moecap hw probe --save" in devices[1].remark


def test_a_board_with_less_power_than_its_profile_is_remarked():
    board = {"name": "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "mib": 97887, "watts": 300}
    device = detect(FakeNvml(board)).devices[0]
    assert device.profile_id == "rtx-pro-6000-bw-workstation"
    assert "300 W where the profile has 600 W" in device.remark


@pytest.mark.parametrize(
    ("setting", "visible"),
    [
        ("0", [0]),
        ("2,0", [2, 0]),  # board 2 is cuda:0
        ("0,0", [0]),
        ("", []),
        ("-1", []),
        ("1,9,0", [1]),  # CUDA stops at the first that does not exist
        ("GPU-0002", [2]),
        ("gpu-0001,GPU-0000", [1, 0]),
        ("GPU-000", []),  # three devices begin so
    ],
)
def test_cuda_visible_devices_is_heeded(monkeypatch, setting, visible):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", setting)
    machine = detect(FakeNvml(H100, H100, H100))
    assert [(d.index, d.ordinal) for d in machine.visible] == [(board, n) for n, board in enumerate(visible)]


def test_an_index_names_a_board_and_never_a_slice(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert detect(FakeNvml(H100, A100_IN_SLICES)).visible == []


def test_slices_are_visible_by_their_own_name(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-0001")
    assert [d.ordinal for d in detect(FakeNvml(A100_IN_SLICES)).devices] == [None, 0]


def test_no_driver_means_no_devices():
    class NoDriver(FakeNvml):
        def nvmlInit(self):
            raise NvmlError("NVML Shared Library Not Found")

    machine = detect(NoDriver())
    assert machine.devices == ()
    assert machine.host.cores >= 1


def test_a_driver_that_breaks_halfway_is_no_driver_and_is_released():
    class Broken(FakeNvml):
        def nvmlDeviceGetName(self, handle):
            raise NvmlError("GPU is lost")

    nvml = Broken(H100)
    assert detect(nvml).devices == ()
    assert nvml.open == 0


def pci(root, *devices):
    """A PCI bus with these (vendor, class)."""
    for number, (vendor, kind) in enumerate(devices):
        folder = root / f"sys/bus/pci/devices/0000:{number:02x}:00.0"
        folder.mkdir(parents=True)
        (folder / "vendor").write_text(vendor + "\n")
        (folder / "class").write_text(kind + "\n")
    return root


def test_a_device_on_the_bus_for_which_no_driver_answers_is_missing_with_a_remedy(tmp_path):
    machine = detect(FakeNvml(), root=pci(tmp_path, ("0x10de", "0x030200"), ("0x8086", "0x020000")))
    assert machine.devices == ()
    assert set(machine.missing) == {"NVIDIA"}
    assert "nvidia-smi" in machine.missing["NVIDIA"]


def test_a_device_that_answers_is_not_missing(tmp_path):
    assert detect(FakeNvml(H100), root=pci(tmp_path, ("0x10de", "0x030200"))).missing == {}


def test_graphics_inside_a_processor_are_no_accelerator(tmp_path):
    assert detect(FakeNvml(), root=pci(tmp_path, ("0x1002", "0x030000"))).missing == {}


def test_cuda_counts_by_the_bus_as_long_as_a_run_lasts(monkeypatch):
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    with bus_order():
        seen = subprocess.run(["printenv", "CUDA_DEVICE_ORDER"], capture_output=True, text=True, check=True).stdout
        assert seen == "PCI_BUS_ID\n"  # also for what this process starts
    assert "CUDA_DEVICE_ORDER" not in os.environ
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    with bus_order():
        assert os.environ["CUDA_DEVICE_ORDER"] == "FASTEST_FIRST"
    assert os.environ["CUDA_DEVICE_ORDER"] == "FASTEST_FIRST"
