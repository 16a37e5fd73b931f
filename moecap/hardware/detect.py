"""What this machine is: its accelerators, asked through their drivers, and the host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moecap.hardware.amd import ask_amdsmi, import_amdsmi
from moecap.hardware.device import Device
from moecap.hardware.host import HostFacts, read_host
from moecap.hardware.nvidia import ask_nvml, import_nvml

__all__ = ["Detected", "detect"]

_VENDORS = {"0x10de": "NVIDIA", "0x1002": "AMD"}
_CLASSES = {"NVIDIA": ("0x0300", "0x0302"), "AMD": ("0x0380", "0x1200")}
"""PCI classes of devices that compute: AMD's 0x0300 is left out, since its graphics in processors are of that class."""
_NO_NVML = (
    "install NVIDIA's driver, or give the container its devices (docker run --gpus all); `nvidia-smi` must answer"
)
_NO_AMDSMI = "install AMD SMI of your ROCm (package amd-smi-lib), then pip install amdsmi of the same version"
_SILENT_AMDSMI = "load the amdgpu driver and give the process /dev/kfd and /dev/dri; `amd-smi list` must answer"


@dataclass(frozen=True, slots=True)
class Detected:
    """This machine: no host name, no serial numbers.

    Attributes:
        devices: The accelerators, NVIDIA's before AMD's; a board in MIG mode is replaced by its slices, a partitioned
            one by its partitions.
        missing: For each vendor whose devices are in this machine while nothing answers for them, what would mend it.
        host: Processor, usable cores, memory.
    """

    devices: tuple[Device, ...]
    missing: dict[str, str]
    host: HostFacts

    @property
    def visible(self) -> list[Device]:
        """The devices that processes can use, in the order of ``cuda:N``."""
        return sorted((d for d in self.devices if d.ordinal is not None), key=lambda d: d.ordinal or 0)


def detect(nvml: Any | None = None, amdsmi: Any | None = None, root: Path = Path("/")) -> Detected:
    """Ask the drivers and the kernel what this machine is.

    Args:
        nvml: A module with pynvml's functions; by default pynvml itself, and without it or a driver: no devices.
        amdsmi: A module with AMD SMI's functions; by default amdsmi itself, looked for where the machine has a device
            of AMD's.
        root: Where ``proc`` and ``sys`` are.
    """
    present = set(_present(root))
    nvml = nvml if nvml is not None else import_nvml()
    if amdsmi is None and "AMD" in present:
        amdsmi = import_amdsmi()
    devices = (*(ask_nvml(nvml) if nvml is not None else ()), *(ask_amdsmi(amdsmi) if amdsmi is not None else ()))
    remedies = {"NVIDIA": _NO_NVML, "AMD": _NO_AMDSMI if amdsmi is None else _SILENT_AMDSMI}
    silent = sorted(present - {device.vendor for device in devices})
    return Detected(devices, {vendor: remedies[vendor] for vendor in silent}, read_host(root))


def _present(root: Path) -> Iterator[str]:
    """Vendors of the accelerators that the PCI bus lists, whether or not a driver answers for them."""
    for folder in (root / "sys/bus/pci/devices").glob("*"):
        try:
            vendor = _VENDORS.get((folder / "vendor").read_text(encoding="ascii").strip())
            kind = (folder / "class").read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            continue
        if vendor and kind.startswith(_CLASSES[vendor]):
            yield vendor
