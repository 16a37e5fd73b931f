"""``vllm bench serve --save-result``, with ``--save-detailed`` the times of each request.

Fields as vLLM 0.32 writes them: ``start_times`` and ``queue_times`` (the client's own delay before sending) in seconds
of a monotonic clock, ``ttfts``, ``itls`` (the gaps between chunks) and ``latencies`` in seconds.
"""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Any

from moecap.errors import BadInputError
from moecap.importing.found import Found, RequestTimes, stated_latencies
from moecap.importing.reading import Fields
from moecap.metrics.value import Metric

__all__ = ["asked_rate", "is_vllm", "read_vllm", "served_rates", "served_requests"]

LATENCIES = {"ttft": "ttft", "tpot": "tpot", "itl": "icl", "e2el": "e2e"}
"""What vLLM calls ITL is a gap between two chunks, whatever their tokens."""

NO_TIMES = "the file has no times of single requests; vllm bench serve writes them with --save-detailed"


def is_vllm(content: Any) -> bool:
    """Whether a JSON value is of this tool."""
    return isinstance(content, dict) and {"model_id", "tokenizer_id", "num_prompts"} <= content.keys()


def read_vllm(where: str, content: Any) -> Found:
    """Read the file's object."""
    fields = Fields(where, content)
    done = fields.count("completed")
    rate, concurrency = asked_rate(fields), fields.count("max_concurrency")
    stated = served_rates(fields, done) | stated_latencies(fields, LATENCIES, done)
    requests = served_requests(fields)
    irregular = any(r.error is None and not r.tokens for r in requests)
    return Found(
        tool="vllm bench",
        date=fields.text("date"),
        model=fields.text("model_id"),
        load="open" if rate is not None else "closed" if concurrency is not None else None,
        concurrency=concurrency,
        rate=rate,
        num_requests=fields.count("num_prompts"),
        stated=stated,
        requests=requests,
        no_requests="" if requests else NO_TIMES,
        no_tokens="a chunk may carry several tokens: their numbers differ" if irregular else "",
        remarks=(f"the client speaks as {fields.text('backend')}; which engine answered the file does not say",),
    )


def asked_rate(fields: Fields) -> float | None:
    """Requests a second that were asked for; ``None`` where they were sent as soon as they could be, or by a trace."""
    value = fields.values.get("request_rate")
    return None if isinstance(value, str) or value == math.inf else fields.number("request_rate")


def served_rates(fields: Fields, done: int | None) -> dict[str, Metric]:
    """The rates over the whole run and the failures, as vLLM and SGLang name them."""
    names = {
        "request_throughput": ("requests_per_second_whole_run", "requests/s"),
        "output_throughput": ("output_tokens_per_second_whole_run", "tokens/s"),
        "input_throughput": ("input_tokens_per_second_whole_run", "tokens/s"),
        "failed": ("failed_requests", "requests"),
    }
    values = {ours: (fields.number(theirs), unit) for theirs, (ours, unit) in names.items()}
    return {name: Metric(value=value, unit=unit, n=done) for name, (value, unit) in values.items() if value is not None}


def served_requests(fields: Fields) -> tuple[RequestTimes, ...]:
    """The requests, where each has the time when it was sent; else none."""
    starts = fields.numbers("start_times")
    if not starts:
        return ()
    columns = {name: fields.items(name) for name in ("ttfts", "itls", "input_lens", "output_lens", "errors")}
    for name, column in columns.items():
        if len(column) != len(starts):
            raise BadInputError(
                f"{fields.where}: {name} has {len(column)} entries and start_times {len(starts)}; "
                "each request has one of both"
            )
    firsts, queued, whole = fields.numbers("ttfts"), fields.numbers("queue_times"), fields.numbers("latencies")
    inputs, outputs = fields.numbers("input_lens"), fields.numbers("output_lens")
    found = []
    for n, sent in enumerate(starts):
        gaps = Fields(f"{fields.where}: itls[{n}]", {"gaps": columns["itls"][n]}).numbers("gaps")
        error = str(columns["errors"][n])[:200] or None
        came = tuple(accumulate(gaps, initial=sent + firsts[n])) if error is None else ()
        length = whole[n] if len(whole) == len(starts) else firsts[n] + sum(gaps)
        found.append(
            RequestTimes(
                sent=sent,
                ended=sent + max(length, firsts[n] + sum(gaps)) if error is None else sent + length,
                tokens=came if len(came) == outputs[n] else (),
                first=came[0] if came else None,
                last=came[-1] if came else None,
                input_tokens=round(inputs[n]),
                output_tokens=round(outputs[n]) if error is None else None,
                error=error,
                scheduled=sent - queued[n] if len(queued) == len(starts) else None,
            )
        )
    return tuple(found)
