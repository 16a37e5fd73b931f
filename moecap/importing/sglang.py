"""``python -m sglang.bench_serving --output-file``: one object a line, in the fields of SGLang 0.5.23.

It never says when a request was sent, so that no observations follow from it, ``--output-details`` or not.
"""

from __future__ import annotations

from typing import Any

from moecap.importing.found import Found, stated_latencies
from moecap.importing.reading import Fields
from moecap.importing.vllm import asked_rate, served_rates

__all__ = ["is_sglang", "read_sglang"]

LATENCIES = {"ttft": "ttft", "tpot": "tpot", "itl": "icl", "e2e_latency": "e2e"}


def is_sglang(content: Any) -> bool:
    """Whether a JSON value is of this tool."""
    return isinstance(content, dict) and {"sharegpt_output_len", "random_range_ratio", "duration"} <= content.keys()


def read_sglang(where: str, content: Any) -> Found:
    """Read one line's object."""
    fields = Fields(where, content)
    done, concurrency = fields.count("completed"), fields.count("max_concurrency")
    rate = asked_rate(fields)
    server = fields.object("server_info") if isinstance(fields.values.get("server_info"), dict) else Fields(where, {})
    random = (fields.text("dataset_name") or "").startswith("random") and fields.number("random_range_ratio") == 1
    version = server.text("version")
    return Found(
        tool="sglang bench",
        model=server.text("model_path"),
        engine="sglang" if version else None,
        engine_version=version,
        devices=server.count("tp_size"),
        precision=server.text("quantization"),
        load="open" if rate is not None else "closed" if concurrency is not None else None,
        concurrency=concurrency,
        rate=rate,
        input_len=fields.count("random_input_len") if random else None,
        output_len=fields.count("random_output_len") if random else None,
        num_requests=len(fields.items("input_lens")) or None,
        dataset=fields.text("dataset_name"),
        stated=served_rates(fields, done) | stated_latencies(fields, LATENCIES, done),
        no_requests="SGLang's file does not say when a request was sent",
        remarks=(f"the client speaks as {fields.text('backend')}",),
    )
