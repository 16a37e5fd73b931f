"""An import from a file to run directories: observations where the source has them, and metrics from these."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import rfc8785

import moecap
from moecap.errors import BadInputError, UnknownNameError
from moecap.files import file_sha256
from moecap.importing.aiperf import is_aiperf, read_aiperf
from moecap.importing.found import Found, RequestTimes
from moecap.importing.guidellm import is_guidellm, read_guidellm
from moecap.importing.inference_perf import is_inference_perf, read_inference_perf
from moecap.importing.lm_eval import is_lm_eval, read_lm_eval
from moecap.importing.metrics import load_metrics
from moecap.importing.moe_cap import is_moe_cap, read_moe_cap
from moecap.importing.reading import read_json, read_lines
from moecap.importing.record import (
    ImportedBackend,
    ImportedHardware,
    ImportedModel,
    ImportedResult,
    ImportedWorkload,
    Source,
    write_imported,
)
from moecap.importing.sglang import is_sglang, read_sglang
from moecap.importing.vllm import is_vllm, read_vllm
from moecap.metrics.value import Metric
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap.result import Flag

__all__ = ["Given", "import_file"]

ONE: dict[str, tuple[Callable[[Any], bool], Callable[[str, Any], Found]]] = {
    "vllm": (is_vllm, read_vllm),
    "sglang": (is_sglang, read_sglang),
    "inference-perf": (is_inference_perf, read_inference_perf),
    "lm-eval": (is_lm_eval, read_lm_eval),
}
SOURCES = ("auto", *ONE, "aiperf", "guidellm", "moe-cap")

APART = 0.01
"""Relative difference between a recomputed number and the source's own from which it is named."""


@dataclass(frozen=True, slots=True)
class Given:
    """What whoever imports knows and the source may lack; what the source says stays."""

    model: str | None = None
    hardware: str | None = None
    devices: int | None = None
    engine: str | None = None
    precision: str | None = None


def import_file(path: Path, source: str, given: Given, output: Path | None) -> list[tuple[Path, ImportedResult]]:
    """Turn a file into run directories, one for each result in it.

    Args:
        path: The other tool's output.
        source: Which tool, or ``auto``.
        given: What the source may lack.
        output: The run directory; of several results the folder of theirs.

    Raises:
        BadInputError: If the file is none of the tool's, or the directory is not empty.
    """
    if source not in SOURCES:
        raise UnknownNameError("tool to import from", source, SOURCES)
    found = _read(path, source)
    if not found:
        raise BadInputError(f"{path.name}: no result in it; give the file of a finished benchmark")
    digest = file_sha256(path)
    base = output or Path("runs") / f"imported-{found[0].tool.replace(' ', '-')}-{digest[:8]}"
    places = [base] if len(found) == 1 else [base / str(number) for number in range(1, len(found) + 1)]
    for place in places:
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise BadInputError(f"{place} exists and is no empty directory; name another one with --output")
    made = []
    try:
        for number, (place, one) in enumerate(zip(places, found, strict=True), 1):
            place.mkdir(parents=True, exist_ok=True)
            of = Source(tool=one.tool, version=one.version, file=path.name, sha256=digest, part=number, date=one.date)
            made.append((place, _write(place, one, of, given)))
    except BaseException as error:
        for place in places:  # each was empty or absent
            shutil.rmtree(place, ignore_errors=True)
        if isinstance(error, OSError):
            raise BadInputError(
                f"{base} cannot be written ({error.strerror}); name another place with --output"
            ) from None
        if isinstance(error, (UnicodeEncodeError, rfc8785.CanonicalizationError)):
            raise BadInputError(f"{path.name}: a text in it holds half of a character, which is no Unicode") from None
        raise
    return made


def _read(path: Path, source: str) -> list[Found]:
    lines = path.suffix == ".jsonl"
    values = read_lines(path) if lines else [(path.name, read_json(path))]
    found: list[Found] = []
    for where, content in values:
        name = source if source != "auto" else _recognised(content)
        if name in ONE:
            found.append(ONE[name][1](where, content))
        elif name == "guidellm":
            found += read_guidellm(where, content)
        elif name == "aiperf":
            found.append(read_aiperf(path, content))
        elif name == "moe-cap":
            found.append(read_moe_cap(path, content))
        else:
            known = ", ".join(SOURCES[1:])
            raise BadInputError(f"{where}: not the output of a tool that is known here ({known}); name it with --from")
    for one in found:
        if not one.stated and not one.requests:
            raise BadInputError(f"{path.name}: not one number of {one.tool} in it; is it the file of another tool?")
    return found


def _recognised(content: Any) -> str:
    tests: dict[str, Callable[[Any], bool]] = {name: test for name, (test, _) in ONE.items()}
    tests |= {"guidellm": is_guidellm, "aiperf": is_aiperf, "moe-cap": is_moe_cap}
    return next((name for name, test in tests.items() if test(content)), "")


