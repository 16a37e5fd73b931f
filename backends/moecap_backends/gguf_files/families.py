"""How the families of models that can be converted are laid out in a GGUF file: names, order of rows, settings.

llama.cpp runs Llama and Mixtral as its architecture ``llama``, whose rotary embedding takes pairs side by side in place
of two halves of a head: the rows of their query and key projections are put into that order. Qwen3-MoE and OLMoE keep
theirs. What llama.cpp has fixed in its graph of an architecture (whether the weights of the chosen experts sum to one,
that every layer is a mixture) must be so in the configuration, or the file would compute another model.

Source: llama.cpp, ``src/models`` and ``convert_hf_to_gguf.py``; the tensors' names are those of the ``gguf`` package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from moecap.errors import BadInputError, NotBuiltError

__all__ = ["FAMILIES", "Family", "refuse_unlike", "rope_pairs", "settings"]


@dataclass(frozen=True, slots=True)
class Family:
    """One family.

    Attributes:
        architecture: llama.cpp's name.
        experts: Keys under which the number of routed experts may stand.
        expert_width: Key of the width of an expert, where it has one of its own.
        paired: Whether the rows of queries and keys are put into pairs.
        normalised: Whether the weights of the chosen experts sum to one in llama.cpp's graph.
        head_dim: Whether heads may have another width than hidden / heads.
    """

    architecture: str
    experts: tuple[str, ...] = ()
    expert_width: str | None = None
    paired: bool = False
    normalised: bool | None = None
    head_dim: bool = True


FAMILIES: dict[str, Family] = {
    "llama": Family("llama", paired=True),
    "mixtral": Family("llama", ("num_local_experts",), paired=True),
    "olmoe": Family("olmoe", ("num_experts", "num_local_experts"), normalised=False, head_dim=False),
    "qwen3_moe": Family("qwen3moe", ("num_experts", "num_local_experts"), "moe_intermediate_size", normalised=True),
}
"""By ``model_type`` of ``config.json``."""

_NEEDED = (
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "rms_norm_eps",
    "vocab_size",
)
"""Keys whose defaults are not the same in all families."""


def refuse_unlike(config: Mapping[str, Any]) -> Family:
    """The family of a model, if llama.cpp's graph computes exactly this one.

    Raises:
        NotBuiltError: Naming what cannot be converted.
        BadInputError: If the configuration leaves open what the file has to say.
    """
    kind = str(config.get("model_type"))
    if kind not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise NotBuiltError(f"a model of type {kind!r} cannot be converted to GGUF yet ({known} can); give a GGUF file")
    family = FAMILIES[kind]
    rope = _rope(config)
    needed = [*_NEEDED, *(("num_experts_per_tok",) if family.experts else ()), *filter(None, [family.expert_width])]
    missing = [key for key in needed if config.get(key) is None]
    if _rope_base(config) is None:
        missing.append("rope_theta")
    if missing:
        raise BadInputError(
            f"config.json does not say {', '.join(missing)} of this {kind} model; add what it was trained with"
        )
    unlike = {
        "quantization_config": config.get("quantization_config"),
        "rope scaling": rope.get("rope_type", rope.get("type", "default")) != "default",
        "partial rotary embedding": (config.get("partial_rotary_factor") or 1) != 1,
        "sliding_window": config.get("sliding_window") is not None and config.get("use_sliding_window") is not False,
        "clip_qkv": config.get("clip_qkv"),
        "attention_bias": config.get("attention_bias"),
        "mlp_bias": config.get("mlp_bias"),
        "mlp_only_layers": config.get("mlp_only_layers"),
        "decoder_sparse_step": config.get("decoder_sparse_step", 1) != 1,
        f"hidden_act {config.get('hidden_act')!r}": config.get("hidden_act", "silu") != "silu",
        "norm_topk_prob": family.normalised is not None and config.get("norm_topk_prob", False) != family.normalised,
        "head_dim": not family.head_dim and _head_dim(config) * config["num_attention_heads"] != config["hidden_size"],
    }
    for name, found in unlike.items():
        if found:
            raise NotBuiltError(
                f"this {kind} model cannot be converted to GGUF: its {name} is not what llama.cpp's graph computes"
            )
    return family


def settings(config: Mapping[str, Any], family: Family) -> dict[str, tuple[str, int | float]]:
    """What the GGUF file says of the model: a value type (``uint32``, ``float32``) and value by key."""
    head = _head_dim(config)
    heads = config["num_attention_heads"]
    values: dict[str, int | float] = {
        "block_count": config["num_hidden_layers"],
        "context_length": config["max_position_embeddings"],
        "embedding_length": config["hidden_size"],
        "feed_forward_length": config["intermediate_size"],
        "attention.head_count": heads,
        "attention.head_count_kv": config.get("num_key_value_heads") or heads,
        "attention.key_length": head,
        "attention.value_length": head,
        "attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
        "rope.freq_base": float(_rope_base(config)),
        "rope.dimension_count": head,
        "vocab_size": config["vocab_size"],
    }
    if family.experts:
        values["expert_count"] = next(config[key] for key in family.experts if config.get(key))
        values["expert_used_count"] = config["num_experts_per_tok"]
    if family.expert_width is not None:
        values["expert_feed_forward_length"] = config[family.expert_width]
    return {
        f"{family.architecture}.{key}": ("float32" if isinstance(value, float) else "uint32", value)
        for key, value in values.items()
    }


def rope_pairs(weight: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """Put the two halves of each head side by side, row by row.

    Args:
        weight: [heads · head_dim, ...] with the halves one after the other.
        heads: Query heads, or key/value heads.
    """
    rows, rest = weight.shape[0], weight.shape[1:]
    return weight.reshape(heads, 2, rows // heads // 2, *rest).swapaxes(1, 2).reshape(rows, *rest)


def _rope(config: Mapping[str, Any]) -> Mapping[str, Any]:
    return config.get("rope_parameters") or config.get("rope_scaling") or {}


def _rope_base(config: Mapping[str, Any]) -> Any:
    """Base of the rotary embedding; ``None`` where the configuration does not say it."""
    return _rope(config).get("rope_theta", config.get("rope_theta"))


def _head_dim(config: Mapping[str, Any]) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])
