"""The measured peaks of one accelerator: run in a clean process of its own, cached, with the conditions beside them.

``python -m moecap.hardware.device_probe cuda:N [DRIVER]`` measures and prints one JSON document on stdout.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import importlib.util
import platform
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moecap.errors import NotAvailableError, RunError
from moecap.hardware.device import Device, match_profile
from moecap.hardware.host import available_memory, read_host
from moecap.hardware.probe import (
    PROBE_VERSION,
    REPEATS,
    cached_probe,
    load_average,
    probe_file,
    read_probe,
    run_apart,
    unsteadiness,
)
from moecap.hardware.profile import HardwareProfile, Probe, ProbedDevice

__all__ = ["device_profile", "known_probe", "measure_device", "probe_device"]

ARRAY_BYTES = 2**30
CACHES = 4
"""An array is at least so many level-2 caches, so that a repeat does not find the last one's bytes in them."""
SIDES = (8192, 4096, 2048, 1024)


def probe_device(
    device: Device, refresh: bool = False, *, cache_dir: Path, progress: Callable[[str], None] | None = None
) -> Probe:
    """The peaks of an accelerator, from the cache or measured now; a disturbed probe is measured again.

    Args:
        device: A device that processes can use.
        refresh: Measure even if the cache holds a probe.
        cache_dir: The cache; the probe is kept in ``probe/`` below it, by name, memory, driver and version of torch.
        progress: Told one line before a measurement starts.

    Raises:
        NotAvailableError: If torch is missing.
        RunError: If the measurement fails, or measured another device.
    """
    if importlib.util.find_spec("torch") is None:
        raise NotAvailableError(
            f"probing {device.name} needs torch, which is not installed; install torch for it, or probe --device host"
        )
    name = f"cuda:{device.ordinal} ({device.name})"
    return cached_probe(_file(device, cache_dir), lambda: _run_apart(device, name), name, refresh, progress)


def known_probe(device: Device, cache_dir: Path) -> Probe | None:
    """The probe of this very device, driver and torch that the cache holds, or None; nothing is measured."""
    return read_probe(_file(device, cache_dir))


def device_profile(device: Device, probe: Probe) -> HardwareProfile:
    """The device's profile with its probe; one without datasheet figures where no packaged profile describes it."""
    known = match_profile(device.name, device.memory_bytes) if device.profile_id else None
    if known is not None:
        return known.model_copy(update={"probe": probe})
    return HardwareProfile(
        id=re.sub(r"[^a-z0-9]+", "-", device.name.lower()).strip("-")[:80].strip("-") or "accelerator",
        name=device.name,
        vendor=device.vendor,
        kind="accelerator",
        arch=probe.device.architecture if probe.device else None,
        driver_names=(device.name,),
        memory_bytes=device.memory_bytes or probe.memory_bytes,
        memory_bandwidth=None,
        tdp_watts=None,
        dense_flops={},
        sources={"probe": "measured on this device by `moecap hw probe`; there is no datasheet figure"},
        notes=(device.remark,) if device.remark else (),
        probe=probe,
    )


def measure_device(
    torch: Any,
    device: str,
    *,
    driver_version: str | None = None,
    repeats: int = REPEATS,
    array_bytes: int | None = None,
    side: int | None = None,
) -> Probe:
    """Measure in this process.

    Args:
        torch: The imported torch.
        device: Torch's name of the device: ``"cuda:N"``, or ``"cpu"``, which runs the same kernels on the processor.
        driver_version: The driver's version, where it is known.
        repeats: Timed repeats of each kernel.
        array_bytes: Size of each array of the bandwidth kernels; by default four level-2 caches, at least 1 GiB, at
            most a quarter of the memory that is free.
        side: Rows and columns of the matrices; by default 8192, or what fits.

    Raises:
        NotAvailableError: If memory does not suffice.
    """
    from moecap.hardware.device_kernels import DeviceBench, device_bandwidth_rates, device_matmul_rates

    begin, load_before = time.perf_counter(), load_average()
    host = read_host()
    found, capability, memory, cache = _describe(torch, device, driver_version)
    bench = DeviceBench(
        torch=torch,
        device=device,
        platform="cpu" if device == "cpu" else "rocm" if torch.version.hip else "cuda",
        capability=capability,
        architecture=found.architecture,
        array_bytes=array_bytes or array_size(found.memory_free_bytes, cache),
        side=side or next((n for n in SIDES if 48 * n * n <= found.memory_free_bytes), SIDES[-1]),
        repeats=repeats,
    )
    with contextlib.nullcontext() if device == "cpu" else torch.cuda.device(device):
        bandwidths = device_bandwidth_rates(bench)
        products, absent = device_matmul_rates(bench)
    probe = Probe(
        version=PROBE_VERSION,
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seconds=time.perf_counter() - begin,
        cpu_model=host.cpu_model,
        threads=torch.get_num_threads() if device == "cpu" else None,
        memory_bytes=memory,
        last_level_cache_bytes=cache,
        array_bytes=bench.array_bytes,
        loadavg_before=load_before,
        loadavg_after=load_average(),
        busy_before=None,
        steal=None,
        flags=host.flags,
        versions={"torch": torch.__version__},
        environment={},
        kernels=(*bandwidths, *products),
        absent=absent,
        warnings=(),
        device=found,
    )
    return probe.model_copy(update={"warnings": tuple(unsteadiness(probe))})


