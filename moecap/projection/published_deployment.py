"""The deployment behind a published row: what its fields say, and what the public scripts of its source say besides."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from moecap.errors import BadInputError
from moecap.hardware.registry import load_profile
from moecap.metrics.memory_layout import Layout
from moecap.models.parallelism import Parallelism
from moecap.models.reading import read_model
from moecap.models.registry import load_model_config
from moecap.models.spec import ModelSpec
from moecap.projection.coefficients import engine_family, generation
from moecap.projection.deployment import Deployment
from moecap.projection.placement import Placement

__all__ = ["Served", "published_deployment"]

_NAMES = {
    "mixtral-8x22b": "mixtral-8x22b",
    "minimax-m2.5": "minimax-m2.5",
    "qwen3-235b-a22b": "qwen3-235b-a22b",
    "qwen3-235b-a22b-fp8": "qwen3-235b-a22b",
    "qwen3-30b-a3b": "qwen3-30b-a3b",
    "qwen3-coder-30b-a3b-instruct": "qwen3-30b-a3b",
    "gpt-oss-120b": "gpt-oss-120b",
    "gpt-oss-20b": "gpt-oss-20b",
    "llama-4-scout-17b-16e": "llama-4-scout",
    "llama-4-scout-17b-16e-instruct": "llama-4-scout",
    "llama-4-maverick-17b-128e": "llama-4-maverick",
    "deepseek-v3": "deepseek-v3",
}

_KEPT_WIDE = ["lm_head", "router", "*.mlp.gate", "*.block_sparse_moe.gate"]
_FP8 = {"quant_method": "modelopt", "quant_algo": "FP8", "exclude_modules": _KEPT_WIDE}
_FP8_BLOCK = {"quant_method": "fp8", "weight_block_size": [128, 128]}
_INT4 = {"quant_method": "gptq", "bits": 4, "group_size": 32}
"""Q4_K_M mixes blocks of 4.5 and of 6.6 bits, 4.8 in the mean; integers of 4 bits in groups of 32 take 4.6."""
_FP4 = {"quant_method": "modelopt", "quant_algo": "NVFP4", "exclude_modules": _KEPT_WIDE}


@dataclass(frozen=True, slots=True)
class Served:
    """What a row says of how a model was served.

    Attributes:
        model: The model.
        hardware: Id of the accelerator's profile.
        machine: The machine in words, with a host after `` + `` where its processors compute experts.
        engine: The engine with its version.
        precision: The number formats.
        parallel: The split; empty for tensor parallelism over all devices.
        devices: Accelerators.
        group: The set of published rows.
    """

    model: str
    hardware: str
    machine: str
    engine: str
    precision: str
    parallel: str
    devices: int
    group: str


@lru_cache(maxsize=512)
def published_deployment(served: Served) -> Deployment:
    """The deployment; one object for all rows that say the same.

    Raises:
        BadInputError: If the row contradicts itself, or no rule knows what it says.
        UnknownNameError: If there is no such model or profile.
    """
    family, group = engine_family(_versioned(served.engine)), served.group
    named = served.model.lower()
    split, profile = _parallelism(served.parallel, served.devices), load_profile(served.hardware)
    if family == "trtllm" and group.startswith("trtllm-"):
        split = _replicated(split)
    scripted = group == "inferencemax" and family == "vllm"
    # InferenceMAX's script for MiniMax-M2.5 on H200 turns expert parallelism on also where the field says EP 1; its
    # experts, 1,536 wide, would not be whole blocks of 128 over 8 ranks.
    if scripted and "minimax-m2.5" in named:
        split = replace(split, expert=split.tensor)
    # Its scripts for gpt-oss ask for kv-cache-dtype: fp8 on Blackwell, not on Hopper, and on both for graphs of up to
    # 2,048 tokens (max-cudagraph-capture-size).
    narrow = scripted and generation(profile) == "Blackwell" and "gpt-oss" in named
    captured = 2048 if scripted and "gpt-oss" in named else None
    used = re.search(r"\((\d+) of \d+ experts\)", served.engine)
    spec = _spec(served.model, served.precision, family, narrow, int(used[1]) if used else 0)
    split.check(spec)
    return Deployment(spec, profile, split, family, replayed_tokens=captured, placement=_placement(served.machine))


def _versioned(engine: str) -> str:
    """An engine with the version that it must have had, where the row gives none.

    InferenceMAX's rows without a version, of November 2025, are of an older vLLM that was told ``async-scheduling``: it
    schedules as the newer family does.
    """
    return "vllm 0.11" if "ML.ENERGY v3" in engine else engine


def _placement(machine: str) -> Placement | None:
    """Experts computed by the processors of a host that the row names: ``GPU + 2x Xeon Gold 6454S, 2x8xDDR5-4800``."""
    _, plus, host = machine.partition(" + ")
    if not plus:
        return None
    found = re.fullmatch(r"(\d+)x (.+?), (?:(\d+)x)?(\d+)x(DDR\d-\d+)", host)
    if found is None:
        raise BadInputError(f"no rule for the host {host!r}; write it as 2x Xeon Gold 6454S, 2x8xDDR5-4800")
    sockets, name, channels = int(found[1]), found[2], int(found[3] or 1) * int(found[4])
    layout = Layout.model_validate(
        {"experts": "dram", "cpu_share": 1, "tiers": {"dram": {"kind": found[5].lower(), "units": channels}}}
    )
    return Placement(layout, load_profile(f"{name.lower().replace(' gold', '').replace(' ', '-')}-1s"), sockets)


def _replicated(split: Parallelism) -> Parallelism:
    """The split of NVIDIA's tables of TensorRT-LLM 1.0, whose columns name the ranks alone.

    Their page gives all mixtures ``enable_attention_dp`` and ``--ep``: a replica of everything but the routed experts
    on each rank. It names no number for ``--ep``; all ranks are assumed.
    """
    ranks = split.tensor
    return Parallelism(expert=ranks, pipeline=split.pipeline, data=ranks, whole_replicas=ranks > 1)


def _parallelism(text: str, devices: int) -> Parallelism:
    """The split that a row describes: ``TP4 attnDP1 moeTP2 EP2 PP1``, ``TP8``, ``tp=1 ep=4 dp=1``."""
    if not text:
        return Parallelism(tensor=devices)
    numbers = {key.lower(): int(n) for key, n in re.findall(r"(attnDP|moeTP|TP|EP|PP|tp|ep|dp)=?(\d+)", text)}
    expert, pipeline = numbers.get("ep", 1), numbers.get("pp", 1)
    data = numbers.get("attndp", numbers.get("dp", 1))
    tensor = numbers.get("tp", devices)
    if "leaderboard" in text:
        tensor = max(tensor, expert)
    split = Parallelism(tensor=tensor, expert=expert, pipeline=pipeline, data=data)
    if split.devices != devices:
        raise BadInputError(f"{text!r} is a split over {split.devices} devices and the row has {devices}; mend the row")
    return split


@lru_cache(maxsize=128)
def _spec(model: str, precision: str, family: str, narrow_cache: bool, top_k: int = 0) -> ModelSpec:
    short = model.rsplit("/", maxsplit=1)[-1].lower()
    config, ref = load_model_config(_NAMES.get(short, short))
    if top_k:
        config = {**config, "num_experts_per_tok": top_k}
    first = precision.lower().split(" ")[0]
    quantised = bool(config.get("quantization_config"))
    narrow_cache |= family.startswith("trtllm") and first in ("fp8", "fp4") and not quantised
    cache = "fp8" if narrow_cache else None
    if first in ("bfloat16", "bf16", "fp16", "float16"):
        return read_model(config, ref.id, weights="bf16", kv=cache)
    if quantised and first in ("fp8", "mxfp4", "fp4"):
        return read_model(config, ref.id, kv=cache)
    if first == "q4_k_m":
        return read_model({**config, "quantization_config": _INT4}, ref.id)
    added = {"fp8": _FP8_BLOCK if "block" in precision else _FP8, "fp4": _FP4, "nvfp4": _FP4}.get(first)
    if added is None:
        raise BadInputError(f"no rule for precision {precision!r}; known: bf16, fp16, fp8, fp4, mxfp4, q4_k_m")
    return read_model({**config, "quantization_config": added}, ref.id, kv=cache)
