"""Where the numbers come from: the command, the software, the hardware with its probe, and the files."""

from __future__ import annotations

from pathlib import Path

from moecap.facts import result_facts
from moecap.files import file_sha256
from moecap.hardware.profile import HardwareProfile, KernelRate
from moecap.models.accounting import checkpoint_bytes
from moecap.report.figures import NO_VALUE, display_value, with_prefix
from moecap.report.headline import long_date
from moecap.report.markup import Child, Html, data_table, element, folded, join, paragraph
from moecap.report.reported_run import ReportedRun
from moecap.report.section import Section, how_to_read
from moecap.result import ModelRecord, Result

__all__ = ["dependencies", "provenance_section"]


def provenance_section(run: ReportedRun) -> Section:
    """The command that repeats the run, and everything that it depended on."""
    result = run.result
    command = element(
        "div",
        element("code", result.provenance.command, id="command"),
        element("button", "Copy", type="button", class_="copy", data_copy="command"),
        class_="command",
    )
    parts = [
        paragraph("This command repeats the run:"),
        command,
        paragraph("And ", element("code", "moecap verify RUN"), " recomputes every number from the files below."),
        _files(run),
        dependencies(result),
    ]
    return Section("provenance", "Provenance", join(*parts))


def dependencies(result: Result) -> Html:
    """Everything that a run depended on: model, formats, engine, times, hardware and its probe, software, settings."""
    software = result.provenance.environment | {"engine timer": result.backend.timer}
    return join(
        element("div", _setting(result), _seconds(result), class_="columns"),
        _profile(result.hardware.profile),
        folded("Software", _pairs("Versions", software)),
        folded("Run configuration", _configuration(result)),
    )


def _pairs(caption: str, pairs: dict[str, str]) -> Html:
    return data_table(caption, ("", ""), list(pairs.items()), class_="pairs")


def _setting(result: Result) -> Html:
    model, backend = result.model, result.backend
    weights = checkpoint_bytes(result_facts(result).spec)
    pairs = {
        "result": result.id,
        "model": model.id + (f", revision {model.revision}" if model.revision else ""),
        "parameters": f"{model.total_params:,}, {model.active_params:,} of them active for a token",
        "weights": f"{model.weight_dtype}, about {display_value(weights, 'B')}; KV cache {model.kv_dtype}; computed in "
        f"{' and '.join(dict.fromkeys(model.compute_dtypes.values())) or model.compute_dtype}",
        **_classes(model),
        **_ranks(result.workload.tensor_parallel or 1, result.hardware.count),
        "weights' SHA-256": model.weights_sha256 or "not taken: the checkpoint is large or not of one file",
        "from": model.source,
        "engine": f"{backend.name} {backend.version} on {backend.device}, {backend.batching} batching",
        **{f"engine: {name}": value for name, value in backend.details.items()},
        "moecap": result.provenance.moecap,
        "started": long_date(result.provenance.started),
        "finished": long_date(result.provenance.finished),
    }
    return _pairs("What ran", pairs)


def _classes(model: ModelRecord) -> dict[str, str]:
    """In what each class of a quantised checkpoint is stored and computed."""
    if not model.quantised:
        return {}
    stored = ", ".join(f"{tensors} {dtype}" for tensors, dtype in model.weight_dtypes.items())
    computed = ", ".join(f"{tensors} {dtype}" for tensors, dtype in model.compute_dtypes.items())
    return {"stored in": stored, "computed in": computed}


def _ranks(ranks: int, devices: int) -> dict[str, str]:
    """How a split model lies on its devices."""
    if ranks == 1:
        return {}
    where = "each on a device of its own" if ranks == devices else "all on one host"
    return {"split": f"{ranks} tensor-parallel ranks, {where}"}


def _seconds(result: Result) -> Html:
    seconds = result.provenance.seconds
    if not seconds:
        return paragraph("The run did not reach its first part, so there are no times.", class_="missing")
    whole = sum(seconds.values())
    rows = [(name, f"{value:.1f} s", f"{value / whole:.0%}" if whole else NO_VALUE) for name, value in seconds.items()]
    rows.append(("all", f"{whole:.1f} s", "100%"))
    return data_table("Where the time went", ("Part", "Time", "Share"), rows, numeric=(1, 2))