def array_size(free_bytes: int, cache_bytes: int | None) -> int:
    """Bytes of each array of the bandwidth kernels, three of which are held at once.

    Args:
        free_bytes: Memory of the device that is free.
        cache_bytes: Its level-2 cache; None where unknown.

    Raises:
        NotAvailableError: If too little is free for arrays of four caches.
    """
    least = max(CACHES * (cache_bytes or 0), 16_000_000)
    size = min(max(least, ARRAY_BYTES), free_bytes // 4)
    if size < least:
        raise NotAvailableError(
            f"the probe needs {4 * least / 1e6:.0f} MB of free device memory and finds {free_bytes / 1e6:.0f} MB; "
            "end what holds it"
        )
    return size


def _describe(
    torch: Any, device: str, driver: str | None
) -> tuple[ProbedDevice, tuple[int, int], int | None, int | None]:
    """The device, its compute capability, its memory and its cache in bytes."""
    if device == "cpu":
        host = read_host()
        processor = ProbedDevice(
            name=host.cpu_model,
            driver_version=driver,
            architecture=platform.machine() or "unknown",
            toolkit="the processor",
            processors=host.cores,
            memory_free_bytes=available_memory(),
            busy_before=None,
        )
        return processor, (0, 0), host.memory_bytes, host.last_level_cache_bytes
    busy = _busy(torch, device)
    properties = torch.cuda.get_device_properties(device)
    free, _ = torch.cuda.mem_get_info(device)
    amd = bool(torch.version.hip)
    accelerator = ProbedDevice(
        name=properties.name,
        driver_version=driver,
        architecture=properties.gcnArchName.split(":")[0] if amd else f"sm_{properties.major}{properties.minor}",
        toolkit=f"ROCm {torch.version.hip}" if amd else f"CUDA {torch.version.cuda}",
        processors=properties.multi_processor_count,
        memory_free_bytes=free,
        busy_before=busy,
    )
    capability = (0, 0) if amd else (properties.major, properties.minor)
    return accelerator, capability, properties.total_memory, properties.L2_cache_size or None


def _busy(torch: Any, device: str) -> float | None:
    """Share of the last sampling period in which kernels ran on the device, by its driver's own counter."""
    try:
        return float(torch.cuda.utilization(device)) / 100
    except Exception:  # each vendor's library has its own errors; the counter is missing on slices and partitions
        return None


def _file(device: Device, cache_dir: Path) -> Path:
    version: str | None = None
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        version = importlib.metadata.version("torch")
    return probe_file(cache_dir, device.name, device.memory_bytes, device.driver_version, version)


def _run_apart(device: Device, name: str) -> Probe:
    module = ["moecap.hardware.device_probe", f"cuda:{device.ordinal}", device.driver_version or ""]
    # CUDA's own order puts the fastest device first; this is the order in which the driver named them to us.
    probe = run_apart(module, {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, name)
    refuse_other_device(device, probe)
    return probe


def refuse_other_device(device: Device, probe: Probe) -> None:
    """Refuse a probe that torch made of another device than the driver had named.

    Raises:
        RunError: If memory sizes differ by more than a tenth, or NVIDIA's names (torch takes them from the driver).
    """
    name = probe.device.name if probe.device else "the host"
    sizes = (device.memory_bytes, probe.memory_bytes)
    other = None not in sizes and abs((sizes[0] or 0) / (sizes[1] or 1) - 1) > 0.1
    if other or (device.vendor == "NVIDIA" and name.lower() != device.name.lower()):
        raise RunError(
            f"cuda:{device.ordinal} is {device.name} to the driver and {name} to torch; "
            "name the device that is meant by its UUID in CUDA_VISIBLE_DEVICES"
        )


def main() -> None:
    """Measure the device that the first argument names, and print the probe as JSON."""
    import torch

    device, driver = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
    if not torch.cuda.is_available():
        build = torch.version.cuda or torch.version.hip
        built = f"is built for {build} and finds no driver for it" if build else "is built for the processor alone"
        raise SystemExit(f"torch {torch.__version__} {built}; install the build of torch for this device")
    sys.stdout.write(measure_device(torch, device, driver_version=driver or None).model_dump_json() + "\n")


if __name__ == "__main__":
    main()
