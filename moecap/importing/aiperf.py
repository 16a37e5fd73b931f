"""AIPerf's ``profile_export_aiperf.json`` with the ``profile_export.jsonl`` of its requests beside it, as of 0.13."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from typing import Any

from moecap.importing.found import Found, RequestTimes
from moecap.importing.reading import Fields, read_lines
from moecap.metrics.value import Metric

__all__ = ["is_aiperf", "read_aiperf"]

RECORDS = "profile_export.jsonl"
LATENCIES = {
    "time_to_first_token": "ttft",
    "inter_token_latency": "tpot",
    "inter_chunk_latency": "icl",
    "request_latency": "e2e",
}
"""AIPerf's inter-token latency is a mean for each request, over the tokens after the first: TPOT here."""

RATES = {
    "request_throughput": ("requests_per_second_whole_run", "requests/s"),
    "output_token_throughput": ("output_tokens_per_second_whole_run", "tokens/s"),
    "input_token_throughput": ("input_tokens_per_second_whole_run", "tokens/s"),
}
NO_RECORDS = f"no {RECORDS} lies beside the file, in which AIPerf has the times of each request"


def is_aiperf(content: Any) -> bool:
    """Whether a JSON value is of this tool."""
    return isinstance(content, dict) and "aiperf_version" in content


def read_aiperf(path: Path, content: Any) -> Found:
    """Read the summary, and the requests where their file lies beside it."""
    fields = Fields(path.name, content)
    config = fields.object("input_config")
    models = config.object("models").items("items")
    phases = [phase for phase in config.items("phases") if isinstance(phase, dict)]
    profiling = [phase for phase in phases if phase.get("kind", phase.get("name")) != "warmup"]
    phase = Fields(f"{path.name}: phases", profiling[0] if len(profiling) == 1 else {})
    concurrency, rate = phase.count("concurrency"), phase.number("rate")
    datasets = config.items("datasets")
    data = Fields(f"{path.name}: datasets", datasets[0] if len(datasets) == 1 else {})
    asked = data.object("prompts")
    requests = _requests(path)
    irregular = any(r.error is None and not r.tokens for r in requests)
    n = _count(fields, "request_count")
    return Found(
        tool="aiperf",
        version=fields.text("aiperf_version"),
        date=fields.text("start_time"),
        model=Fields(path.name, models[0]).text("name") if len(models) == 1 else None,
        load="open" if rate is not None else "closed" if concurrency is not None else None,
        concurrency=concurrency,
        rate=rate,
        input_len=_length(asked, "isl"),
        output_len=_length(asked, "osl"),
        num_requests=len(requests) or n,
        dataset=data.text("type"),
        stated=_stated(fields, n),
        requests=requests,
        no_requests="" if requests else NO_RECORDS,
        no_tokens="a chunk may carry several tokens: their numbers differ" if irregular else "",
    )


def _count(fields: Fields, name: str) -> int | None:
    value = fields.object(name).number("avg")
    return None if value is None else round(value)


def _length(asked: Fields, name: str) -> int | None:
    """A length that is one number, or a mean without a spread."""
    value = asked.values.get(name)
    if isinstance(value, dict):
        of = asked.object(name)
        return of.count("mean") if not of.number("stddev") and not of.number("std") else None
    return asked.count(name)


def _stated(fields: Fields, n: int | None) -> dict[str, Metric]:
    found: dict[str, Metric] = {}
    for theirs, ours in LATENCIES.items():
        of = fields.object(theirs)
        for word, ending in (("avg", "mean"), ("p50", "p50"), ("p90", "p90"), ("p95", "p95"), ("p99", "p99")):
            value = of.number(word)
            if value is not None:
                found[f"{ours}.{ending}"] = Metric(value=value * 1e-3, unit="s", n=of.count("count") or n)
    for theirs, (ours, unit) in RATES.items():
        value = fields.object(theirs).number("avg")
        if value is not None:
            found[ours] = Metric(value=value, unit=unit, n=n)
    errors = fields.object("error_request_count").number("avg")
    if errors is not None:
        found["failed_requests"] = Metric(value=errors, unit="requests", n=n)
    return found


def _requests(path: Path) -> tuple[RequestTimes, ...]:
    beside = path.with_name(RECORDS)
    if not beside.is_file():
        return ()
    found = []
    for where, value in read_lines(beside):
        record = Fields(where, value)
        about, metrics = record.object("metadata"), record.object("metrics")
        start, end = about.number("request_start_ns"), about.number("request_end_ns")
        if start is None or end is None or about.text("benchmark_phase") not in (None, "profiling"):
            continue
        first, total = (metrics.object(name).number("value") for name in ("time_to_first_token", "request_latency"))
        tokens = metrics.object("output_sequence_length").count("value")
        gaps = metrics.object("inter_chunk_latency").numbers("value")
        sent, failed = start * 1e-9, "error" in record or total is None
        came = () if first is None else tuple(accumulate((gap * 1e-3 for gap in gaps), initial=sent + first * 1e-3))
        issued = about.number("credit_issued_ns")
        found.append(
            RequestTimes(
                sent=sent,
                ended=max(end * 1e-9, came[-1] if came else 0.0),
                tokens=came if len(came) == tokens else (),
                first=came[0] if came else None,
                last=came[-1] if came else None,
                input_tokens=metrics.object("input_sequence_length").count("value"),
                output_tokens=tokens,
                error="failed" if failed else None,
                scheduled=None if issued is None else min(issued * 1e-9, sent),
            )
        )
    return tuple(found)
