"""What the kernel says about this host: processor, usable cores, memory limits, caches."""

from __future__ import annotations

import math
import os
import platform
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from moecap.hardware.profile import HardwareProfile, Price, Probe
from moecap.hardware.registry import load_profile

__all__ = ["HostFacts", "available_memory", "host_profile", "read_host", "usable_processors"]

FLAGS_OF_INTEREST = (
    "avx2",
    "avx512f",
    "avx512_bf16",
    "avx512_fp16",
    "avx512_vnni",
    "amx_tile",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "sve",
    "bf16",
    "i8mm",
)
"""Processor flags that decide which number formats are native."""

_UNLIMITED = 1 << 60  # cgroup v1 writes a huge number where there is no memory limit


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What this host is; it holds no host name.

    Attributes:
        cpu_model: The processor's name, or the machine type where the kernel gives none.
        vendor: AMD, Intel, ... or ``"unspecified"``.
        cores: Usable physical cores: affinity and cgroup quota applied.
        core_cpus: One logical processor for each of those cores.
        vcpus: Usable logical processors.
        memory_bytes: The smaller of physical memory and cgroup limit; None where unknown.
        flags: Those of ``FLAGS_OF_INTEREST`` that the processor has.
        last_level_cache_bytes: Sum over the last-level caches of the usable cores; None where unknown.
        level2_cache_bytes: Level-2 cache of one core; None where unknown.
    """

    cpu_model: str
    vendor: str
    cores: int
    core_cpus: tuple[int, ...]
    vcpus: int
    memory_bytes: int | None
    flags: tuple[str, ...]
    last_level_cache_bytes: int | None
    level2_cache_bytes: int | None


def read_host(root: Path = Path("/"), cpus: set[int] | None = None) -> HostFacts:
    """Read this host from ``/proc`` and ``/sys``.

    Args:
        root: Where ``proc`` and ``sys`` are.
        cpus: The logical processors that this process may use; by default those of its affinity mask.
    """
    cpus, at_once = usable_processors(root, cpus)
    info = _cpuinfo(_read(root / "proc/cpuinfo"))
    siblings: dict[str, int] = {}
    for cpu in sorted(cpus):
        group = _read(root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").strip()
        siblings.setdefault(group or f"cpu{cpu}", cpu)
    limit = max(1, math.floor(at_once))
    core_cpus = tuple(siblings.values())[:limit]
    model = info.get("model name") or info.get("cpu model") or info.get("model") or platform.machine() or "cpu"
    model = " ".join(model.split()) if not model.isdigit() else platform.machine()
    flags = set((info.get("flags") or info.get("features") or "").split())
    level2, last_level = _caches(root, core_cpus)
    return HostFacts(
        cpu_model=model,
        vendor=_vendor(f"{model} {info.get('vendor_id', '')}"),
        cores=len(core_cpus),
        core_cpus=core_cpus,
        vcpus=min(len(cpus), limit),
        memory_bytes=_memory(root),
        flags=tuple(flag for flag in FLAGS_OF_INTEREST if flag in flags),
        last_level_cache_bytes=last_level,
        level2_cache_bytes=level2,
    )


def usable_processors(root: Path = Path("/"), cpus: set[int] | None = None) -> tuple[set[int], float]:
    """The logical processors on which this process may run, and how many of them it may use at once.

    Args:
        root: Where ``proc`` and ``sys`` are.
        cpus: The processors of its affinity mask; by default they are asked for.

    Returns:
        Their numbers, and the smaller of their count and the quota of the control groups (not a whole number always).
    """
    if cpus is None:
        cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    return cpus, min([float(len(cpus)), *_quotas(root)])


def host_profile(host: HostFacts, probe: Probe | None = None) -> HardwareProfile:
    """The host as a profile: no datasheet peaks, a default price scaled by vCPU, and its probe if there is one."""
    generic = load_profile("generic-vm-2vcpu")
    price = generic.prices[0]
    unit = generic.cores or 1
    provider = f"default: generic virtual machine scaled from {unit} to {host.vcpus} vCPU; {price.provider}"
    return HardwareProfile(
        id=f"host-{_slug(host.cpu_model)}-{host.cores}c",
        name=f"{host.cpu_model}, {host.cores} usable cores",
        vendor=host.vendor,
        kind="host",
        arch=platform.machine() or None,
        cores=host.cores,
        memory_bytes=host.memory_bytes,
        memory_bandwidth=None,
        tdp_watts=None,
        dense_flops={},
        prices=(Price(usd_per_hour=price.usd_per_hour * host.vcpus / unit, provider=provider, date=price.date),),
        sources={"OS": "the operating system's own report (/proc, /sys); peaks come from the probe"},
        probe=probe,
    )


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that a process may still take: the kernel's estimate, at most what its control groups have left."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _read(root / "proc/meminfo"), re.MULTILINE)
    left = [int(found[1]) * 1024] if found else []
    for folder in _cgroup_folders(root, "memory"):
        for limit, usage in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            most, used = _read(folder / limit).strip(), _read(folder / usage).strip()
            if most.isdigit() and used.isdigit() and int(most) < _UNLIMITED:
                left.append(max(0, int(most) - int(used)))
    return min(left, default=0)


def _slug(model: str) -> str:
    text = re.sub(r"\((r|tm|c)\)|@.*| with .*|\b(cpu|processor|\d+-core)\b", " ", model.lower())
    return re.sub(r"[^a-z0-9]+", "-", text).strip("-")[:48].strip("-") or "cpu"


def _vendor(text: str) -> str:
    names = {"amd": "AMD", "intel": "Intel", "neoverse": "Arm", "aarch64": "Arm", "apple": "Apple", "power": "IBM"}
    return next((vendor for key, vendor in names.items() if key in text.lower()), "unspecified")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _cpuinfo(text: str) -> dict[str, str]:
    """The fields of the first processor, keys in lower case."""
    first: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            first.setdefault(key.strip().lower(), value.strip())
    return first


def _cgroup_folders(root: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's control group and its parents, for version 2 and for a version 1 controller."""
    places = [(root / "sys/fs/cgroup", "/"), *((root / f"sys/fs/cgroup/{c}", "/") for c in _V1_NAMES[controller])]
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            places.append((root / "sys/fs/cgroup", path))
        elif controller in controllers.split(","):
            places.extend((root / f"sys/fs/cgroup/{c}", path) for c in _V1_NAMES[controller])
    seen: set[Path] = set()
    for base, path in places:
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):
            folder = base.joinpath(*parts[:depth])
            if folder not in seen:
                seen.add(folder)
                yield folder


