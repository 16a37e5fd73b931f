"""Kernels that reach for this host's peaks: memory bandwidth and matrix products, with numpy and with torch."""

from __future__ import annotations

import functools
import importlib
import os
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from moecap.hardware.profile import KernelRate

__all__ = [
    "Kernel",
    "Workbench",
    "bandwidth_rates",
    "cache_block",
    "import_torch",
    "kernel_rate",
    "matmul_rates",
    "pinned_kernels",
    "pinned_rate",
]

Kernel = Callable[[], object]

_COLUMNS = 4096  # of the matrices of the matrix-vector kernels
_MATMUL_SECONDS = 0.12  # aim for one repeat
_TORCH_MISSING = "torch is not installed, or cannot be imported"
_NO_BF16 = "this processor has neither avx512_bf16 nor amx_bf16: torch would fall back to a slow path"


@dataclass(frozen=True, slots=True)
class Workbench:
    """Where and how much is measured.

    Attributes:
        core_cpus: One logical processor for each core to use; each bandwidth thread is pinned to one.
        array_bytes: Size of each array, all threads together, in bytes.
        block_bytes: How much of a temporary one thread keeps in its cache, in bytes.
        flags: The processor's flags.
        repeats: Timed repeats of each kernel.
    """

    core_cpus: tuple[int, ...]
    array_bytes: int
    block_bytes: int
    flags: tuple[str, ...]
    repeats: int