def _write(place: Path, found: Found, source: Source, given: Given) -> ImportedResult:
    said = {
        "model.id": found.model,
        "model.precision": found.precision,
        "hardware.id": found.hardware,
        "hardware.count": found.devices,
        "backend.name": found.engine,
    }
    offered = {
        "model.id": given.model,
        "model.precision": given.precision,
        "hardware.id": given.hardware,
        "hardware.count": given.devices,
        "backend.name": given.engine,
    }
    filled = {name: value if value is not None else offered[name] for name, value in said.items()}
    used = tuple(name for name in said if said[name] is None and offered[name] is not None)
    digests: dict[str, str] = {}
    recomputed: dict[str, Metric] = {}
    if found.requests:
        try:
            files = _recorder(found.requests, scheduled=found.load == "open").write(place)
        except (OverflowError, pa.ArrowException):
            raise BadInputError(
                f"{source.file}: a time or a number of tokens of a request is beyond what can be stored; "
                "give the file as the tool wrote it"
            ) from None
        digests = {name: file_sha256(place / name) for name in files}
        seen = read_observations(place)
        devices = given.devices if found.devices is None else found.devices
        recomputed = load_metrics(seen, found.load, found.no_tokens, devices)
    metrics = dict(found.stated) | {name: m for name, m in recomputed.items() if m.value is not None}
    metrics |= {name: m for name, m in recomputed.items() if name not in metrics}
    workload = ImportedWorkload.model_validate({name: getattr(found, name) for name in ImportedWorkload.model_fields})
    result = ImportedResult(
        source=source,
        model=ImportedModel(id=filled["model.id"], precision=filled["model.precision"]),
        hardware=ImportedHardware(id=filled["hardware.id"], count=filled["hardware.count"]),
        backend=ImportedBackend(name=filled["backend.name"], version=found.engine_version),
        workload=workload,
        metrics=metrics,
        recomputed=tuple(name for name in metrics if name in recomputed and recomputed[name].value is not None),
        stated=dict(found.stated),
        missing=_missing(filled, found, workload),
        given=used,
        flags=_flags(found, recomputed),
        moecap=moecap.__version__,
        observations=digests,
    )
    return write_imported(place, result)


def _recorder(requests: tuple[RequestTimes, ...], *, scheduled: bool) -> Recorder:
    """The observations, with times from the first request on.

    Args:
        requests: The requests.
        scheduled: Whether the times at which they were to be sent count; in a closed loop the tools give the time at
            which the whole load was handed over.
    """
    recorder = Recorder(stage="load")
    dues = [r.sent if r.scheduled is None or not scheduled else r.scheduled for r in requests]
    start = min(*dues, *(r.sent for r in requests))

    def ns(seconds: float) -> int:
        return round((seconds - start) * 1e9)

    for number, (request, due) in enumerate(zip(requests, dues, strict=True)):
        record = recorder.send(
            f"request-{number}", request.input_tokens or 0, request.output_tokens or 0, ns(due), ns(request.sent)
        )
        record.input_tokens, record.output_tokens = request.input_tokens, request.output_tokens
        record.ended_ns = ns(request.ended)
        record.status, record.error = ("completed", None) if request.error is None else ("failed", request.error)
        if request.error is not None:
            continue
        times, counts = _arrivals(request)
        if times:
            record.first_token_ns, record.last_token_ns = ns(times[0]), ns(times[-1])
            recorder.chunks(record.request, [ns(t) for t in times], counts, ["content"] * len(times))
    return recorder


def _arrivals(request: RequestTimes) -> tuple[list[float], list[int | None]]:
    """When tokens came and how many had: each where that is known, else the first one and all of them at the last."""
    if request.tokens:
        return list(request.tokens), list(range(1, len(request.tokens) + 1))
    if request.first is None:
        return [], []
    if request.last is None or not request.output_tokens or request.last == request.first:
        return [request.first], [request.output_tokens]
    return [request.first, request.last], [1, request.output_tokens]


def _missing(filled: Mapping[str, Any], found: Found, workload: ImportedWorkload) -> dict[str, str]:
    reason = f"{found.tool}'s file does not say"
    names = [name for name, value in filled.items() if value is None]
    names += ["backend.version"] * (found.engine_version is None) + ["source.version"] * (found.version is None)
    names += [f"workload.{name}" for name, value in workload.model_dump().items() if value is None]
    missing = dict.fromkeys(names, reason)
    if workload.load == "closed" and workload.concurrency is not None:
        missing.pop("workload.rate", None)
        missing["workload.rate"] = "a closed loop has none"
    if found.no_requests:
        missing["observations"] = found.no_requests
    return missing


def _flags(found: Found, recomputed: Mapping[str, Metric]) -> tuple[Flag, ...]:
    flags = [Flag(name="imported", level="info", text=f"The numbers come from a file of {found.tool}.")]
    flags += [Flag(name="source", level="info", text=f"{remark[0].upper()}{remark[1:]}.") for remark in found.remarks]
    if not found.requests:
        flags.append(Flag(name="as_stated", level="warning", text=f"No number can be recomputed: {found.no_requests}."))
    for name, stated in found.stated.items():
        ours = recomputed.get(name)
        if ours is None or ours.value is None or stated.value is None:
            continue
        if not math.isclose(ours.value, stated.value, rel_tol=APART, abs_tol=1e-12):
            text = f"{name} is {stated.value:.6g} {stated.unit} by {found.tool}, {ours.value:.6g} recomputed."
            flags.append(Flag(name="differs_from_source", level="warning", text=text))
    return tuple(flags)
