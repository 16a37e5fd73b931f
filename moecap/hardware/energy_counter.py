"""The energy counters of devices: NVML's for boards, RAPL's (through the kernel's powercap) for a host's packages.

Both count from some moment in the past; only differences mean anything. NVML's counts millijoules since the driver was
loaded, in 64 bits. RAPL's counts microjoules and wraps after a range that the kernel states, on a busy server in about
half an hour, so it has to be read more often than that.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from moecap.hardware.nvidia import import_nvml, open_boards

__all__ = ["BoardCounter", "EnergyCounter", "EnergyReading", "PackageCounter", "open_energy_counter"]


@dataclass(frozen=True, slots=True)
class EnergyReading:
    """One reading, summed over devices.

    Attributes:
        watts: Power as the driver reports it; None where it does not.
        joules: The counter, never wrapped; None where it could not be read this time.
    """

    watts: float | None
    joules: float | None


class EnergyCounter(Protocol):
    """Something that counts energy until it is closed."""

    def read(self) -> EnergyReading:
        """The counter now."""

    def close(self) -> None:
        """Let go of the driver."""


class BoardCounter:
    """The boards that a run uses, by ``nvmlDeviceGetTotalEnergyConsumption``.

    Args:
        nvml: A module with pynvml's functions, initialised.
        handles: The boards.
    """

    def __init__(self, nvml: Any, handles: list[Any]) -> None:
        self._nvml = nvml
        self._handles = handles

    def read(self) -> EnergyReading:
        """Power and energy of all boards together; a value that one board does not give is None."""
        return EnergyReading(
            self._sum(self._nvml.nvmlDeviceGetPowerUsage), self._sum(self._nvml.nvmlDeviceGetTotalEnergyConsumption)
        )

    def close(self) -> None:
        """Shut NVML down once for the start that was made for this counter."""
        self._nvml.nvmlShutdown()

    def _sum(self, ask: Any) -> float | None:
        try:
            return sum(int(ask(handle)) for handle in self._handles) / 1000  # milliwatts, millijoules
        except self._nvml.NVMLError:
            return None


class PackageCounter:
    """The packages of a host, by ``energy_uj`` of the powercap zones ``intel-rapl:N`` (AMD's have that name too).

    Args:
        zones: Folders of the zones.
        ranges: Where each wraps, microjoules.
    """

    def __init__(self, zones: list[Path], ranges: list[int]) -> None:
        self._zones = zones
        self._ranges = ranges
        self._last = [0] * len(zones)
        self._wrapped = [0] * len(zones)

    def read(self) -> EnergyReading:
        """Energy of all packages together, wraps added back; None where one cannot be read."""
        try:
            now = [int((zone / "energy_uj").read_text()) for zone in self._zones]
        except (OSError, ValueError):
            return EnergyReading(None, None)
        for i, value in enumerate(now):
            if value < self._last[i]:
                self._wrapped[i] += self._ranges[i]
        self._last = now
        return EnergyReading(None, (sum(now) + sum(self._wrapped)) / 1e6)

    def close(self) -> None:
        """Nothing is held between readings."""


def open_energy_counter(
    device: str, count: int, nvml: Any | None = None, root: Path = Path("/")
) -> EnergyCounter | None:
    """The counter of the devices that a run uses, or None where this machine has none that may be read.

    Args:
        device: ``"cpu"`` for the host, ``"cuda"`` for boards.
        count: Number of boards: the first so many that processes see.
        nvml: A module with pynvml's functions; by default pynvml itself.
        root: Where ``sys`` is.
    """
    if device == "cpu":
        return _packages(root)
    nvml = import_nvml() if nvml is None else nvml
    return None if nvml is None else _boards(nvml, count)


def _boards(nvml: Any, count: int) -> BoardCounter | None:
    handles = open_boards(nvml, count)
    return None if handles is None else BoardCounter(nvml, handles)


def _packages(root: Path) -> PackageCounter | None:
    zones, ranges = [], []
    for zone in sorted((root / "sys/class/powercap").glob("intel-rapl:*")):
        try:
            # a zone with two colons is a part of a package; "psys" is the whole platform, packages included
            if zone.name.count(":") == 1 and (zone / "name").read_text().startswith("package"):
                int((zone / "energy_uj").read_text())
                ranges.append(int((zone / "max_energy_range_uj").read_text()))
                zones.append(zone)
        except (OSError, ValueError):  # since Linux 5.10 only root may read it; a package left out would be no host
            return None
    return PackageCounter(zones, ranges) if zones else None
