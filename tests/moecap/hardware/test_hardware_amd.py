"""AMD's devices, replayed through a module of the shape that AMD SMI's Python library has.

Functions, keys and exceptions are those of amdsmi 7.0.2 (``amdsmi_interface.py`` in the package on PyPI) and of the
"AMD SMI Python API reference" (https://rocm.docs.amd.com/projects/amdsmi/en/latest/reference/amdsmi-py-api.html):
``amdsmi_get_gpu_asic_info`` gives ``market_name`` and ``asic_serial`` ("0x" and 16 hexadecimal digits); the partition
functions give strings, and raise ``AmdSmiLibraryException`` on boards and in guests that have no partitions; memory is
in bytes. Names and sizes are those that real machines reported: ``AMD Instinct MI350X`` with the board ``AMD Instinct
MI350 OAM`` (ROCm/rocm-systems pull request 2987), and a guest's ``AMD Instinct MI300X VF`` with 205,822,885,888 bytes.
"""

from enum import IntEnum
from pathlib import Path

import pytest

from moecap.hardware.amd import import_amdsmi
from moecap.hardware.detect import detect

MIB = 2**20


class AmdSmiError(Exception):
    """The root of the library's exceptions."""


class AmdSmiLibraryError(AmdSmiError):
    """What the library raises where a feature is not supported."""


class FakeAmdSmi:
    AmdSmiException = AmdSmiError
    AmdSmiLibraryException = AmdSmiLibraryError

    class AmdSmiMemoryType(IntEnum):
        VRAM = 0
        VIS_VRAM = 1
        GTT = 2

    def __init__(self, *boards):
        self.boards = boards
        self.open = 0

    def amdsmi_init(self):
        self.open += 1

    def amdsmi_shut_down(self):
        self.open -= 1

    def amdsmi_get_processor_handles(self):
        return list(self.boards)

    def amdsmi_get_gpu_asic_info(self, handle):
        return {
            "market_name": handle["market"],
            "vendor_id": "0x1002",
            "vendor_name": "Advanced Micro Devices Inc. [AMD/ATI]",
            "device_id": "0x74a1",
            "asic_serial": handle.get("serial", "N/A"),
            "target_graphics_version": "gfx942",
        }

    def amdsmi_get_gpu_board_info(self, handle):
        if "product" not in handle:
            raise AmdSmiLibraryError("AMDSMI_STATUS_NOT_SUPPORTED")
        return {"product_name": handle["product"], "manufacturer_name": "AMD"}

    def amdsmi_get_gpu_driver_info(self, handle):
        return {"driver_name": "amdgpu", "driver_version": "6.12.12", "driver_date": "2015/01/01 00:00"}

    def amdsmi_get_gpu_memory_total(self, handle, mem_type):
        assert isinstance(mem_type, self.AmdSmiMemoryType)
        return handle["bytes"] if mem_type == self.AmdSmiMemoryType.VRAM else 1

    def amdsmi_get_gpu_compute_partition(self, handle):
        return self._mode(handle, "compute")

    def amdsmi_get_gpu_memory_partition(self, handle):
        return self._mode(handle, "memory")

    def amdsmi_get_gpu_enumeration_info(self, handle):
        return {"drm_render": 128, "drm_card": 0, "hsa_id": 1, "hip_id": handle.get("hip", "N/A"), "hip_uuid": "GPU-0"}

    def _mode(self, handle, key):
        if key not in handle:
            raise AmdSmiLibraryError("AMDSMI_STATUS_NOT_SUPPORTED")
        return handle[key]


def board(market="AMD Instinct MI300X", mib=196592, **facts):
    return {
        "market": market,
        "product": "AMD Instinct MI300X OAM",
        "bytes": mib * MIB,
        "compute": "SPX",
        "memory": "NPS1",
        **facts,
    }


@pytest.fixture(autouse=True)
def all_visible(monkeypatch):
    for name in ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def detected(tmp_path):
    return lambda *boards: detect(amdsmi=FakeAmdSmi(*boards), root=tmp_path)


@pytest.mark.parametrize(
    ("device", "identifier"),
    [
        (board(), "mi300x"),
        (board("amd instinct mi300x"), "mi300x"),
        (board("AMD Instinct MI325X", 262128), "mi325x"),
        (board("AMD Instinct MI355X", 294896), "mi355x"),
        ({"market": "AMD Instinct MI300X VF", "bytes": 205_822_885_888}, "mi300x"),  # a guest: no modes, no board
        (board("0x74a1"), "mi300x"),  # an old libdrm does not know the name; the board's has it
    ],
)
def test_names_and_memory_find_the_profile(detected, device, identifier):
    (found,) = detected(device).devices
    assert (found.vendor, found.profile_id, found.remark, found.part) == ("AMD", identifier, None, False)
    assert (found.driver_version, found.memory_bytes) == ("6.12.12", device["bytes"])
    assert found.name.lower().startswith("amd instinct")


