"""What a device can do: datasheet facts with their sources, and the peaks that were probed on it."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from moecap.dtypes import canonical_dtype

__all__ = [
    "EVIDENCE",
    "FORMATS",
    "HardwareProfile",
    "Interconnect",
    "KernelRate",
    "ListPrice",
    "Pcie",
    "Peak",
    "Price",
    "Probe",
    "ProfileSource",
    "UtilityPower",
]

FORMATS = ("fp64", "fp64_tensor", "fp32", "tf32", "bf16", "fp16", "fp8", "fp4", "int8", "int4")
"""Compute formats of a peak table; ``fp64_tensor`` is the matrix unit's fp64 rate."""

EVIDENCE = {
    "A": "vendor figure, and at least one independent public file agrees on bandwidth and bf16/fp8",
    "B": "vendor figure recalled, only partly confirmed",
    "C": "derived or unofficial: an estimate",
}
"""What the grades of ``HardwareProfile.evidence`` mean."""


ProfileSource = Literal["packaged", "probed", "file"]
"""Where a run's profile came from: this package, a probe by this package on this machine, or a file of the user's."""


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true or false")
    if isinstance(value, str):  # YAML 1.1 reads 3.35e12 (no sign in the exponent) as text
        return float(value)
    return value


def _text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime.date) else value


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("control characters are not allowed")
    return value


Text = Annotated[str, BeforeValidator(_text), Field(max_length=2000), AfterValidator(_printable)]
Positive = Annotated[float, BeforeValidator(_number), Field(gt=0, le=1e24, allow_inf_nan=False)]
NotNegative = Annotated[float, BeforeValidator(_number), Field(ge=0, le=1e24, allow_inf_nan=False)]
Count = Annotated[int, BeforeValidator(_number), Field(gt=0, le=10**18)]
Identifier = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Price(_Record):
    """What one device costs to rent.

    Attributes:
        usd_per_hour: US dollars an hour for one device (the lower end where a band is published).
        provider: Who asks for it; a default price says here that it is one, and where it comes from.
        date: When it was read, as precisely as known; None where the source gives no date.
        usd_per_hour_high: Upper end of a published band.
        source: A key of the profile's ``sources``, or a text of its own.
    """

    usd_per_hour: NotNegative
    provider: Text
    date: Text | None
    usd_per_hour_high: NotNegative | None = None
    source: Text | None = None


class ListPrice(_Record):
    """What one device costs to buy, in US dollars; ``low`` and ``high`` bound the published range."""

    usd: NotNegative
    low: NotNegative | None = None
    high: NotNegative | None = None
    source: Text
    date: Text | None = None


class UtilityPower(_Record):
    """Power of a system at the utility's meter, as a share of one device: host, network, conversion and cooling in it.

    ``watts`` are watts of one device; ``source`` is a key of the profile's ``sources``.
    """

    watts: Positive
    source: Text
    date: Text | None


class Interconnect(_Record):
    """The link between devices, in bytes a second of one device over all its links."""

    technology: Text
    bytes_per_second_per_direction: Positive
    bytes_per_second_total: Positive


class Pcie(_Record):
    """The link to the host; the rate is theoretical, in bytes a second for each direction."""

    generation: Count
    lanes: Count
    bytes_per_second_per_direction: Positive


class KernelRate(_Record):
    """The rate of one kernel over its repeats.

    Attributes:
        kernel: Library and kernel, such as ``"numpy.triad"``.
        kind: ``"bandwidth"`` or ``"matmul"``.
        unit: ``"bytes/s"`` or ``"FLOP/s"``; the unit of ``best`` and ``median``.
        best: The best repeat: the peak.
        median: The median repeat.
        spread: (max - min) / median of the repeats, a ratio.
        repeats: How many repeats were timed.
        threads: How many threads ran it; None on an accelerator.
        pinned: Whether each thread was held on a core of its own.
        dtype: Element format.
        library: Library and version.
        counted: What one repeat counts, in words.
        work: Bytes or FLOPs that one repeat counts.
    """

    kernel: Text
    kind: Literal["bandwidth", "matmul"]
    unit: Literal["bytes/s", "FLOP/s"]
    best: Positive
    median: Positive
    spread: NotNegative
    repeats: Count
    threads: Count | None
    pinned: bool
    dtype: Text
    library: Text
    counted: Text
    work: Positive


