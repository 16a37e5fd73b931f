"""``moecap hw``: hardware profiles, what this machine is, and its measured peaks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

if TYPE_CHECKING:
    from moecap.hardware.profile import HardwareProfile, Probe

__all__ = ["app"]

app = App(name="hw", help="Hardware profiles; what this machine is; measured peaks of this machine.")

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON (SI units) instead of a table.")]
Flag = Annotated[bool, Parameter(negative="")]

_SHOWN_FORMATS = ("fp32", "tf32", "bf16", "fp16", "fp8", "fp4", "int8")


@app.command(name="list")
def list_command(*, json: Json = False) -> None:
    """List the hardware profiles with their dense peaks."""
    from moecap.cli.output import print_json, print_table
    from moecap.hardware.registry import list_profiles

    profiles = list_profiles()
    if json:
        print_json([_summary(profile) for profile in profiles])
        return
    headers = [
        "id",
        "name",
        "memory GB",
        "GB/s",
        "TDP W",
        *(f"{f} TFLOP/s" for f in ("bf16", "fp8", "fp4")),
        "$/h",
        "also",
    ]
    rows = []
    for p in profiles:
        peaks = [_figure(p.dense_flops[f], 1e12) for f in ("bf16", "fp8", "fp4")]
        price = p.default_price.usd_per_hour if p.default_price else None
        numbers = [_figure(p.memory_bytes, 1e9), _figure(p.memory_bandwidth, 1e9), _figure(p.tdp_watts), *peaks]
        rows.append([p.id, p.name, *numbers, _figure(price), ", ".join(p.aliases[:3])])
    print_table(headers, rows, right=headers[2:9])


@app.command
def show(hardware: str, /, *, json: Json = False) -> None:
    """Show one profile: peaks, prices, sources, and where sources disagree.

    Args:
        hardware: An id or alias, the path of a YAML file, or `auto` or `host` for this machine.
        json: Print JSON (SI units) instead of tables.
    """
    from moecap.cli.output import print_json
    from moecap.hardware.registry import load_profile

    if hardware.lower() in ("auto", "host", "cpu"):
        from moecap.cli.output import remark
        from moecap.data.cache import cache_root
        from moecap.hardware.resolve import resolve_hardware

        profile = resolve_hardware(hardware, cache_dir=cache_root(), progress=remark).profile
    else:
        profile = load_profile(hardware)
    if json:
        print_json(_document(profile))
    else:
        _print_profile(profile)


@app.command
def detect(*, json: Json = False) -> None:
    """Say what this machine is: its accelerators and its processor."""
    import dataclasses

    from moecap.cli.output import print_json, print_table
    from moecap.hardware.detect import detect as detect_machine
    from moecap.hardware.host import host_profile

    machine = detect_machine()
    identifier = host_profile(machine.host).id
    if json:
        document = dataclasses.asdict(machine)
        document["host"]["id"] = identifier
        print_json(document)
        return
    host = machine.host
    level = [_figure(host.memory_bytes, 1e9), _figure(host.last_level_cache_bytes, 2**20)]
    headers = ["board", "driver's name", "driver", "memory GB", "processes see", "profile", "remark"]
    if machine.devices:
        rows = [
            [
                str(d.index),
                d.name,
                d.driver_version or "-",
                _figure(d.memory_bytes, 1e9),
                "hidden" if d.ordinal is None else f"cuda:{d.ordinal}",
                d.profile_id or "-",
                d.remark or "",
            ]
            for d in machine.devices
        ]
        print_table(headers, rows, title="Accelerators", right=["memory GB"])
    else:
        print_table(["accelerators"], [["none that a driver answers for"]])
    if machine.missing:
        remedies = [[f"{vendor} device without an answer", remedy] for vendor, remedy in machine.missing.items()]
        print_table(["missing", "what to do"], remedies)
    columns = ["host", "processor", "usable cores", "vCPU", "memory GB", "last-level cache MiB", "matrix formats"]
    row = [identifier, host.cpu_model, str(host.cores), str(host.vcpus), *level, ", ".join(host.flags) or "-"]
    print_table(columns, [row], right=columns[2:6])


@app.command
def probe(*, device: str | None = None, refresh: Flag = False, save: Path | None = None, json: Json = False) -> None:
    """Measure peaks of this machine: memory bandwidth and matrix products (about 10 s, kept in the cache).

    Args:
        device: `host`, or `cuda` or `cuda:N` for an accelerator (AMD's too), which needs torch. By default what
            `--hw auto` takes.
        refresh: Measure again even if the cache holds a probe.
        save: Write what was measured as a profile to a YAML file, which `--hw FILE` takes.
        json: Print JSON (SI units) instead of a table.
    """
    from moecap.cli.output import print_json, remark
    from moecap.data.cache import cache_root
    from moecap.hardware.detect import detect as detect_machine
    from moecap.hardware.device_probe import device_profile, probe_device
    from moecap.hardware.host import host_profile
    from moecap.hardware.probe import probe_host
    from moecap.hardware.resolve import probed_device

    machine = detect_machine()
    target = probed_device(device, machine)
    if target is None:
        result = probe_host(refresh, cache_dir=cache_root(), progress=remark, host=machine.host)
        profile = host_profile(machine.host, result)
    else:
        result = probe_device(target, refresh, cache_dir=cache_root(), progress=remark)
        profile = device_profile(target, result)
    if save is not None:
        _save(profile, save)
        remark(f"saved {profile.id} to {save}")
    if json:
        print_json(_document(profile))
    else:
        _print_probe(result)


def _summary(profile: HardwareProfile) -> dict[str, Any]:
    keys = {"id", "name", "vendor", "kind", "aliases", "memory_bytes", "memory_bandwidth", "tdp_watts", "dense_flops"}
    return profile.model_dump(mode="json", include=keys | {"prices", "evidence"})


def _document(profile: HardwareProfile) -> dict[str, Any]:
    """The profile, and each peak as metrics use it, with its source."""
    import dataclasses

    from moecap.hardware.profile import FORMATS

    bandwidth = profile.peak_bandwidth
    peaks = {name: profile.peak_flops(name) for name in FORMATS}
    return {
        **profile.model_dump(mode="json"),
        "peak_bandwidth": dataclasses.asdict(bandwidth) if bandwidth else None,
        "peak_flops": {name: dataclasses.asdict(peak) if peak else None for name, peak in peaks.items()},
    }


def _print_profile(profile: HardwareProfile) -> None:
    from moecap.cli.output import print_table
    from moecap.hardware.profile import EVIDENCE

    bandwidth = profile.peak_bandwidth
    facts = [
        ["architecture", profile.arch or "-"],
        ["memory", f"{_figure(profile.memory_bytes, 1e9)} GB {profile.memory_type or ''}".rstrip()],
        ["bandwidth", f"{_figure(bandwidth.value, 1e9)} GB/s, {bandwidth.source}" if bandwidth else "-"],
        ["power", f"{_figure(profile.tdp_watts)} W{_at_the_meter(profile)}"],
        ["also known as", ", ".join(profile.aliases) or "-"],
        ["evidence", f"{profile.evidence}: {EVIDENCE[profile.evidence]}" if profile.evidence else "not graded"],
    ]
    if profile.interconnect:
        rate = _figure(profile.interconnect.bytes_per_second_per_direction, 1e9)
        facts.insert(3, ["interconnect", f"{profile.interconnect.technology}, {rate} GB/s each way"])
    print_table([profile.id, profile.name], facts)
    peaks = {name: profile.peak_flops(name) for name in _SHOWN_FORMATS}
    headers = [f"{name} TFLOP/s" for name in peaks]
    row = [_figure(peak.value, 1e12) if peak else "-" for peak in peaks.values()]
    print_table(headers, [row], title="\nDense peaks", right=headers)
    prices = [
        [_figure(p.usd_per_hour), _figure(p.usd_per_hour_high), p.provider, p.date or "-", p.source or ""]
        for p in profile.prices
    ]
    if prices:
        print_table(
            ["$/h", "to $/h", "provider", "date", "source"],
            prices,
            title="\nPrices of one device",
            right=["$/h", "to $/h"],
        )
    remarks = [["source", f"{key}: {text}"] for key, text in profile.sources.items()]
    remarks += [["disagreement", text] for text in profile.conflicts] + [["note", text] for text in profile.notes]
    if remarks:
        print_table(["", "remarks"], remarks)
    if profile.probe:
        _print_probe(profile.probe)


def _print_probe(probe: Probe) -> None:
    from moecap.cli.output import print_table

    products = [probe.best_matmul(k.dtype) for k in probe.kernels if k.kind == "matmul"]
    best = {id(k) for k in (probe.best_bandwidth(), *products) if k}
    rows = []
    for k in probe.kernels:
        unit, scale = ("GB/s", 1e9) if k.kind == "bandwidth" else ("GFLOP/s", 1e9)
        mark = "peak" if id(k) in best else ""
        rows.append(
            [k.kernel, f"{k.best / scale:.1f}", f"{k.median / scale:.1f}", unit, f"{k.spread:.0%}", mark, k.counted]
        )
    what = f"{probe.cpu_model}, {probe.threads} threads"
    if probe.device is not None:
        what = f"{probe.device.name}, driver {probe.device.driver_version or 'unknown'}, {probe.device.toolkit}"
    title = f"\n{what}, {probe.date}, load {_figure(probe.loadavg_before)}"
    headers = ["kernel", "best", "median", "unit", "spread", "", "counted"]
    print_table(headers, rows, title=title, right=["best", "median", "spread"])
    remarks = [["not measured", f"{name}: {reason}"] for name, reason in probe.absent.items()]
    remarks += [["warning", text] for text in probe.warnings]
    if remarks:
        print_table(["", "remarks"], remarks)


def _save(profile: HardwareProfile, path: Path) -> None:
    import yaml

    from moecap.errors import BadInputError

    text = yaml.safe_dump(profile.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=118)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInputError(f"cannot write {path}: {error.strerror}; give another file") from None


def _at_the_meter(profile: HardwareProfile) -> str:
    power = profile.utility_power
    return "" if power is None else f"; {_figure(power.watts)} W a device at the meter, host and cooling in it"


def _figure(value: float | None, scale: float = 1.0) -> str:
    """A number of the table in the header's unit; '-' for null."""
    if value is None:
        return "-"
    return (
        f"{value / scale:,.4f}".rstrip("0").rstrip(".")
        if value / scale < 10
        else f"{value / scale:,.1f}".removesuffix(".0")
    )