@pytest.mark.parametrize(
    "device",
    [
        board(mib=24574),  # an eighth of the memory
        board("AMD Instinct MI325X", 196592, product="N/A"),
        board("AMD Instinct MI350X", 294896, product="AMD Instinct MI350 OAM"),  # no profile of it
        board("AMD Instinct MI250X", 65520),  # one of the two dies of the board that the profile describes
        board("N/A", product="N/A"),
    ],
)
def test_a_name_alone_or_a_memory_size_alone_is_no_match(detected, device):
    (found,) = detected(device).devices
    assert found.profile_id is None
    assert "no profile" in found.remark


@pytest.mark.parametrize("modes", [{"compute": "CPX"}, {"compute": "DPX", "memory": "NPS2"}, {"memory": "NPS4"}])
def test_a_partition_borrows_no_peaks_even_with_the_memory_of_the_board(detected, modes):
    (found,) = detected(board(**modes)).devices
    assert (found.part, found.profile_id) == (True, None)
    assert modes.get("compute", "NPS4") in found.remark
    assert "moecap hw probe --save" in found.remark


def test_boards_without_modes_are_whole(detected):
    assert detected(board(compute="N/A", memory="N/A")).devices[0].profile_id == "mi300x"


def test_devices_come_in_the_order_of_hip(detected):
    devices = detected(board(hip=1), board("AMD Instinct MI325X", 262128, hip=0)).devices
    assert [(d.ordinal, d.profile_id) for d in devices] == [(0, "mi325x"), (1, "mi300x")]


def test_a_library_before_rocm_6_4_gives_the_order_of_the_driver(tmp_path, monkeypatch):
    monkeypatch.delattr(FakeAmdSmi, "amdsmi_get_gpu_enumeration_info")
    devices = detect(amdsmi=FakeAmdSmi(board(), board("AMD Instinct MI325X", 262128)), root=tmp_path).devices
    assert [d.profile_id for d in devices] == ["mi300x", "mi325x"]


@pytest.mark.parametrize(
    ("settings", "visible"),
    [
        ({"HIP_VISIBLE_DEVICES": "2,0"}, [2, 0]),
        ({"CUDA_VISIBLE_DEVICES": "1"}, [1]),
        ({"HIP_VISIBLE_DEVICES": "0", "CUDA_VISIBLE_DEVICES": "1"}, [0]),
        ({"ROCR_VISIBLE_DEVICES": "2,1"}, [2, 1]),
        ({"ROCR_VISIBLE_DEVICES": "2,1", "HIP_VISIBLE_DEVICES": "1"}, [1]),  # HIP counts what ROCr has left
        ({"ROCR_VISIBLE_DEVICES": "GPU-dc91284879207f22"}, [2]),
        ({"HIP_VISIBLE_DEVICES": ""}, []),
    ],
)
def test_the_variables_of_rocm_are_heeded(detected, monkeypatch, settings, visible):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    machine = detected(*(board(serial=f"0xDC91284879207F2{i}") for i in range(3)))
    assert [(d.index, d.ordinal) for d in machine.visible] == [(index, n) for n, index in enumerate(visible)]


def test_serial_numbers_are_not_kept(detected):
    assert "DC91284879207F2B" not in str(detected(board(serial="0xDC91284879207F2B"))).upper()


def test_without_a_driver_there_are_no_devices(tmp_path):
    class NoDriver(FakeAmdSmi):
        def amdsmi_init(self):
            raise AmdSmiLibraryError("AMDSMI_STATUS_DRIVER_NOT_LOADED")

    assert detect(amdsmi=NoDriver(board()), root=tmp_path).devices == ()


def test_a_driver_that_breaks_halfway_is_no_driver_and_is_released(tmp_path):
    class Broken(FakeAmdSmi):
        def amdsmi_get_gpu_asic_info(self, handle):
            raise AmdSmiLibraryError("AMDSMI_STATUS_API_FAILED")

    library = Broken(board())
    assert detect(amdsmi=library, root=tmp_path).devices == ()
    assert library.open == 0


def amd_on_the_bus(root: Path) -> Path:
    folder = root / "sys/bus/pci/devices/0000:05:00.0"
    folder.mkdir(parents=True)
    (folder / "vendor").write_text("0x1002\n")
    (folder / "class").write_text("0x120000\n")
    return root


def test_a_board_on_the_bus_without_the_library_is_missing_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr("moecap.hardware.detect.import_amdsmi", lambda: None)
    assert "pip install amdsmi" in detect(root=amd_on_the_bus(tmp_path)).missing["AMD"]


def test_a_board_on_the_bus_whose_driver_is_silent_is_missing_with_a_remedy(tmp_path):
    assert "/dev/kfd" in detect(amdsmi=FakeAmdSmi(), root=amd_on_the_bus(tmp_path)).missing["AMD"]


def test_the_library_without_rocm_counts_as_not_installed_and_prints_nothing(tmp_path, monkeypatch, capsys):
    """As ``amdsmi_wrapper.py`` ends where it finds no libamd_smi.so: two lines on stdout, then a KeyError."""
    package = tmp_path / "amdsmi"
    package.mkdir()
    (package / "__init__.py").write_text("print('Unable to find libamd_smi.so'); {}['libamd_smi.so']\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert import_amdsmi() is None
    assert capsys.readouterr().out == ""
