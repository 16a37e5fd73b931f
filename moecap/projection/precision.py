"""The number formats of a projection: an unquantised checkpoint as an engine would quantise it, by name.

``fp8`` and ``fp4`` (NVFP4, blocks of 16) are weights and inputs in that format in attention, experts and dense
networks; routers, embedding and output projection stay as they are, and so does the KV cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moecap.errors import BadInputError
from moecap.models.reading import is_quantised

__all__ = ["QUANTISED", "quantised_as"]

_KEPT = ["lm_head", "router", "*.mlp.gate", "*.block_sparse_moe.gate"]

QUANTISED = {"fp8": "FP8", "fp4": "NVFP4", "nvfp4": "NVFP4"}
"""Precisions that mean a quantised checkpoint, with the name of the algorithm in NVIDIA's ModelOpt."""


UNQUANTISED = ("bf16", "bfloat16", "fp16", "float16", "fp32", "float32")
"""Precisions of a checkpoint, or of what one that is quantised by itself leaves."""


def quantised_as(config: Mapping[str, Any], precision: str) -> dict[str, Any]:
    """The configuration of the checkpoint that an engine would serve in a precision.

    Args:
        config: The checkpoint's own.
        precision: What was asked for.

    Raises:
        BadInputError: If the precision is not known here, or a checkpoint that is quantised by itself is asked for in
            another narrow format.
    """
    name = precision.lower()
    algorithm = QUANTISED.get(name)
    if algorithm is None:
        if name not in ("auto", *UNQUANTISED):
            known = ", ".join(("auto", *UNQUANTISED, *QUANTISED))
            raise BadInputError(f"precision {precision!r} is not projected; known: {known}")
        return dict(config)
    if is_quantised(config):
        raise BadInputError(
            f"precision {precision!r}: the checkpoint is quantised by itself and is projected as it is; leave it out"
        )
    added = {"quant_method": "modelopt", "quant_algo": algorithm, "exclude_modules": _KEPT}
    return {**config, "quantization_config": added}
