"""The measured peaks of this host: run in a clean process of its own, cached, with the conditions beside them.

``python -m moecap.hardware.probe`` measures and prints one JSON document on stdout.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from moecap.errors import NotAvailableError, RunError
from moecap.files import write_text
from moecap.hardware.host import HostFacts, available_memory, read_host
from moecap.hardware.profile import KernelRate, Probe

__all__ = [
    "PROBE_VERSION",
    "REPEATS",
    "cached_probe",
    "load_average",
    "measure_host",
    "probe_file",
    "probe_host",
    "read_probe",
    "run_apart",
    "unsteadiness",
]

PROBE_VERSION = 2
"""Raised whenever the kernels change, so that cached probes are made anew."""

REPEATS = 9
"""Timed repeats of each kernel; the best of them is the peak."""
SPREAD_LIMIT = 0.25
STEAL_LIMIT = 0.02
BUSY_LIMIT = 0.2
_TIME_LIMIT = 180.0  # seconds; a probe takes about 10
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
_SPEED_VARIABLES = (
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
    "MKL_ENABLE_INSTRUCTIONS",
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "OMP_PROC_BIND",
    "OMP_PLACES",
    "GOMP_CPU_AFFINITY",
)


def probe_host(
    refresh: bool = False,
    *,
    cache_dir: Path,
    progress: Callable[[str], None] | None = None,
    host: HostFacts | None = None,
) -> Probe:
    """The peaks of this host, from the cache or measured now (about 10 s).

    A cached probe that was disturbed (something else was running, the repeats of a peak differ) is measured again at
    the next call. Until one is steady, the better figure of each kernel is kept: an understated peak would overstate
    every utilisation.

    Args:
        refresh: Measure even if the cache holds a probe.
        cache_dir: The cache; the probe is kept in ``probe/`` below it.
        progress: Told one line before a measurement starts.
        host: The host, if it was read already.

    Raises:
        RunError: If the measurement fails.
        NotAvailableError: If this is not Linux, or memory does not suffice.
    """
    host = host or read_host()
    facts = (host.cpu_model, host.cores, round((host.memory_bytes or 0) / 2**30), _versions())
    name = f"this host ({host.cpu_model}, {host.cores} cores)"
    return cached_probe(probe_file(cache_dir, *facts), lambda: _run_apart(host), name, refresh, progress)


def probe_file(cache_dir: Path, *facts: object) -> Path:
    """Where the cache keeps the probe of what these facts describe."""
    text = json.dumps([*facts, PROBE_VERSION], sort_keys=True)
    return cache_dir / "probe" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"


def read_probe(file: Path) -> Probe | None:
    """The probe that the cache keeps there, or None where there is none that can be used."""
    with contextlib.suppress(OSError, ValueError, ValidationError):
        return Probe.model_validate_json(file.read_bytes())
    return None


def cached_probe(
    file: Path, measure: Callable[[], Probe], name: str, refresh: bool, progress: Callable[[str], None] | None
) -> Probe:
    """A probe from the cache, or measured now and kept there; a disturbed one is measured again.

    Args:
        file: Where it is kept.
        measure: What measures.
        name: What is measured, for the line of progress.
        refresh: Measure even if the cache holds a probe.
        progress: Told one line before a measurement starts.

    Raises:
        RunError: If the measurement fails.
        NotAvailableError: If the probe cannot be stored, or memory does not suffice.
    """
    earlier = read_probe(file)
    if earlier is not None and not refresh and not unsteadiness(earlier):
        return earlier
    if progress:
        again = " again, since the last time was unsteady" if earlier is not None and not refresh else ""
        progress(f"measuring the peaks of {name}{again}: about 10 s")
    probe = measure()
    if earlier is not None and not refresh:
        probe = _better_of(earlier, probe)
    _store(file, probe.model_dump_json(indent=1) + "\n")
    return probe


def _better_of(earlier: Probe, later: Probe) -> Probe:
    """A steady later probe as it is; of two disturbed ones the later with the better figure of each kernel."""
    if not unsteadiness(later):
        return later
    best = {k.kernel: k.best for k in earlier.kernels}
    kernels = (k.model_copy(update={"best": max(k.best, best.get(k.kernel, 0.0))}) for k in later.kernels)
    return later.model_copy(update={"kernels": tuple(kernels)})


def measure_host(host: HostFacts, repeats: int = REPEATS, array_bytes: int | None = None) -> Probe:
    """Measure in this process; it loads numpy, and torch where there is one.

    Args:
        host: The host, as ``read_host`` gives it.
        repeats: Timed repeats of each kernel.
        array_bytes: Size of each array of the bandwidth kernels; by default four last-level caches, at least 256 MB,
            at most an eighth of the memory that is free.

    Raises:
        NotAvailableError: If memory does not suffice.
    """
    from moecap.hardware.kernels import Workbench, bandwidth_rates, cache_block, import_torch, matmul_rates

    begin, load_before, busy_before = time.perf_counter(), load_average(), _busy()
    ticks_before = _cpu_ticks()
    size = array_bytes or _array_bytes(host)
    bench = Workbench(host.core_cpus, size, cache_block(host.level2_cache_bytes), host.flags, repeats)
    torch = import_torch()
    products, absent = matmul_rates(bench, torch)
    kernels = [*bandwidth_rates(bench, torch), *products]
    if torch is None:
        absent["torch bandwidth kernels"] = "torch is not installed, or cannot be imported"
    environment = {name: os.environ[name] for name in _SPEED_VARIABLES if name in os.environ}
    steal = _steal(ticks_before, _cpu_ticks())
    probe = Probe(
        version=PROBE_VERSION,
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seconds=time.perf_counter() - begin,
        cpu_model=host.cpu_model,
        threads=host.cores,
        memory_bytes=host.memory_bytes,
        last_level_cache_bytes=host.last_level_cache_bytes,
        array_bytes=size,
        loadavg_before=load_before,
        loadavg_after=load_average(),
        busy_before=busy_before,
        steal=steal,
        flags=host.flags,
        versions=_versions(),
        environment=environment,
        kernels=tuple(kernels),
        absent=absent,
        warnings=(),
    )
    return probe.model_copy(update={"warnings": _warnings(probe)})


def _run_apart(host: HostFacts) -> Probe:
    return run_apart(["moecap.hardware.probe"], dict.fromkeys(_THREAD_VARIABLES, str(host.cores)), "this host")


def run_apart(module: Sequence[str], variables: dict[str, str], name: str) -> Probe:
    """Measure in a fresh interpreter, so that this one stays light and undisturbed by libraries loaded before.

    Args:
        module: A module that prints a probe as JSON, and its arguments.
        variables: Added to the environment.
        name: What is measured, for messages.

    Raises:
        RunError: If it fails, prints no probe, or takes more than three minutes.
    """
    environment = {**os.environ, **variables}
    package_home = Path(__file__).resolve().parents[2]
    if package_home.name not in ("site-packages", "dist-packages"):  # a checkout that may not be installed
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(package_home), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-P", "-m", *module]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_TIME_LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        raise RunError(f"the probe of {name} did not end within {_TIME_LIMIT:.0f} s; free it and try again") from None
    if done.returncode != 0:
        last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no message")
        raise RunError(f"the probe of {name} failed (exit status {done.returncode}): {last.strip()[:300]}")
    try:
        return Probe.model_validate_json(done.stdout)
    except ValidationError as error:
        problem = error.errors()[0]["msg"]
        raise RunError(f"the probe of {name} printed no usable result: {problem}; try again") from None


def _versions() -> dict[str, str]:
    versions = {}
    for package in ("numpy", "torch"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


def _store(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, text)
    except OSError as error:
        raise NotAvailableError(
            f"cannot store the probe in {file.parent}: {error.strerror}; free or change it"
        ) from None


def _array_bytes(host: HostFacts) -> int:
    wanted = max(4 * (host.last_level_cache_bytes or 0), 256_000_000)
    free = available_memory()
    wanted = min(wanted, free // 8)
    if wanted < 16_000_000:
        raise NotAvailableError(f"the probe needs 128 MB of free memory and finds {free / 1e6:.0f} MB; free some")
    return wanted


def load_average() -> float | None:
    """Load average of the last minute; None where the system has none."""
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def _cpu_ticks() -> tuple[int, ...]:
    """The processor time counters: user, nice, system, idle, iowait, irq, softirq, steal."""
    for line in _lines("/proc/stat"):
        if line.startswith("cpu "):
            return tuple(int(field) for field in line.split()[1:9])
    return ()


def _busy(seconds: float = 0.5) -> float | None:
    """Share of the machine's processor time that is used while this process sleeps."""
    before = _cpu_ticks()
    time.sleep(seconds)
    after = _cpu_ticks()
    total = sum(after) - sum(before)
    if len(before) < 8 or total <= 0:
        return None
    idle = after[3] + after[4] - before[3] - before[4]
    return min(1.0, max(0.0, 1 - idle / total))


