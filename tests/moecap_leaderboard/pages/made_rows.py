"""Rows as lists give them, with round numbers that can be reckoned by hand."""

from __future__ import annotations

from typing import Any

METRIC = {"low": None, "high": None, "n": None, "reason": None, "basis": None}


def metric(value: float | None, unit: str = "s", **more: Any) -> dict[str, Any]:
    reason = "not measured" if value is None else None
    return METRIC | {"value": value, "unit": unit, "reason": reason} | more


def row(identifier: str = "r", **changes: Any) -> dict[str, Any]:
    """A published figure of one H100 with vLLM; each change replaces a field, or updates one that is a mapping."""
    made: dict[str, Any] = {
        "id": identifier,
        "kind": "imported",
        "tier": "self_reported",
        "ranked": True,
        "model": {"id": "org/Model", "name": "Model", "revision": None},
        "hardware": {"id": "h100-sxm", "name": "H100", "count": 1},
        "engine": {"name": "vllm", "version": "1.0"},
        "precision": "bf16",
        "workload": {
            "load": "closed",
            "concurrency": 8,
            "rate": None,
            "input_len": 1000,
            "output_len": 101,
            "num_requests": None,
            "dataset": None,
            "tasks": [],
            "tensor_parallel": None,
        },
        "metrics": {},
        "not_recomputed": [],
        "flags": [],
        "source": None,
    }
    for name, value in changes.items():
        made[name] = {**made[name], **value} if isinstance(value, dict) else value
    return made


def speed(tokens_per_second: float, **more: Any) -> dict[str, Any]:
    """The metrics of a row that states its throughput alone."""
    return {"output_tokens_per_second": metric(tokens_per_second, "tokens/s", **more)}
