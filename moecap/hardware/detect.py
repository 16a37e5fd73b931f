"""What this machine is: its NVIDIA devices, asked through NVML, and the host."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moecap.hardware.host import HostFacts, read_host
from moecap.hardware.profile import HardwareProfile
from moecap.hardware.registry import list_profiles

__all__ = ["Detected", "Device", "detect", "match_profile"]


@dataclass(frozen=True, slots=True)
class Device:
    """One device as its driver describes it.

    Attributes:
        index: Index of the board in the driver's order; MIG slices share their board's.
        name: The driver's name.
        memory_bytes: The driver's total; None where it gives none (memory shared with the processor).
        mig: Whether it is a MIG slice.
        visible: Whether ``CUDA_VISIBLE_DEVICES`` lets processes use it.
        profile_id: The matching profile, or None.
        remark: Why there is no profile, or why its peaks may not hold.
    """

    index: int
    name: str
    memory_bytes: int | None
    mig: bool
    visible: bool
    profile_id: str | None
    remark: str | None


@dataclass(frozen=True, slots=True)
class Detected:
    """This machine: no host name, no serial numbers.

    Attributes:
        devices: The accelerators in the driver's order; a board in MIG mode is replaced by its slices.
        driver_version: The NVIDIA driver's version, or None without a driver.
        host: Processor, usable cores, memory.
    """

    devices: tuple[Device, ...]
    driver_version: str | None
    host: HostFacts


def detect(nvml: Any | None = None, root: Path = Path("/")) -> Detected:
    """Ask the driver and the kernel what this machine is.

    Args:
        nvml: A module with pynvml's functions; by default pynvml itself, and without it or a driver: no devices.
        root: Where ``proc`` and ``sys`` are.
    """
    devices, version = _ask_nvml(nvml if nvml is not None else _pynvml())
    return Detected(devices, version, read_host(root))


def match_profile(name: str, memory_bytes: int | None) -> HardwareProfile | None:
    """The accelerator profile that a driver's answer stands for.

    Args:
        name: The driver's name of the device; case does not matter.
        memory_bytes: The driver's memory size; None matches by name alone.

    Returns:
        The profile, with the size at hand where it is sold in several, or None where name or memory fit no profile.
    """
    wanted = " ".join(name.lower().split())
    for profile in list_profiles():
        if wanted not in (known.lower() for known in profile.driver_names):
            continue
        if memory_bytes is None:
            return profile
        size = profile.holds_memory(memory_bytes)
        if size is not None:
            return profile if size == profile.memory_bytes else profile.model_copy(update={"memory_bytes": size})
    return None


def _pynvml() -> Any | None:
    try:
        import pynvml
    except ImportError:
        return None
    return pynvml


def _ask_nvml(nvml: Any | None) -> tuple[tuple[Device, ...], str | None]:
    if nvml is None:
        return (), None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:  # no driver, or no device that it may open
        return (), None
    try:
        version = _plain(nvml.nvmlSystemGetDriverVersion())
        entries = list(_handles(nvml))
        visible = _visible_entries([(index, uuid) for index, uuid, _, _ in entries])
        return tuple(
            _device(nvml, index, handle, mig, position in visible)
            for position, (index, _, handle, mig) in enumerate(entries)
        ), version
    except nvml.NVMLError:  # the driver broke while it answered: what it says cannot be relied on
        return (), None
    finally:
        nvml.nvmlShutdown()


def _handles(nvml: Any) -> Iterator[tuple[int, str, Any, bool]]:
    """Board index, UUID, handle and whether it is a slice, for each device that a process could use."""
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        if not _mig_enabled(nvml, handle):
            yield index, _plain(nvml.nvmlDeviceGetUUID(handle)), handle, False
            continue
        for slot in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
            try:
                part = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, slot)
            except nvml.NVMLError:  # an empty slot
                continue
            yield index, _plain(nvml.nvmlDeviceGetUUID(part)), part, True


def _mig_enabled(nvml: Any, handle: Any) -> bool:
    try:
        return bool(nvml.nvmlDeviceGetMigMode(handle)[0] == 1)
    except nvml.NVMLError:  # not supported by this device
        return False


def _device(nvml: Any, index: int, handle: Any, mig: bool, visible: bool) -> Device:
    name = _plain(nvml.nvmlDeviceGetName(handle))
    try:
        memory: int | None = int(nvml.nvmlDeviceGetMemoryInfo(handle).total) or None
    except nvml.NVMLError:  # memory shared with the processor: not reported
        memory = None
    if mig:
        remark = "a MIG slice has a part of the board's bandwidth and peaks, which no profile states"
        return Device(index, name, memory, True, visible, None, remark)
    profile = match_profile(name, memory)
    if profile is None:
        return Device(
            index, name, memory, False, visible, None, "no profile has this driver name with this memory size"
        )
    return Device(index, name, memory, False, visible, profile.id, _power_remark(nvml, handle, profile))


def _power_remark(nvml: Any, handle: Any, profile: HardwareProfile) -> str | None:
    """Boards of one name are sold with other power limits; their clocks, and so their peaks, are other ones."""
    try:
        watts = nvml.nvmlDeviceGetPowerManagementDefaultLimit(handle) / 1000  # milliwatts
    except nvml.NVMLError:
        return None
    if profile.tdp_watts and watts and watts < 0.85 * profile.tdp_watts:
        return (
            f"power limit {watts:.0f} W where the profile has {profile.tdp_watts:.0f} W: its peaks may be out of reach"
        )
    return None


def _visible_entries(entries: list[tuple[int, str]]) -> set[int]:
    """Positions that ``CUDA_VISIBLE_DEVICES`` names: an entry that names nothing ends the list, as CUDA has it."""
    setting = os.environ.get("CUDA_VISIBLE_DEVICES")
    if setting is None:
        return set(range(len(entries)))
    visible: set[int] = set()
    for item in (part.strip() for part in setting.split(",")):
        if item.isdigit():
            found = {i for i, (index, uuid) in enumerate(entries) if index == int(item) and not uuid.startswith("MIG-")}
        else:
            found = {i for i, (_, uuid) in enumerate(entries) if item and uuid.lower().startswith(item.lower())}
        if not found:
            break
        visible |= found
    return visible


def _plain(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