def _steal(before: Sequence[int], after: Sequence[int]) -> float | None:
    total = sum(after) - sum(before)
    if len(before) < 8 or len(after) < 8 or total <= 0:
        return None
    return max(after[7] - before[7], 0) / total


def unsteadiness(probe: Probe) -> list[str]:
    """What disturbed a probe, in words."""
    remarks = [
        f"{k.kernel}: the {k.repeats} repeats differ by {k.spread:.0%} (more than {SPREAD_LIMIT:.0%})"
        for k in _peaks(probe.kernels)
        if k.spread > SPREAD_LIMIT
    ]
    if probe.busy_before is not None and probe.busy_before > BUSY_LIMIT:
        remarks.append(f"{probe.busy_before:.0%} of the processor time went to something else just before the probe")
    if probe.device is not None and (probe.device.busy_before or 0.0) > BUSY_LIMIT:
        remarks.append(f"others ran kernels on it for {probe.device.busy_before:.0%} of the time just before the probe")
    if probe.steal is not None and probe.steal > STEAL_LIMIT:
        remarks.append(f"the hypervisor took {probe.steal:.1%} of the processor time")
    return remarks


def _warnings(probe: Probe) -> tuple[str, ...]:
    slowed = [n for n in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE") if n in probe.environment]
    return (*unsteadiness(probe), *(f"{name} is set and may slow numpy's matrix products" for name in slowed))


def _peaks(kernels: Sequence[KernelRate]) -> list[KernelRate]:
    """The fastest bandwidth kernel, and the fastest matrix product of each format."""
    best: dict[tuple[str, str], KernelRate] = {}
    for kernel in kernels:
        key = (kernel.kind, kernel.dtype if kernel.kind == "matmul" else "")
        if key not in best or kernel.best > best[key].best:
            best[key] = kernel
    return list(best.values())


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []


def main() -> None:
    """Measure this host on one logical processor a core, and print the probe as JSON."""
    host = read_host()
    if hasattr(os, "sched_setaffinity"):  # before numpy and torch make their threads, which inherit it
        os.sched_setaffinity(0, host.core_cpus)
    sys.stdout.write(measure_host(host).model_dump_json() + "\n")


if __name__ == "__main__":
    main()