def _profile(profile: HardwareProfile) -> Html:
    rates = {f: v for f, v in profile.dense_flops.items() if v is not None}
    pairs = {
        "profile": profile.id,
        "name": profile.name,
        "memory": display_value(profile.memory_bytes, "B") if profile.memory_bytes else "unknown",
        "bandwidth by datasheet": with_prefix(profile.memory_bandwidth, "B/s") if profile.memory_bandwidth else "none",
        "dense peaks by datasheet": ", ".join(f"{f} {with_prefix(v, 'FLOP/s')}" for f, v in rates.items()) or "none",
        "thermal design power": f"{profile.tdp_watts:.0f} W" if profile.tdp_watts else "unknown",
        "evidence": profile.evidence or "not graded",
    }
    parts: list[Child] = [_pairs("Hardware, one device", pairs)]
    if profile.sources:
        parts.append(_pairs("Sources", dict(profile.sources)))
    probe = profile.probe
    if probe is None:
        return folded("Hardware profile", *parts, paragraph("This hardware was not probed."))
    rows = []
    for k in probe.kernels:
        unit = "B/s" if k.unit == "bytes/s" else "FLOP/s"
        spread = element("span", f"{k.spread:.0%}", class_="unsteady" if k.spread > 0.25 else None)
        cells = (with_prefix(k.best, unit), with_prefix(k.median, unit), spread, str(k.repeats), k.counted)
        rows.append((join(k.kernel, element("small", _threads(k))), *cells))
    heads = ("Kernel", "Best", "Median", "Spread", "Repeats", "What is counted")
    state = f"load average {_or_unknown(probe.loadavg_before)} before and {_or_unknown(probe.loadavg_after)} after"
    steal = f"stolen {probe.steal:.1%}" if probe.steal is not None else "stolen time unknown"
    where = f"with {probe.threads} threads" if probe.device is None else f"on {probe.device.name}"
    text = f"Probed on {long_date(probe.date)} in {probe.seconds:.1f} s {where}; {state}; {steal}."
    table = data_table("Probed kernels", heads, rows, numeric=(1, 2, 3, 4))
    absent = [element("li", f"{name}: {reason}") for name, reason in probe.absent.items()]
    how = how_to_read("The peak of a kind is the best repeat of its fastest kernel.", ("Best, median, spread",))
    return folded(
        "Hardware profile and probe", *parts, paragraph(text), table, element("ul", *absent) if absent else None, how
    )


def _threads(kernel: KernelRate) -> str:
    if kernel.threads is None:
        return "on the accelerator"
    return f"{kernel.threads} threads{', pinned' if kernel.pinned else ''}"


def _or_unknown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def _files(run: ReportedRun) -> Html:
    rows = []
    for name, digest in run.result.observations.items():
        rows.append((name, element("code", digest), _state(run.directory, name, digest)))
    if not rows:
        return paragraph("This result comes without observation files.", class_="missing")
    bad = sum(1 for row in rows if row[2] != "unchanged")
    head = f"Observation files: {len(rows)}, {f'{bad} of them changed or missing' if bad else 'all unchanged'}"
    heads = ("File", "SHA-256 in the result", "When this page was made")
    return folded(head, data_table("Observation files", heads, rows), how_to_read("", ("SHA-256",)), open=bad > 0)


def _state(directory: Path, name: str, digest: str) -> str:
    path = directory / name
    if Path(name).name != name or not path.is_file():
        return "missing"
    return "unchanged" if file_sha256(path) == digest else "changed"


def _configuration(result: Result) -> Html:
    values = result.workload.model_dump(mode="json")
    pairs = {name: NO_VALUE if value in (None, [], {}) else str(value) for name, value in values.items()}
    return _pairs("Run configuration in force", pairs)
