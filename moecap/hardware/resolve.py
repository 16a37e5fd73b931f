"""From what the user asked for (``auto``, a name, a file) to the hardware that a run is for."""

from __future__ import annotations

import collections
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from moecap.errors import BadInputError, NotAvailableError
from moecap.hardware.detect import Detected, Device, detect, match_profile
from moecap.hardware.host import host_profile
from moecap.hardware.probe import probe_host
from moecap.hardware.profile import HardwareProfile
from moecap.hardware.registry import load_profile

__all__ = ["HOST_NAMES", "ResolvedHardware", "resolve_hardware"]

HOST_NAMES = ("host", "cpu")
"""Names under which this machine's processor is asked for, whether or not it has accelerators."""


@dataclass(frozen=True, slots=True)
class ResolvedHardware:
    """The hardware of a run.

    Attributes:
        profile: One device; a host carries its probe.
        count: How many devices, 1 where nobody said otherwise.
        is_local: Whether this machine has that many of them, usable by this process.
        available: How many of them this machine has.
    """

    profile: HardwareProfile
    count: int
    is_local: bool
    available: int


def resolve_hardware(
    name: str = "auto",
    *,
    count: int | None = None,
    cache_dir: Path,
    progress: Callable[[str], None] | None = None,
    detected: Detected | None = None,
) -> ResolvedHardware:
    """Find the profile, and whether this machine is it.

    Args:
        name: ``auto`` (this machine's NVIDIA devices, else its host), ``host`` or ``cpu`` (this host), the id or alias
            of a profile, or the path of a YAML file.
        count: Number of devices; None means 1.
        cache_dir: Where the probe of a host is kept.
        progress: Told one line before this host is measured.
        detected: What this machine is, if it was detected already.

    Raises:
        UnknownNameError: If no profile has the name.
        BadInputError: If a file or the count cannot be used.
        NotAvailableError: If ``auto`` finds devices that no profile describes, or fewer than ``count``.
        RunError: If measuring this host fails.
    """
    if count is not None and count < 1:
        raise BadInputError(f"{count} devices were asked for; give 1 or more")
    machine = detected or detect()
    wanted = name.strip().lower()
    host_id = host_profile(machine.host).id
    visible = [device for device in machine.devices if device.visible]
    if wanted in (*HOST_NAMES, host_id) or (wanted == "auto" and not visible):
        return _host(machine, count, cache_dir, progress)
    if wanted == "auto":
        return _local_devices(visible, count)
    profile = load_profile(name)
    if profile.kind == "host":
        available = 1 if profile.id == host_id else 0
    else:
        available = sum(device.profile_id == profile.id for device in visible)
    return ResolvedHardware(profile, count or 1, (count or 1) <= available, available)


def _host(
    machine: Detected, count: int | None, cache_dir: Path, progress: Callable[[str], None] | None
) -> ResolvedHardware:
    if count not in (None, 1):
        raise NotAvailableError(f"{count} devices were asked for and this host is one; leave the number out")
    probe = probe_host(cache_dir=cache_dir, progress=progress, host=machine.host)
    return ResolvedHardware(host_profile(machine.host, probe), 1, True, 1)


def _local_devices(visible: list[Device], count: int | None) -> ResolvedHardware:
    """The kind of device that this machine has most of; ties go to the first."""
    known = [device for device in visible if device.profile_id is not None]
    if not known:
        first = visible[0]
        size = f", {first.memory_bytes / 1e9:.1f} GB" if first.memory_bytes else ""
        raise NotAvailableError(
            f"this machine's {first.name}{size} cannot be used: {first.remark}; "
            "name a profile or a YAML file (--hw), or --hw host for the processor"
        )
    identifier, available = collections.Counter(device.profile_id for device in known).most_common(1)[0]
    first = next(device for device in known if device.profile_id == identifier)
    if count is not None and count > available:
        raise NotAvailableError(
            f"{count} devices were asked for and this machine has {available} of {identifier}; "
            f"ask for at most {available}, or name the profile to project"
        )
    profile = match_profile(first.name, first.memory_bytes)
    assert profile is not None  # its id came from the same match
    return ResolvedHardware(profile, count or 1, True, available)
