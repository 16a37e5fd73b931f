"""GuideLLM's JSON report: one result for each of its benchmarks, in the fields of version 0.8."""

from __future__ import annotations

from typing import Any

from moecap.importing.found import Found, RequestTimes
from moecap.importing.reading import Fields
from moecap.metrics.value import Metric

__all__ = ["is_guidellm", "read_guidellm"]

LATENCIES = {
    "time_to_first_token_ms": ("ttft", 1e-3),
    "time_to_first_output_token_ms": ("ttfo", 1e-3),
    "inter_token_latency_ms": ("tpot", 1e-3),
    "request_latency": ("e2e", 1.0),
}
"""GuideLLM's ITL is a mean for each request, from its first token to its last over the tokens after the first: TPOT
here. Its own TPOT divides the whole time of a request by all of its tokens, and has no name here."""

RATES = {
    "requests_per_second": ("requests_per_second_whole_run", "requests/s"),
    "output_tokens_per_second": ("output_tokens_per_second_whole_run", "tokens/s"),
    "prompt_tokens_per_second": ("input_tokens_per_second_whole_run", "tokens/s"),
}


def is_guidellm(content: Any) -> bool:
    """Whether a JSON value is of this tool."""
    return isinstance(content, dict) and isinstance(content.get("benchmarks"), list) and "metadata" in content


def read_guidellm(where: str, content: Any) -> list[Found]:
    """Read the report."""
    report = Fields(where, content)
    version = report.object("metadata").text("guidellm_version")
    spec = report.object("config").object("spec")
    data = spec.items("data")
    asked = Fields(where, data[0]) if len(data) == 1 and isinstance(data[0], dict) else Fields(where, {})
    found = []
    for number, value in enumerate(report.items("benchmarks")):
        benchmark = Fields(f"{where}: benchmarks[{number}]", value)
        strategy = benchmark.object("config").object("strategy")
        metrics, kind = benchmark.object("metrics"), strategy.text("type_") or ""
        totals = metrics.object("request_totals")
        requests = _requests(benchmark)
        closed = kind in ("concurrent", "synchronous", "throughput")
        found.append(
            Found(
                tool="guidellm",
                version=version,
                model=spec.object("backend").text("model"),
                load="closed" if closed else "open" if kind in ("constant", "async", "poisson") else None,
                concurrency=1 if kind == "synchronous" else strategy.count("streams"),
                rate=strategy.number("rate"),
                input_len=asked.count("prompt_tokens"),
                output_len=asked.count("output_tokens"),
                num_requests=totals.count("total"),
                dataset=asked.text("kind"),
                stated=_stated(metrics, totals),
                requests=requests,
                no_requests="" if requests else "the report holds no single requests",
                no_tokens="the report has the first and the last token of a request, and no time between",
            )
        )
    return found


def _stated(metrics: Fields, totals: Fields) -> dict[str, Metric]:
    found: dict[str, Metric] = {}
    for theirs, (ours, factor) in LATENCIES.items():
        of = metrics.object(theirs).object("successful")
        n, percentiles = of.count("count"), of.object("percentiles")
        values = {"mean": of.number("mean"), "p50": of.number("median")}
        values |= {f"p{p}": percentiles.number(f"p{p}") for p in (90, 95, 99)}
        for ending, value in values.items():
            if value is not None and n:
                found[f"{ours}.{ending}"] = Metric(value=value * factor, unit="s", n=n)
    for theirs, (ours, unit) in RATES.items():
        value = metrics.object(theirs).object("successful").number("mean")
        if value is not None:
            found[ours] = Metric(value=value, unit=unit)
    wrong = [totals.count(name) for name in ("errored", "incomplete")]
    if None not in wrong:
        found["failed_requests"] = Metric(value=sum(n or 0 for n in wrong), unit="requests", n=totals.count("total"))
    return found


def _requests(benchmark: Fields) -> tuple[RequestTimes, ...]:
    found = []
    for kind in ("successful", "errored", "incomplete"):
        for number, value in enumerate(benchmark.object("requests").items(kind)):
            request = Fields(f"{benchmark.where}: requests.{kind}[{number}]", value)
            times = request.object("info").object("timings")
            sent, ended = times.number("request_start"), times.number("request_end")
            if sent is None or ended is None:
                continue  # never sent
            found.append(
                RequestTimes(
                    sent=sent,
                    ended=ended,
                    first=times.number("first_token_iteration"),
                    last=times.number("last_token_iteration"),
                    input_tokens=request.count("prompt_tokens"),
                    output_tokens=request.count("output_tokens"),
                    error=None if kind == "successful" else kind,
                    scheduled=times.number("targeted_start"),
                )
            )
    return tuple(found)
