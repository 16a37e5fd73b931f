"""inference-perf's ``summary_lifecycle_metrics.json`` and ``stage_N_lifecycle_metrics.json``, as of version 0.5."""

from __future__ import annotations

from typing import Any

from moecap.importing.found import Found
from moecap.importing.reading import Fields
from moecap.metrics.value import Metric

__all__ = ["is_inference_perf", "read_inference_perf"]

LATENCIES = {
    "time_to_first_token": "ttft",
    "time_per_output_token": "tpot",
    "inter_token_latency": "itl",
    "request_latency": "e2e",
}


def is_inference_perf(content: Any) -> bool:
    """Whether a JSON value is of this tool."""
    return isinstance(content, dict) and {"load_summary", "successes", "failures"} <= content.keys()


def read_inference_perf(where: str, content: Any) -> Found:
    """Read the file's object."""
    fields = Fields(where, content)
    load, good, bad = (fields.object(name) for name in ("load_summary", "successes", "failures"))
    done, concurrency, rate = good.count("count"), load.count("concurrency"), load.number("requested_rate")
    stated: dict[str, Metric] = {}
    latency = good.object("latency")
    for theirs, ours in LATENCIES.items():
        of = latency.object(theirs)
        for word, ending in (("mean", "mean"), ("median", "p50"), ("p90", "p90"), ("p95", "p95"), ("p99", "p99")):
            value = of.number(word)
            if value is not None:
                stated[f"{ours}.{ending}"] = Metric(value=value, unit="s", n=done)
    throughput = good.object("throughput")
    for theirs, ours, unit in (
        ("requests_per_sec", "requests_per_second_whole_run", "requests/s"),
        ("output_tokens_per_sec", "output_tokens_per_second_whole_run", "tokens/s"),
        ("input_tokens_per_sec", "input_tokens_per_second_whole_run", "tokens/s"),
    ):
        value = throughput.number(theirs)
        if value is not None:
            stated[ours] = Metric(value=value, unit=unit, n=done)
    failed, total = bad.count("count"), load.count("count")
    if failed is not None:
        stated["failed_requests"] = Metric(value=failed, unit="requests", n=total)
    return Found(
        tool="inference-perf",
        load="closed" if concurrency is not None else "open" if rate is not None else None,
        concurrency=concurrency,
        rate=None if concurrency is not None else rate,
        num_requests=total,
        stated=stated,
        no_requests="this report is a summary",
    )
