"""AMD's devices in this machine, asked through AMD SMI's Python library, where that is installed."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
from typing import Any

from moecap.hardware.device import MEASURE_IT, NO_PROFILE, Device, match_profile, visible_order

__all__ = ["ask_amdsmi", "import_amdsmi"]

WHOLE = {"SPX", "NPS1"}
"""The compute and the memory mode in which a board is one device with all of its memory."""


def import_amdsmi() -> Any | None:
    """The module amdsmi, or None where it, or the library of ROCm that it loads, is not installed.

    Without that library its import prints two lines and ends in a KeyError (amdsmi 7.0.2, ``amdsmi_wrapper.py``).
    """
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            return importlib.import_module("amdsmi")
        except (ImportError, OSError, KeyError, AttributeError):  # AttributeError: a library of another version
            return None


def ask_amdsmi(amdsmi: Any) -> tuple[Device, ...]:
    """The devices in the order of HIP (of the driver, before ROCm 6.4); a partitioned board comes as its partitions.

    Args:
        amdsmi: A module with the functions of AMD SMI's Python library.

    Returns:
        None at all where no driver answers, or where it breaks while it does.
    """
    try:
        amdsmi.amdsmi_init()
    except amdsmi.AmdSmiException:  # no driver is loaded, or this user may not open it
        return ()
    try:
        handles = sorted(enumerate(amdsmi.amdsmi_get_processor_handles()), key=lambda pair: _hip_id(amdsmi, *pair))
        facts = [amdsmi.amdsmi_get_gpu_asic_info(handle) for _, handle in handles]
        order = _visible([f"gpu-{str(asic['asic_serial']).lower().removeprefix('0x')}" for asic in facts])
        return tuple(
            _device(amdsmi, i, handle, asic, order.index(i) if i in order else None)
            for i, ((_, handle), asic) in enumerate(zip(handles, facts, strict=True))
        )
    except amdsmi.AmdSmiException:  # what a broken driver says cannot be relied on
        return ()
    finally:
        amdsmi.amdsmi_shut_down()


def _hip_id(amdsmi: Any, position: int, handle: Any) -> int:
    """Where HIP has the device; its place in the driver's order where the library cannot tell."""
    with contextlib.suppress(amdsmi.AmdSmiException, AttributeError):  # AttributeError: before ROCm 6.4
        identifier = amdsmi.amdsmi_get_gpu_enumeration_info(handle)["hip_id"]
        if isinstance(identifier, int):  # else "N/A"
            return identifier
    return position


def _visible(uuids: list[str]) -> list[int]:
    """Positions that processes see: ``ROCR_VISIBLE_DEVICES`` chooses first, HIP's variable among what is left.

    Source: ROCm's documentation, "GPU isolation techniques"; ``CUDA_VISIBLE_DEVICES`` means the same to HIP.
    """
    first = visible_order(os.environ.get("ROCR_VISIBLE_DEVICES"), list(enumerate(uuids)))
    setting = os.environ.get("HIP_VISIBLE_DEVICES", os.environ.get("CUDA_VISIBLE_DEVICES"))
    return [first[i] for i in visible_order(setting, [(n, uuids[i]) for n, i in enumerate(first)])]


def _device(amdsmi: Any, index: int, handle: Any, asic: dict[str, Any], ordinal: int | None) -> Device:
    names = [str(asic["market_name"])]
    version: str | None = None
    with contextlib.suppress(amdsmi.AmdSmiException):
        names.append(str(amdsmi.amdsmi_get_gpu_board_info(handle)["product_name"]))
    with contextlib.suppress(amdsmi.AmdSmiException):
        version = str(amdsmi.amdsmi_get_gpu_driver_info(handle)["driver_version"])
    memory: int | None = None
    with contextlib.suppress(amdsmi.AmdSmiException):
        memory = int(amdsmi.amdsmi_get_gpu_memory_total(handle, amdsmi.AmdSmiMemoryType.VRAM)) or None
    parts = [mode for mode in _modes(amdsmi, handle) if mode not in WHOLE]
    name = next((name for name in names if name.startswith("AMD")), names[0])  # an old libdrm gives a number
    profile = None
    if not parts and memory is not None:  # None would match by name alone, whatever the size
        profile, name = next(((p, n) for n in names if (p := match_profile(n, memory))), (None, name))
    remark = None if profile else NO_PROFILE
    if parts:
        remark = (
            f"the board is partitioned ({', '.join(parts)}): a part of its bandwidth and peaks, which no profile "
            f"states; {MEASURE_IT}, and mode SPX with NPS1 makes it one device"
        )
    return Device(
        vendor="AMD",
        index=index,
        name=name,
        memory_bytes=memory,
        driver_version=version,
        part=bool(parts),
        ordinal=ordinal,
        profile_id=profile.id if profile else None,
        remark=remark,
    )


def _modes(amdsmi: Any, handle: Any) -> list[str]:
    """The compute and the memory mode; none where the board, or a guest of a virtual machine, has no modes."""
    modes = []
    for ask in (amdsmi.amdsmi_get_gpu_compute_partition, amdsmi.amdsmi_get_gpu_memory_partition):
        with contextlib.suppress(amdsmi.AmdSmiException):
            modes.append(str(ask(handle)).strip().upper())
    return [mode for mode in modes if mode not in ("", "N/A", "UNKNOWN")]