class ProbedDevice(_Record):
    """The accelerator that was probed, as torch and its driver describe it.

    Attributes:
        name: Its name.
        driver_version: The driver's version; None where unknown.
        architecture: Such as ``"sm_90"`` or ``"gfx942"``; the processor's type where the kernels ran on the processor.
        toolkit: What torch was built for, with its version, such as ``"CUDA 12.8"``.
        processors: Streaming multiprocessors or compute units; None where unknown.
        memory_free_bytes: Memory that was free before the probe; what is missing was held by something else.
        busy_before: Share of the time just before in which kernels of others ran on it; None where unknown.
    """

    name: Text
    driver_version: Text | None
    architecture: Text
    toolkit: Text
    processors: Count | None
    memory_free_bytes: Count
    busy_before: NotNegative | None


class Probe(_Record):
    """Peaks measured on a device, and under which conditions.

    Attributes:
        version: Version of the probe's code.
        date: When it was measured (UTC, ISO 8601).
        seconds: How long it took.
        cpu_model: The processor's name.
        threads: Threads of every kernel: the usable physical cores; None on an accelerator.
        memory_bytes: Usable memory of what was probed; None where unknown.
        last_level_cache_bytes: Sum over the last-level caches of those cores, or the accelerator's level-2 cache; None
            where unknown.
        array_bytes: Size of each array of the bandwidth kernels, all threads together.
        loadavg_before: Load average of the last minute before the probe; None where unknown.
        loadavg_after: The same after it.
        busy_before: Share of processor time that others used in the half second before the probe; None where unknown.
        steal: Share of processor time that the hypervisor took during the probe; None where unknown.
        flags: Those processor flags that decide which formats are native.
        versions: Versions of numpy and torch.
        environment: Variables that change the speed of the libraries, where set by the user.
        kernels: One record a kernel.
        absent: Reason for each kernel that was not measured.
        warnings: What makes the figures doubtful.
        device: The accelerator that was probed; None where it was the host.
    """

    version: Count
    date: Text
    seconds: Positive
    cpu_model: Text
    threads: Count | None
    memory_bytes: Count | None
    last_level_cache_bytes: Count | None
    array_bytes: Count
    loadavg_before: NotNegative | None
    loadavg_after: NotNegative | None
    busy_before: NotNegative | None = None
    steal: NotNegative | None
    flags: tuple[Text, ...]
    versions: dict[Text, Text]
    environment: dict[Text, Text]
    kernels: tuple[KernelRate, ...]
    absent: dict[Text, Text]
    warnings: tuple[Text, ...]
    device: ProbedDevice | None = None

    def best_bandwidth(self) -> KernelRate | None:
        """The fastest bandwidth kernel, or None."""
        return max((k for k in self.kernels if k.kind == "bandwidth"), key=lambda k: k.best, default=None)

    def best_matmul(self, dtype: str) -> KernelRate | None:
        """The fastest matrix product in a format (canonical name), or None."""
        rates = (k for k in self.kernels if k.kind == "matmul" and k.dtype == dtype)
        return max(rates, key=lambda k: k.best, default=None)


@dataclass(frozen=True, slots=True)
class Peak:
    """A peak and where it comes from.

    Attributes:
        value: Bytes/s or FLOP/s.
        source: ``"datasheet"`` or ``"probed"``.
        detail: The evidence grade, or the kernel that reached it.
    """

    value: float
    source: Literal["datasheet", "probed"]
    detail: str


