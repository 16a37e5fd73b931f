"""Kernels that reach for the peaks of one torch device: memory bandwidth and matrix products.

The same code runs on an accelerator and on the processor; only the clock differs (events of the device, or the host's).
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from moecap.hardware.kernels import Kernel, kernel_rate
from moecap.hardware.profile import KernelRate

__all__ = ["PRODUCTS", "DeviceBench", "device_bandwidth_rates", "device_matmul_rates", "missing_format"]

PRODUCTS = ("fp32", "tf32", "bf16", "fp16", "fp8", "int8")
"""Formats that are tried, in this order; one that breaks the device breaks no other's figure."""

_CAPABILITY = {"tf32": (8, 0), "bf16": (8, 0), "fp16": (5, 3), "fp8": (8, 9), "int8": (7, 5)}
"""NVIDIA's compute capability from which the device has the format in hardware and torch a product for it."""
_UNBUILT = {"fp4": "this probe has no kernel for it", "int4": "this probe has no kernel for it"}
_MOST_CALLS = 1000


@dataclass(frozen=True, slots=True)
class DeviceBench:
    """Where and how much is measured.

    Attributes:
        torch: The imported torch.
        device: Torch's name of the device: ``"cuda:0"`` (AMD's devices too), or ``"cpu"``.
        platform: Whose device it is.
        capability: NVIDIA's compute capability; (0, 0) elsewhere.
        architecture: AMD's architecture, such as ``"gfx942"``; of no effect elsewhere.
        array_bytes: Size of each array of the bandwidth kernels.
        side: Rows and columns of the matrices.
        repeats: Timed repeats of each kernel.
        seconds: What one repeat aims for, so that the start of a kernel does not weigh in it.
        warm_seconds: For how long a kernel runs before it is timed, until the clocks are up.
    """

    torch: Any
    device: str
    platform: Literal["cuda", "rocm", "cpu"]
    capability: tuple[int, int]
    architecture: str
    array_bytes: int
    side: int
    repeats: int
    seconds: float = 0.02
    warm_seconds: float = 0.2


def device_bandwidth_rates(bench: DeviceBench) -> list[KernelRate]:
    """Bytes a second of a copy within the device's memory, a triad and a sum, float32."""
    torch, size = bench.torch, bench.array_bytes // 4
    array = functools.partial(torch.full, (size,), dtype=torch.float32, device=bench.device)
    moved = 4 * size
    kernels: list[tuple[str, Callable[[], Kernel], int, str]] = [
        ("torch.copy", lambda: functools.partial(array(0.0).copy_, array(1.0)), 2 * moved, "read + written bytes"),
        ("torch.triad", lambda: _triad(torch, array), 3 * moved, "a = b + s*c: three arrays"),
        ("torch.sum", lambda: array(1.0).sum, moved, "bytes of the one array that is read"),
    ]
    return [
        _measured(bench, name, prepare(), work, counted, "bandwidth", "fp32")
        for name, prepare, work, counted in kernels
    ]


def device_matmul_rates(bench: DeviceBench) -> tuple[list[KernelRate], dict[str, str]]:
    """FLOP/s of square matrix products, and the reason for each format that could not be measured."""
    rates = []
    absent = {f"torch.matmul.{dtype}": reason for dtype, reason in _UNBUILT.items()}
    before = bench.torch.get_float32_matmul_precision()
    try:
        for dtype in PRODUCTS:
            name = f"torch.matmul.{dtype}"
            reason = missing_format(dtype, bench.platform, bench.capability, bench.architecture)
            if reason is not None:
                absent[name] = reason
                continue
            bench.torch.set_float32_matmul_precision("high" if dtype == "tf32" else "highest")
            counted = f"2*n**3 with n = {bench.side}"
            try:
                kernel = _product(bench, dtype)
                rates.append(_measured(bench, name, kernel, 2 * bench.side**3, counted, "matmul", dtype))
            except (RuntimeError, AttributeError) as error:  # AttributeError: an older torch
                absent[name] = f"torch refused it: {' '.join(str(error).split())[:200]}"
    finally:
        bench.torch.set_float32_matmul_precision(before)
    return rates, absent


