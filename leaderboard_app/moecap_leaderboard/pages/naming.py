"""How pages name what rows are of: hardware, engines, loads and whole configurations."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from moecap.hardware.registry import load_profile, packaged_id
from moecap.report.figures import TIMES

__all__ = [
    "configuration_name",
    "engine_name",
    "engine_version",
    "hardware_name",
    "listed",
    "load_key",
    "load_name",
    "names_host",
    "placed_hardware",
    "plural",
    "row_name",
]

_ENGINES = {
    "vllm": "vLLM",
    "sglang": "SGLang",
    "trtllm": "TensorRT-LLM",
    "llamacpp": "llama.cpp",
    "ktransformers": "KTransformers",
    "transformers": "Transformers",
}


def engine_name(name: str) -> str:
    """An engine as its makers write it; one that is not known as the row says it."""
    return _ENGINES.get(name, name)


def engine_version(item: Mapping[str, Any]) -> str:
    """The engine of a row with its version and settings, as far as the row states them."""
    name, version = item["engine"]["name"], item["engine"]["version"]
    named = any(word.lower() in version.lower() for word in (name, engine_name(name)))
    return version if named else f"{engine_name(name)} {version}"


@cache
def hardware_name(identifier: str, stated: str) -> str:
    """The name of the packaged profile, else that which the row states."""
    known = packaged_id(identifier)
    return load_profile(known).name if known else stated


def placed_hardware(item: Mapping[str, Any]) -> str:
    """``8 x H100 SXM5 80GB`` with a sign of multiplication; of a row that names its host too as it says it."""
    hardware = item["hardware"]
    stated = hardware["name"]
    return f"{hardware['count']} {TIMES} {stated if names_host(item) else hardware_name(hardware['id'], stated)}"


def names_host(item: Mapping[str, Any]) -> bool:
    """Whether a row's hardware is a device with a host that does part of the work (``RTX-4090 + 2x Xeon``)."""
    return " + " in item["hardware"]["name"]


def configuration_name(item: Mapping[str, Any]) -> str:
    """Hardware, engine and number format of a row."""
    return f"{placed_hardware(item)}, {engine_name(item['engine']['name'])}, {item['precision'].split(' (')[0]}"


def load_name(item: Mapping[str, Any]) -> str:
    """The load of a row: lengths in tokens and how many requests were in flight."""
    workload = item["workload"]
    lengths = [
        f"{workload[key]:,} {word}" for key, word in (("input_len", "in"), ("output_len", "out")) if workload[key]
    ]
    if workload["concurrency"]:
        lengths.append(f"{workload['concurrency']:,} at once")
    elif workload["rate"]:
        lengths.append(f"{workload['rate']:g} requests/s")
    return ", ".join(lengths) or "load not stated"


def load_key(item: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """What two rows under the same load share; ``None`` where a row does not state its load in full."""
    workload = item["workload"]
    if workload["concurrency"] is None and workload["rate"] is None:
        return None
    if workload["dataset"] is None and None in (workload["input_len"], workload["output_len"]):
        return None
    return tuple(workload[key] for key in ("load", "concurrency", "rate", "input_len", "output_len", "dataset"))


def row_name(item: Mapping[str, Any]) -> str:
    """A row in one line."""
    return f"{item['model']['name']}: {configuration_name(item)}; {load_name(item)}; {item['kind']}"


def plural(count: int, one: str, many: str | None = None) -> str:
    """A number with its noun: ``1 row``, ``1,048 rows``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def listed(words: list[str], joint: str = "and") -> str:
    """Words as a sentence lists them."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {joint} {words[-1]}"
