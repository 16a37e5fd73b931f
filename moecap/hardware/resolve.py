"""From what the user asked for (``auto``, a name, a file) to the hardware that a run is for."""

from __future__ import annotations

import collections
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from moecap.errors import BadInputError, NotAvailableError
from moecap.hardware.detect import Detected, detect
from moecap.hardware.device import Device, match_profile
from moecap.hardware.device_probe import known_probe
from moecap.hardware.host import host_profile
from moecap.hardware.probe import probe_host
from moecap.hardware.profile import HardwareProfile, ProfileSource
from moecap.hardware.registry import load_profile, packaged_id

__all__ = ["HOST_NAMES", "ResolvedHardware", "probed_device", "resolve_hardware"]

HOST_NAMES = ("host", "cpu")
"""Names under which this machine's processor is asked for, whether or not it has accelerators."""


@dataclass(frozen=True, slots=True)
class ResolvedHardware:
    """The hardware of a run.

    Attributes:
        profile: One device; a host carries its probe, and a local device the one that the cache holds of it.
        count: How many devices, 1 where nobody said otherwise.
        is_local: Whether this machine has that many of them, usable by this process.
        available: How many of them this machine has.
        source: Where the profile came from; a file's is never taken for a packaged or a probed one.
    """

    profile: HardwareProfile
    count: int
    is_local: bool
    available: int
    source: ProfileSource


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
        name: ``auto`` (this machine's accelerators, else its host), ``host`` or ``cpu`` (this host), the id or alias
            of a profile, or the path of a YAML file.
        count: Number of devices; None means 1.
        cache_dir: Where probes are kept.
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
    visible = machine.visible
    if wanted in (*HOST_NAMES, host_id) or (wanted == "auto" and not visible):
        return _host(machine, count, cache_dir, progress)
    if wanted == "auto":
        return _local_devices(visible, count, cache_dir)
    profile = load_profile(name)
    if profile.kind == "host":
        available = 1 if profile.id == host_id else 0
    else:
        same = [device for device in visible if _is(device, profile)]
        available = len(same)
        profile = _with_probe(_sized(profile, same[: count or 1]), same, cache_dir)
    source: ProfileSource = "file" if packaged_id(name) is None else "packaged"
    return ResolvedHardware(profile, count or 1, (count or 1) <= available, available, source)


def probed_device(name: str | None, machine: Detected) -> Device | None:
    """What ``moecap hw probe`` measures.

    Args:
        name: ``cuda``, ``cuda:N`` or ``host``; None means what ``--hw auto`` would take, even if no profile has it.
        machine: What this machine is.

    Returns:
        A device that processes can use, or None for the host.

    Raises:
        BadInputError: If it is no such name.
        NotAvailableError: If this machine has no such device.
    """
    visible = machine.visible
    if name is None:
        return _first(visible) or next(iter(visible), None)
    wanted = name.strip().lower()
    if wanted in HOST_NAMES:
        return None
    kind, _, number = wanted.partition(":")
    if kind != "cuda" or (wanted != kind and not number.isdecimal()):
        raise BadInputError(f"no device {name[:40]!r}; give cuda, cuda:N (AMD's devices too) or host")
    found = next((device for device in visible if device.ordinal == int(number or 0)), None)
    if found is None:
        have = ", ".join(f"cuda:{d.ordinal} {d.name}" for d in visible) or "no accelerator that processes can use"
        raise NotAvailableError(f"no {wanted} here: this machine has {have}; `moecap doctor` says what is missing")
    return found


def _host(
    machine: Detected, count: int | None, cache_dir: Path, progress: Callable[[str], None] | None
) -> ResolvedHardware:
    if count not in (None, 1):
        raise NotAvailableError(f"{count} devices were asked for and this host is one; leave the number out")
    probe = probe_host(cache_dir=cache_dir, progress=progress, host=machine.host)
    return ResolvedHardware(host_profile(machine.host, probe), 1, True, 1, "probed")


def _local_devices(visible: list[Device], count: int | None, cache_dir: Path) -> ResolvedHardware:
    """The kind of device that this machine has most of."""
    chosen = _first(visible)
    if chosen is None:
        first = visible[0]
        size = f", {first.memory_bytes / 1e9:.1f} GB" if first.memory_bytes else ""
        raise NotAvailableError(
            f"this machine's {first.name}{size} cannot be used: {first.remark}; "
            "name a profile or a YAML file (--hw), or --hw host for the processor"
        )
    same = [device for device in visible if device.profile_id == chosen.profile_id]
    available = len(same)
    if count is not None and count > available:
        raise NotAvailableError(
            f"{count} devices were asked for and this machine has {available} of {chosen.profile_id}; "
            f"ask for at most {available}, or name the profile to project"
        )
    profile = match_profile(chosen.name, chosen.memory_bytes)
    assert profile is not None  # its id came from the same match
    profile = _sized(profile, same[: count or 1])
    return ResolvedHardware(_with_probe(profile, same, cache_dir), count or 1, True, available, "packaged")


def _first(visible: list[Device]) -> Device | None:
    """The first device of the kind that this machine has most of; of equally many, the kind that comes first."""
    known = [device for device in visible if device.profile_id is not None]
    if not known:
        return None
    identifier, _ = collections.Counter(device.profile_id for device in known).most_common(1)[0]
    return next(device for device in known if device.profile_id == identifier)


def _is(device: Device, profile: HardwareProfile) -> bool:
    """Whether the profile describes the device: it was matched to it, or a file names it with its memory."""
    if device.profile_id is not None or device.memory_bytes is None:
        return device.profile_id == profile.id
    names = (name.lower() for name in profile.driver_names)
    return device.name.lower() in names and profile.holds_memory(device.memory_bytes) is not None


def _sized(profile: HardwareProfile, devices: list[Device]) -> HardwareProfile:
    """The profile with the memory of the smallest of the devices, where it is sold in several sizes."""
    held = [profile.holds_memory(device.memory_bytes) for device in devices if device.memory_bytes is not None]
    sizes = [size for size in held if size is not None]
    return profile.model_copy(update={"memory_bytes": min(sizes)}) if sizes else profile


def _with_probe(profile: HardwareProfile, devices: list[Device], cache_dir: Path) -> HardwareProfile:
    """The profile with the probe that the cache holds of the first device, unless it brings its own."""
    if profile.probe is not None or not devices:
        return profile
    return profile.model_copy(update={"probe": known_probe(devices[0], cache_dir)})
