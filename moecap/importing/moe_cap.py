"""MoE-CAP's ``metrics_DATASET_TIME.json`` with the ``metadata_DATASET_TIME.json`` beside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from moecap.importing.found import Found
from moecap.importing.reading import Fields, read_json
from moecap.metrics.value import Metric

__all__ = ["is_moe_cap", "read_moe_cap"]

REMARK = (
    "its TTFT is of requests by the server or of passes, its TPOT the mean duration of decode passes, and its e2e the "
    "whole time over the requests, which is no latency and is left out"
)


def is_moe_cap(content: Any) -> bool:
    """Whether a JSON value is of this tool."""
    return isinstance(content, dict) and {"performance", "expert_activation"} <= content.keys()


def read_moe_cap(path: Path, content: Any) -> Found:
    """Read the metrics, and the metadata of the same run where it lies beside them."""
    fields = Fields(path.name, content)
    performance, quality = fields.object("performance"), fields.object("quality")
    beside = path.with_name(re.sub(r"^metrics_", "metadata_", path.name))
    about = Fields(beside.name, read_json(beside) if beside != path and beside.is_file() else {})
    hardware, system = about.object("hardware"), about.object("system_environment")
    dataset = re.fullmatch(r"metrics_(.+?)_\d.*\.json", path.name)
    requests = quality.count("attempted")
    stated: dict[str, Metric] = {}
    for theirs, ours in (("ttft", "ttft.mean"), ("tpot", "tpot.mean")):
        value = performance.number(theirs)
        if value:
            stated[ours] = Metric(value=value, unit="s")
    rate = performance.number("request/s")
    if rate:
        stated["requests_per_second_whole_run"] = Metric(value=rate, unit="requests/s", n=requests)
    decode = fields.object("expert_activation").number("avg_expert_activation_decode")
    if decode:
        stated["experts.distinct_mean"] = Metric(value=decode, unit="experts")
    right, total = quality.number("acc"), quality.count("total")
    if right is not None and total and dataset:
        stated[f"accuracy.{dataset[1]}"] = Metric(value=right, unit="1", n=total)
    return Found(
        tool="moe-cap",
        model=about.object("model_config").text("model_name"),
        engine=system.text("inference_engine"),
        engine_version=_known(system.text("inference_engine_version")),
        hardware=hardware.text("gpu_type"),
        devices=hardware.count("num_gpus"),
        precision=about.object("model_config").text("precision"),
        num_requests=requests,
        dataset=dataset[1] if dataset else None,
        stated=stated,
        no_requests="MoE-CAP's metrics are a summary",
        remarks=(REMARK,),
    )


def _known(text: str | None) -> str | None:
    return None if text == "unknown" else text