_V1_NAMES = {"cpu": ("cpu", "cpu,cpuacct", "cpuacct,cpu"), "memory": ("memory",)}


def _quotas(root: Path) -> Iterator[float]:
    for folder in _cgroup_folders(root, "cpu"):
        quota, period = [*_read(folder / "cpu.max").split(), "", ""][:2]
        if not quota:
            quota, period = _read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip()
        if quota.isdigit() and period.isdigit() and int(period) > 0:  # "max" and "-1" mean no limit
            yield int(quota) / int(period)


def _memory(root: Path) -> int | None:
    found = re.search(r"^MemTotal:\s+(\d+) kB", _read(root / "proc/meminfo"), re.MULTILINE)
    sizes = [int(found[1]) * 1024] if found else []
    for folder in _cgroup_folders(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _read(folder / name).strip()
            if text.isdigit() and 0 < int(text) < _UNLIMITED:
                sizes.append(int(text))
    return min(sizes, default=None)


def _caches(root: Path, cpus: tuple[int, ...]) -> tuple[int | None, int | None]:
    """Level-2 bytes of one core, and bytes of all last-level caches that the given processors share."""
    level2: int | None = None
    last: dict[str, tuple[int, int]] = {}
    for cpu in cpus:
        deepest = (0, "", 0)
        for index in sorted((root / f"sys/devices/system/cpu/cpu{cpu}/cache").glob("index*")):
            level, size = _read(index / "level").strip(), _cache_size(_read(index / "size"))
            if not level.isdigit() or size is None or _read(index / "type").strip() == "Instruction":
                continue
            if int(level) == 2:
                level2 = size
            deepest = max(deepest, (int(level), _read(index / "shared_cpu_list").strip() or f"cpu{cpu}", size))
        if deepest[0] > 1:
            last[deepest[1]] = (deepest[0], deepest[2])
    top = max((level for level, _ in last.values()), default=0)
    return level2, sum(size for level, size in last.values() if level == top) or None


def _cache_size(text: str) -> int | None:
    found = re.fullmatch(r"(\d+)([KMG]?)", text.strip())
    units: Callable[[str], int] = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.__getitem__
    return int(found[1]) * units(found[2]) if found else None
