"""Which energy counter a run reads: this project's own (NVML, RAPL), or Zeus where those do not reach.

Zeus (package ``zeus``) counts AMD's boards through AMD SMI, and a host's packages through its daemon where only root
may read RAPL. It was tried on a folder of powercap zones and not on a GPU.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from moecap.errors import NotAvailableError
from moecap.hardware.energy_counter import EnergyCounter, EnergyReading, open_energy_counter

__all__ = ["NO_COUNTER", "SILENT", "EnergyName", "EnergySource", "ZeusCounter", "find_energy_source"]

EnergyName = Literal["auto", "nvml", "rapl", "zeus"]

NO_COUNTER = "none: "
"""Begins the name of a source that does not count; the reason follows."""

OWN = {"cuda": "nvml", "cpu": "rapl"}
SILENT = {
    "nvml": "no readable energy counter (NVML has one for boards from Volta on, none for slices)",
    "rapl": "no readable energy counter (/sys/class/powercap/intel-rapl:*)",
}
RUNS_ON = {"cuda": "boards", "cpu": "the host"}
COVERS = {"nvml": "boards", "rapl": "the host's packages"}


@dataclass(frozen=True, slots=True)
class EnergySource:
    """What counts the energy of a run.

    Attributes:
        counter: The counter, or ``None`` where nothing counts.
        name: ``nvml``, ``rapl``, ``zeus`` with its version, or ``none:`` with the reason.
    """

    counter: EnergyCounter | None
    name: str


class ZeusCounter:
    """Counters that Zeus reads, one a device; all of them in millijoules.

    Args:
        counters: A function a device that gives its energy since some moment in the past, mJ.
        power: A function a device that gives its power, mW; empty for a host.
        problem: The error of Zeus after which a reading has no value.
    """

    def __init__(
        self, counters: list[Callable[[], float]], power: list[Callable[[], float]], problem: type[Exception]
    ) -> None:
        self._counters, self._power, self._problem = counters, power, problem

    def read(self) -> EnergyReading:
        """Power and energy of all devices together; a value that one device does not give is None."""
        return EnergyReading(self._sum(self._power), self._sum(self._counters))

    def close(self) -> None:
        """Zeus lets go of its libraries itself when this process ends."""

    def _sum(self, ask: list[Callable[[], float]]) -> float | None:
        try:
            return sum(float(one()) for one in ask) / 1000 if ask else None
        except (self._problem, OSError):
            return None


def find_energy_source(
    wanted: EnergyName,
    device: str,
    count: int,
    *,
    nvml: Any | None = None,
    zeus: Any | None = None,
    root: Path = Path("/"),
) -> EnergySource:
    """The counter of the devices that a run uses.

    Args:
        wanted: ``auto`` takes this project's own counter, and Zeus's where that does not count and Zeus is installed.
        device: ``cpu`` for the host, ``cuda`` for boards.
        count: Number of boards: the first so many that processes see.
        nvml: A module with pynvml's functions; by default pynvml itself.
        zeus: A package with the modules ``device`` and ``exception`` of Zeus; by default Zeus itself.
        root: Where ``sys`` is.

    Raises:
        NotAvailableError: If Zeus is asked for by name and is not installed.
    """
    own = OWN[device]
    if wanted in ("auto", own):
        counter = open_energy_counter(device, count, nvml, root)
        if counter is not None and (wanted == own or counter.read().joules is not None):
            return EnergySource(counter, own)
        if counter is not None:
            counter.close()
        if wanted == own or (zeus is None and not _installed()):
            return EnergySource(None, NO_COUNTER + SILENT[own])
    elif wanted != "zeus":
        reason = f"energy_source={wanted} counts {COVERS[wanted]}, and this run is on {RUNS_ON[device]}"
        return EnergySource(None, NO_COUNTER + reason)
    if zeus is None:
        if not _installed():
            raise NotAvailableError('energy_source=zeus: Zeus is not installed; pip install "moecap[zeus]"')
        zeus = importlib.import_module("zeus")
        for module in ("device", "exception"):
            importlib.import_module(f"zeus.{module}")
    return _zeus(zeus, device, count, root)


def _installed() -> bool:
    try:
        return importlib.util.find_spec("zeus.device") is not None
    except ModuleNotFoundError:  # no package of that name at all
        return False


def _zeus(zeus: Any, device: str, count: int, root: Path) -> EnergySource:
    """The counters of Zeus, each read once, since some only say when they are read that they cannot be."""
    problem = zeus.exception.ZeusBaseError
    counters: list[Callable[[], float]]
    power: list[Callable[[], float]] = []
    try:
        if device == "cpu":
            packages = _packages(root)
            counters = [
                partial(_package_energy, cpu) for cpu in zeus.device.get_cpus().cpus if cpu.cpu_index in packages
            ]
        else:
            gpus = zeus.device.get_gpus()
            if len(gpus) < count:
                return EnergySource(None, f"{NO_COUNTER}Zeus sees {len(gpus)} of {count} devices")
            counters = [partial(gpus.get_total_energy_consumption, i) for i in range(count)]
            power = [partial(gpus.get_instant_power_usage, i) for i in range(count)]
        for counter in counters:
            counter()
    except (problem, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return EnergySource(None, f"{NO_COUNTER}Zeus counts nothing here ({reason})")
    if not counters:
        return EnergySource(None, f"{NO_COUNTER}Zeus counts nothing here (no package of this host)")
    return EnergySource(ZeusCounter(counters, power, problem), f"zeus {_version()}")


def _package_energy(cpu: Any) -> float:
    return float(cpu.get_total_energy_consumption().cpu_mj)


def _packages(root: Path) -> set[int]:
    """Numbers of the zones that are packages: Zeus also counts a platform that holds them (``psys``)."""
    found = set()
    for zone in (root / "sys/class/powercap").glob("intel-rapl:*"):
        number = zone.name.partition(":")[2]
        if number.isdecimal() and (zone / "name").read_text().startswith("package"):
            found.add(int(number))
    return found


def _version() -> str:
    try:
        return version("zeus")
    except PackageNotFoundError:
        return "of unknown version"