def missing_format(
    dtype: str, platform: Literal["cuda", "rocm", "cpu"], capability: tuple[int, int], architecture: str
) -> str | None:
    """Why a device has no matrix product in a format that could be measured, or None where it has one.

    Args:
        dtype: A name of ``PRODUCTS``.
        platform: Whose device it is.
        capability: NVIDIA's compute capability.
        architecture: AMD's architecture.
    """
    if platform == "cuda" and capability < _CAPABILITY.get(dtype, (0, 0)):
        needed, found = (".".join(map(str, version)) for version in (_CAPABILITY[dtype], capability))
        return f"{dtype} needs compute capability {needed} and this device has {found}"
    if dtype == "tf32" and platform == "cpu":
        return "processors have no tf32"
    if dtype == "tf32" and platform == "rocm":
        return "torch on ROCm has no switch between fp32 and tf32"
    if dtype == "fp8" and platform == "rocm" and not architecture.startswith(("gfx94", "gfx95", "gfx12")):
        return f"fp8 needs gfx94x, gfx95x or gfx12xx and this device is {architecture}"
    return None


def _triad(torch: Any, array: Callable[[float], Any]) -> Kernel:
    return functools.partial(torch.add, array(1.0), array(2.0), alpha=3.0, out=array(0.0))


def _product(bench: DeviceBench, dtype: str) -> Kernel:
    """A product of two matrices (side x side) of random numbers: with zeros a device would run cooler, and faster."""
    torch, side = bench.torch, bench.side
    generator = torch.Generator(device=bench.device).manual_seed(0)
    left, right = (torch.randn(side, side, generator=generator, device=bench.device) for _ in range(2))
    if dtype == "int8":
        left, right = ((m * 32).round().clamp(-127, 127).to(torch.int8) for m in (left, right))
        return lambda: torch._int_mm(left, right.t())
    if dtype == "fp8":
        old = bench.platform == "rocm" and bench.architecture.startswith("gfx94")  # its fp8 has no negative zero
        kind = torch.float8_e4m3fnuz if old else torch.float8_e4m3fn
        left, right = left.to(kind), right.to(kind)
        one = torch.ones((), device=bench.device)
        scaled = functools.partial(torch._scaled_mm, scale_a=one, scale_b=one, out_dtype=torch.bfloat16)
        return lambda: scaled(left, right.t(), use_fast_accum=True)  # the mode of the datasheet's rate
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(dtype, torch.float32)
    left, right = left.to(kind), right.to(kind)
    return functools.partial(torch.mm, left, right, out=torch.empty_like(left))


def _measured(
    bench: DeviceBench,
    name: str,
    kernel: Kernel,
    work: int,
    counted: str,
    kind: Literal["bandwidth", "matmul"],
    dtype: str,
) -> KernelRate:
    """Time the kernel, as many calls a repeat as fill ``bench.seconds``."""
    _seconds(bench, kernel, 1)  # loads the kernel
    once = _seconds(bench, kernel, 1)
    warm = min(math.ceil(bench.warm_seconds / once), _MOST_CALLS)
    if warm:
        once = _seconds(bench, kernel, warm) / warm
    calls = max(1, min(math.ceil(bench.seconds / once), _MOST_CALLS))
    return kernel_rate(
        name,
        kind=kind,
        times=[_seconds(bench, kernel, calls) for _ in range(bench.repeats)],
        work=work * calls,
        counted=f"{counted}; {calls} calls a repeat",
        dtype=dtype,
        threads=bench.torch.get_num_threads() if bench.platform == "cpu" else None,
        torch=bench.torch,
        pinned=False,
    )


def _seconds(bench: DeviceBench, kernel: Kernel, calls: int) -> float:
    """How long so many calls take: between two events of the device's own stream, or by the host's clock."""
    if bench.platform == "cpu":
        start = time.perf_counter()
        for _ in range(calls):
            kernel()
        return time.perf_counter() - start
    begin, end = (bench.torch.cuda.Event(enable_timing=True) for _ in range(2))
    bench.torch.cuda.synchronize()
    begin.record()
    for _ in range(calls):
        kernel()
    end.record()
    bench.torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) / 1000  # milliseconds
