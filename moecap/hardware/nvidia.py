"""NVIDIA's devices in this machine, asked through NVML."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moecap.hardware.device import MEASURE_IT, NO_PROFILE, Device, match_profile, visible_order
from moecap.hardware.profile import HardwareProfile

__all__ = ["ask_nvml", "bus_order", "import_nvml", "open_boards"]

ORDER = "CUDA_DEVICE_ORDER"


def import_nvml() -> Any | None:
    """The module pynvml (of the package nvidia-ml-py), or None where it is not installed."""
    try:
        import pynvml
    except ImportError:
        return None
    return pynvml


@contextmanager
def bus_order() -> Iterator[None]:
    """CUDA counts devices by the bus, as NVML does, in this process and in those that it starts.

    Left to itself CUDA puts the fastest first, so that in a machine with different boards its numbers are not NVML's. A
    process takes the order when it first uses CUDA; an order that the user has set stays.
    """
    if ORDER in os.environ:
        yield
        return
    os.environ[ORDER] = "PCI_BUS_ID"
    try:
        yield
    finally:
        os.environ.pop(ORDER, None)


def ask_nvml(nvml: Any) -> tuple[Device, ...]:
    """The devices in the driver's order; a board in MIG mode is replaced by its slices.

    Args:
        nvml: A module with pynvml's functions.

    Returns:
        None at all where no driver answers, or where it breaks while it does.
    """
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:  # no driver, or no device that it may open
        return ()
    try:
        version = _plain(nvml.nvmlSystemGetDriverVersion())
        entries = list(_handles(nvml))
        known = [(None if part else index, uuid) for index, uuid, _, part in entries]
        order = visible_order(os.environ.get("CUDA_VISIBLE_DEVICES"), known)
        return tuple(
            _device(nvml, index, handle, version, part, order.index(position) if position in order else None)
            for position, (index, _, handle, part) in enumerate(entries)
        )
    except nvml.NVMLError:  # what a broken driver says cannot be relied on
        return ()
    finally:
        nvml.nvmlShutdown()


def open_boards(nvml: Any, count: int) -> list[Any] | None:
    """Start NVML and open the boards that a run uses: the first so many that processes see.

    Args:
        nvml: A module with pynvml's functions; whoever gets handles calls ``nvmlShutdown`` once.
        count: Number of boards.

    Returns:
        A handle a board; ``None`` where there are fewer, where one is a slice (what NVML reads is the whole board's),
        or where it is not known which ones CUDA takes first.
    """
    visible = sorted((d for d in ask_nvml(nvml) if d.ordinal is not None), key=lambda d: d.ordinal or 0)
    chosen = visible[:count]
    if len(chosen) < count or any(d.part for d in chosen):
        return None
    ordered = os.environ.get(ORDER) == "PCI_BUS_ID" or len({d.name for d in visible}) == 1
    if not ordered and len(visible) > count:  # CUDA puts the fastest first, NVML goes by the bus: which ones is unknown
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    try:
        return [nvml.nvmlDeviceGetHandleByIndex(d.index) for d in chosen]
    except nvml.NVMLError:
        nvml.nvmlShutdown()
        return None


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


def _device(nvml: Any, index: int, handle: Any, version: str, part: bool, ordinal: int | None) -> Device:
    name = _plain(nvml.nvmlDeviceGetName(handle))
    try:
        memory: int | None = int(nvml.nvmlDeviceGetMemoryInfo(handle).total) or None
    except nvml.NVMLError:  # memory shared with the processor: not reported
        memory = None
    profile = None if part else match_profile(name, memory)
    if part:
        remark: str | None = (
            f"a MIG slice has a part of the board's bandwidth and peaks, which no profile states; {MEASURE_IT}"
        )
    else:
        remark = _power_remark(nvml, handle, profile) if profile else NO_PROFILE
    return Device(
        vendor="NVIDIA",
        index=index,
        name=name,
        memory_bytes=memory,
        driver_version=version,
        part=part,
        ordinal=ordinal,
        profile_id=profile.id if profile else None,
        remark=remark,
    )


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


def _plain(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