def cache_block(level2_cache_bytes: int | None) -> int:
    """Bytes of a temporary that stay in the level-2 cache of one core; 1 MiB of cache where its size is not known."""
    return min(max((level2_cache_bytes or 1 << 20) // 4, 64 * 1024), 1 << 20)


def bandwidth_rates(bench: Workbench, torch: Any | None) -> list[KernelRate]:
    """Bytes a second of copy, triad and read-only kernels, float32.

    Args:
        bench: Cores, sizes and repeats.
        torch: The imported torch, or None.
    """
    cores = len(bench.core_cpus)
    rates = [pinned_rate(name, bench, torch) for name in pinned_kernels(bench, torch)]
    if torch is not None:
        torch.set_num_threads(cores)  # the pinned threads had set 1 for the whole process
    record = functools.partial(kernel_rate, kind="bandwidth", dtype="fp32", threads=cores, torch=torch, pinned=False)
    for name, kernel, work, counted in _blas_reads(_thread_elements(bench) * cores):
        rates.append(record(name, times=_times(kernel, bench.repeats), work=work, counted=counted))
    return rates


def pinned_kernels(bench: Workbench, torch: Any | None) -> dict[str, tuple[Callable[[], Kernel], int, str]]:
    """The bandwidth kernels that run on one pinned thread a core.

    Args:
        bench: Cores and sizes.
        torch: The imported torch, or None.

    Returns:
        For each name what prepares one thread's kernel, the bytes that one repeat of all threads moves, and what of
        them is counted, in words.
    """
    size = _thread_elements(bench)
    moved = 4 * size * len(bench.core_cpus)
    copy = "read + written bytes; write-allocate not counted"
    triad = "a = b + s*c: three arrays; write-allocate not counted"
    kernels: dict[str, tuple[Callable[[], Kernel], int, str]] = {
        "numpy.copy": (lambda: _numpy_copy(size), 2 * moved, copy),
        "numpy.triad": (lambda: _numpy_triad(size, bench.block_bytes // 4), 3 * moved, triad),
        "numpy.max": (lambda: _numpy_max(size), moved, "bytes of the one array that is read"),
    }
    if torch is not None:
        kernels |= {
            "torch.copy": (lambda: _torch_copy(torch, size), 2 * moved, copy),
            "torch.triad": (lambda: _torch_triad(torch, size), 3 * moved, triad),
            "torch.dot": (lambda: _torch_dot(torch, size), 2 * moved, "bytes of the two arrays that are read"),
            "torch.matvec": (lambda: _torch_matvec(torch, size), moved, "bytes of the matrix; vectors not counted"),
        }
    return kernels


def pinned_rate(name: str, bench: Workbench, torch: Any | None) -> KernelRate:
    """Run one of ``pinned_kernels``; torch is left with one thread for the whole process."""
    prepare, work, counted = pinned_kernels(bench, torch)[name]
    record = functools.partial(kernel_rate, kind="bandwidth", dtype="fp32", threads=len(bench.core_cpus), torch=torch)
    times = _times_on_cores(prepare, bench.core_cpus, bench.repeats)
    return record(name, times=times, work=work, counted=counted, pinned=True)


def matmul_rates(bench: Workbench, torch: Any | None) -> tuple[list[KernelRate], dict[str, str]]:
    """FLOP/s of square matrix products, and the reason for each that could not be measured.

    Args:
        bench: Cores and repeats.
        torch: The imported torch, or None.
    """
    absent: dict[str, str] = {}
    cores = len(bench.core_cpus)
    makers: dict[str, Callable[[int], Kernel]] = {"numpy.matmul.fp32": _numpy_matmul}
    if torch is None:
        absent |= {"torch.matmul.fp32": _TORCH_MISSING, "torch.matmul.bf16": _TORCH_MISSING}
    else:
        torch.set_num_threads(cores)
        makers["torch.matmul.fp32"] = lambda n: _torch_matmul(torch, n, torch.float32)
        if {"avx512_bf16", "amx_bf16"} & set(bench.flags):
            makers["torch.matmul.bf16"] = lambda n: _torch_matmul(torch, n, torch.bfloat16)
        else:
            absent["torch.matmul.bf16"] = _NO_BF16
    record = functools.partial(kernel_rate, kind="matmul", threads=cores, torch=torch, pinned=False)
    rates = []
    for name, make in makers.items():
        side = _matmul_side(make)
        times = _times(make(side), bench.repeats)
        dtype = name.rpartition(".")[2]
        rates.append(record(name, times=times, work=2 * side**3, counted=f"2*n**3 with n = {side}", dtype=dtype))
    return rates, absent


def import_torch() -> Any | None:
    """The torch module, or None where it is not installed or does not load."""
    try:
        return importlib.import_module("torch")
    except (ImportError, OSError):  # OSError: one of its shared libraries is missing
        return None


def _thread_elements(bench: Workbench) -> int:
    """Elements of one array of one thread: whole rows of the matrices."""
    return max(bench.array_bytes // 4 // len(bench.core_cpus) // _COLUMNS, 1) * _COLUMNS


def _numpy_copy(size: int) -> Kernel:
    target, source = np.zeros(size, np.float32), np.ones(size, np.float32)
    return lambda: np.copyto(target, source)


def _numpy_triad(size: int, block: int) -> Kernel:
    a, b, c = np.zeros(size, np.float32), np.ones(size, np.float32), np.ones(size, np.float32)
    blocks = [(a[i : i + block], b[i : i + block], c[i : i + block]) for i in range(0, size, block)]
    scale = np.float32(3)

    def run() -> None:
        for x, y, z in blocks:  # x stays in cache between the two passes
            np.multiply(z, scale, out=x)
            np.add(x, y, out=x)

    return run


def _numpy_max(size: int) -> Kernel:
    return np.ones(size, np.float32).max


def _torch_copy(torch: Any, size: int) -> Kernel:
    torch.set_num_threads(1)
    target, source = torch.zeros(size), torch.ones(size)
    return lambda: target.copy_(source)


def _torch_triad(torch: Any, size: int) -> Kernel:
    torch.set_num_threads(1)
    a, b, c = torch.zeros(size), torch.ones(size), torch.ones(size)
    return lambda: torch.add(b, c, alpha=3.0, out=a)


def _torch_dot(torch: Any, size: int) -> Kernel:
    torch.set_num_threads(1)
    x, y = torch.ones(size), torch.ones(size)
    return lambda: torch.dot(x, y)


def _torch_matvec(torch: Any, size: int) -> Kernel:
    torch.set_num_threads(1)
    matrix, vector = torch.ones(size).view(-1, _COLUMNS), torch.ones(_COLUMNS)
    return lambda: torch.mv(matrix, vector)


def _blas_reads(size: int) -> list[tuple[str, Kernel, int, str]]:
    """Read-only kernels on the threads of numpy's own BLAS, which cannot be pinned from here."""
    x, y = np.ones(size, np.float32), np.ones(size, np.float32)
    matrix, vector = x.reshape(-1, _COLUMNS), np.ones(_COLUMNS, np.float32)
    read = 4 * size
    return [
        ("numpy.dot", lambda: np.dot(x, y), 2 * read, "bytes of the two arrays that are read"),
        ("numpy.matvec", lambda: matrix @ vector, read, "bytes of the matrix; vectors not counted"),
    ]


def _numpy_matmul(side: int) -> Kernel:
    a = np.random.default_rng(0).random((side, side), np.float32)
    b, out = a.T.copy(), np.empty_like(a)
    return lambda: np.matmul(a, b, out=out)


def _torch_matmul(torch: Any, side: int, dtype: Any) -> Kernel:
    a = torch.rand(side, side, generator=torch.Generator().manual_seed(0)).to(dtype)
    b, out = a.t().contiguous(), torch.empty(side, side, dtype=dtype)
    return lambda: torch.mm(a, b, out=out)


def _matmul_side(make: Callable[[int], Kernel]) -> int:
    """The largest side whose product still takes about ``_MATMUL_SECONDS``."""
    kernel = make(1024)
    kernel()
    rate = 2 * 1024**3 / min(_times(kernel, 2))
    fitting = [n for n in (2048, 4096, 8192) if 2 * n**3 / rate <= 1.5 * _MATMUL_SECONDS]
    return max(fitting, default=1024)


def _times(kernel: Kernel, repeats: int) -> list[float]:
    """Seconds of each repeat of a kernel that brings its own threads; one warm-up is not timed."""
    kernel()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        kernel()
        times.append(time.perf_counter() - start)
    return times


def _times_on_cores(prepare: Callable[[], Kernel], cpus: Sequence[int], repeats: int) -> list[float]:
    """Seconds of each repeat of a kernel that runs at once on every core, one pinned thread a core.

    Each thread prepares its own arrays, so their pages lie near its core; a repeat lasts from the first start to the
    last end.
    """
    starts, ends = np.zeros((repeats, len(cpus))), np.zeros((repeats, len(cpus)))
    barrier = threading.Barrier(len(cpus))
    errors: list[BaseException] = []

    def work(index: int, cpu: int) -> None:
        try:
            if hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(0, {cpu})  # 0 is the calling thread
            kernel = prepare()
            kernel()
            for repeat in range(repeats):
                barrier.wait()
                starts[repeat, index] = time.perf_counter()
                kernel()
                ends[repeat, index] = time.perf_counter()
        except threading.BrokenBarrierError:
            return
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=work, args=pair, daemon=True) for pair in enumerate(cpus)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return [float(t) for t in ends.max(axis=1) - starts.min(axis=1)]


def kernel_rate(
    kernel: str,
    *,
    kind: Literal["bandwidth", "matmul"],
    times: Sequence[float],
    work: int,
    counted: str,
    dtype: str,
    threads: int | None,
    torch: Any | None,
    pinned: bool,
) -> KernelRate:
    """The record of a kernel: its best and its median rate over the repeats, and how far the repeats lie apart.

    Args:
        kernel: Library and kernel.
        kind: What it reaches for.
        times: Seconds of each repeat.
        work: Bytes or FLOPs of one repeat.
        counted: What of them is counted, in words.
        dtype: Element format, its canonical name.
        threads: How many threads ran it; None on an accelerator.
        torch: The imported torch, or None.
        pinned: Whether each thread was held on a core of its own.
    """
    rates = [work / seconds for seconds in times]
    median = statistics.median(rates)
    return KernelRate(
        kernel=kernel,
        kind=kind,
        unit="bytes/s" if kind == "bandwidth" else "FLOP/s",
        best=max(rates),
        median=median,
        spread=(max(rates) - min(rates)) / median,
        repeats=len(rates),
        threads=threads,
        pinned=pinned,
        dtype=dtype,
        library=_library(kernel, torch),
        counted=counted,
        work=work,
    )


def _library(kernel: str, torch: Any | None) -> str:
    if kernel.startswith("torch.") and torch is not None:
        return f"torch {torch.__version__}"
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"numpy {np.__version__}, {blas.get('name', 'blas')} {blas.get('version', '')}".strip()