class HardwareProfile(_Record):
    """One device: an accelerator or a host. SI units; peaks are dense.

    Attributes:
        id: Stable name, lower case.
        name: The name to print.
        vendor: Who makes it.
        kind: ``"accelerator"`` or ``"host"``.
        arch: Architecture, with the compute capability where there is one.
        aliases: Other stable names.
        driver_names: What the driver calls it.
        as_of: When the facts were collected (ISO date).
        cores: Processor cores of a host (vCPUs of a virtual machine).
        memory_bytes: Memory of one device in bytes; None only for hosts sold without a fixed size.
        memory_options_bytes: Every size sold under this profile, where there are several.
        memory_type: Such as ``"HBM3"``.
        memory_bandwidth: Datasheet bytes/s; None for a host without datasheet, and for an accelerator that only its
            probe describes.
        tdp_watts: Thermal design power in watts; None where unknown.
        utility_power: Power of a whole system at the meter, a device; None where no figure is published.
        dense_flops: FLOP/s by format, no sparsity; None where the chip lacks the format (or, for a host, where no
            datasheet figure exists). Every name of ``FORMATS`` is a key.
        sparse_flops: FLOP/s with structured sparsity, for reference only: never a peak.
        measured_flops: FLOP/s that a published measurement reached; not a peak.
        interconnect: Link between devices.
        pcie: Link to the host.
        list_price_usd: Purchase price.
        prices: Rental prices; the first is the default.
        evidence: Grade, see ``EVIDENCE``.
        sources: Full text of each source, by key.
        conflicts: Where sources disagree, and which figure stands here.
        notes: Remarks.
        probe: What was measured on this very device.
    """

    id: Identifier
    name: Text
    vendor: Text
    kind: Literal["accelerator", "host"]
    arch: Text | None = None
    aliases: tuple[Identifier, ...] = ()
    driver_names: tuple[Text, ...] = ()
    as_of: Text | None = None
    cores: Count | None = None
    memory_bytes: Count | None
    memory_options_bytes: tuple[Count, ...] = ()
    memory_type: Text | None = None
    memory_bandwidth: Positive | None
    tdp_watts: Positive | None
    utility_power: UtilityPower | None = None
    dense_flops: dict[str, Positive | None]
    sparse_flops: dict[str, Positive | None] = Field(default_factory=dict)
    measured_flops: dict[str, Positive] = Field(default_factory=dict)
    interconnect: Interconnect | None = None
    pcie: Pcie | None = None
    list_price_usd: ListPrice | None = None
    prices: tuple[Price, ...] = ()
    evidence: Literal["A", "B", "C"] | None = None
    sources: dict[Text, Text] = Field(default_factory=dict)
    conflicts: tuple[Text, ...] = ()
    notes: tuple[Text, ...] = ()
    probe: Probe | None = None

    @model_validator(mode="before")
    @classmethod
    def _fill_formats(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("dense_flops"), dict):
            return {**data, "dense_flops": {**dict.fromkeys(FORMATS), **data["dense_flops"]}}
        return data

    @model_validator(mode="after")
    def _check(self) -> Self:
        for table in (self.dense_flops, self.sparse_flops, self.measured_flops):
            for name in table:
                if name not in FORMATS:
                    raise ValueError(f"{name[:40]!r} is no compute format; known: {', '.join(FORMATS)}")
        if self.utility_power is not None and self.utility_power.source not in self.sources:
            raise ValueError("the source of utility_power is not among sources")
        if self.kind == "accelerator" and (self.memory_bytes is None or self.peak_bandwidth is None):
            raise ValueError("an accelerator needs memory_bytes, and memory_bandwidth or a probe")
        return self

    @property
    def peak_bandwidth(self) -> Peak | None:
        """Peak memory bandwidth in bytes/s: the datasheet's, else the best probed kernel's, else None."""
        if self.memory_bandwidth is not None:
            return Peak(self.memory_bandwidth, "datasheet", f"evidence {self.evidence or 'not graded'}")
        best = self.probe.best_bandwidth() if self.probe else None
        return Peak(best.best, "probed", best.kernel) if best else None

    def peak_flops(self, dtype: str) -> Peak | None:
        """Dense peak in FLOP/s for a compute format: the datasheet's, else the probed one.

        Args:
            dtype: A name of ``FORMATS`` or any spelling that ``moecap.dtypes.canonical_dtype`` knows.

        Returns:
            None where the chip lacks the format (or nothing is known); never another format's rate.

        Raises:
            UnknownNameError: If no such number format exists.
        """
        short = dtype if dtype in FORMATS else canonical_dtype(dtype)
        value = self.dense_flops.get(short)
        if value is not None:
            return Peak(value, "datasheet", f"evidence {self.evidence or 'not graded'}")
        best = self.probe.best_matmul(short) if self.probe else None
        return Peak(best.best, "probed", best.kernel) if best else None

    @property
    def default_price(self) -> Price | None:
        """The rental price that is used where the user gives none: the first of ``prices``."""
        return self.prices[0] if self.prices else None

    def holds_memory(self, total_bytes: int, tolerance: float = 0.12) -> int | None:
        """Which of the sizes sold under this profile a driver's figure stands for.

        Drivers report GiB (less what is reserved) where datasheets say GB, so they differ by up to 7.4 %.

        Args:
            total_bytes: Memory of the device as the driver reports it, in bytes.
            tolerance: Largest relative difference that still counts as the same size.

        Returns:
            The size in bytes as this profile states it, or None if none is near.
        """
        sizes = self.memory_options_bytes or ((self.memory_bytes,) if self.memory_bytes else ())
        near = min(sizes, key=lambda size: abs(math.log(total_bytes / size)), default=None) if total_bytes > 0 else None
        return near if near is not None and abs(total_bytes / near - 1) <= tolerance else None
