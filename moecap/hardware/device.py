"""One accelerator as its driver describes it, and the profile that it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from moecap.hardware.profile import HardwareProfile
from moecap.hardware.registry import list_profiles

__all__ = ["MEASURE_IT", "NO_PROFILE", "Device", "match_profile", "visible_order"]

MEASURE_IT = "`moecap hw probe --save FILE` measures its own peaks for --hw FILE"
NO_PROFILE = f"no profile has this driver name with this memory size; {MEASURE_IT}"


@dataclass(frozen=True, slots=True)
class Device:
    """One device as its driver describes it; it holds no serial number.

    Attributes:
        vendor: ``"NVIDIA"`` or ``"AMD"``.
        index: Index of the board in the driver's order; MIG slices share their board's.
        name: The driver's name.
        memory_bytes: The driver's total; None where it gives none (memory shared with the processor).
        driver_version: The driver's version; None where it does not say.
        part: Whether it is a part of a board: a MIG slice, or a partition of an AMD board.
        ordinal: N of ``cuda:N`` under which processes reach it (torch calls AMD's devices so too); None where the
            environment hides it.
        profile_id: The matching profile, or None.
        remark: Why there is no profile, or why its peaks may not hold.
    """

    vendor: str
    index: int
    name: str
    memory_bytes: int | None
    driver_version: str | None
    part: bool
    ordinal: int | None
    profile_id: str | None
    remark: str | None


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


def visible_order(setting: str | None, devices: Sequence[tuple[int | None, str]]) -> list[int]:
    """Which devices a variable such as ``CUDA_VISIBLE_DEVICES`` leaves to processes, in the order that it gives them.

    Args:
        setting: The variable's value: indices, or UUIDs that may be cut short; None where it is not set.
        devices: Index (None where it cannot be named by one, as a MIG slice) and UUID of each device.

    Returns:
        Positions in ``devices``. An entry that names no device, or several, ends the list, as the runtimes have it.
    """
    if setting is None:
        return list(range(len(devices)))
    order: list[int] = []
    for item in (part.strip().lower() for part in setting.split(",")):
        if item.isdigit():
            found = [i for i, (index, _) in enumerate(devices) if index == int(item)]
        else:
            found = [i for i, (_, uuid) in enumerate(devices) if item and uuid.lower().startswith(item)]
        if len(found) != 1:
            break
        order += [i for i in found if i not in order]
    return order
