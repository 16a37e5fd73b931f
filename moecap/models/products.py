"""In which number format each product of a model is computed, and how many FLOPs a token takes in each.

=====================================================  ============================================================
a matrix whose inputs are quantised too                the format of the inputs: fp8 of W8A8, int8 of W4A8
a matrix that is quantised alone, or not at all        the format of the activations, to which its elements are widened
scores and values of attention                         fp8 where the KV cache is fp8, else the activations' format
=====================================================  ============================================================

GPTQ, AWQ, MXFP4 and ModelOpt's weight-only formats quantise weights alone. With a cache in fp8 the attention kernels of
Hopper and later quantise the query too (FlashAttention 3, FlashInfer); a kernel that widens the cache instead computes
in a slower format, and S-MFU is then a lower bound. A cache in integers is widened.

Routers and the output projection are products like others: the configuration says whether they are quantised, which is
rare. The FLOPs of an index and of a recurrent state are counted with the scores.

Sources: the quantisation configurations of compressed-tensors, ModelOpt and transformers; vLLM's documentation of
quantised KV caches.
"""

from __future__ import annotations

from collections.abc import Iterator

from moecap.models.spec import Matrix, ModelSpec, MoeFfn

__all__ = [
    "dense_linear_flops",
    "format_names",
    "head_format",
    "linear_flops",
    "linear_products",
    "product_formats",
    "score_format",
]


def linear_products(spec: ModelSpec) -> Iterator[tuple[str, Matrix, float]]:
    """Class, matrix and the times that one token is multiplied with it, over all layers; no output projection."""
    for layer, count in spec.groups:
        ffn = layer.ffn
        for matrix in layer.attention.matrices:
            yield "attention", matrix, count
        if isinstance(ffn, MoeFfn):
            yield "router", ffn.router, count
            for matrix in ffn.expert_matrices:
                yield "experts", matrix, count * ffn.used_experts
            for matrix in ffn.shared:
                yield "shared", matrix, count
        else:
            for matrix in ffn.matrices:
                yield "dense", matrix, count


def linear_flops(spec: ModelSpec, activations: str) -> dict[str, int]:
    """FLOPs of one token by the format that multiplies, without the output projection, for Σ FLOPs_f / peak_f.

    Args:
        spec: The model.
        activations: Format of the activations.
    """
    flops: dict[str, int] = {}
    for _, matrix, times in linear_products(spec):
        name = _format(matrix, activations)
        flops[name] = flops.get(name, 0) + round(2 * times * matrix.params)
    return flops


def dense_linear_flops(spec: ModelSpec, activations: str) -> dict[str, int]:
    """The same with all N routed experts in place of top-k."""
    spare: dict[str, float] = {}
    for ffn in spec.moe_layers:
        for matrix in ffn.expert_matrices:
            name = _format(matrix, activations)
            spare[name] = spare.get(name, 0.0) + (ffn.experts - ffn.used_experts) * matrix.params
    return {name: count + round(2 * spare.get(name, 0.0)) for name, count in linear_flops(spec, activations).items()}


def head_format(spec: ModelSpec, activations: str) -> str:
    """The format in which the output projection is computed."""
    return _format(spec.lm_head, activations)


def score_format(spec: ModelSpec, activations: str) -> str:
    """The format in which scores and values of attention are computed."""
    return "fp8" if spec.kv_dtype == "fp8" else activations


def product_formats(spec: ModelSpec, activations: str) -> dict[str, str]:
    """The format in which each class is computed: one name, or several joined by ``+`` where layers differ.

    Args:
        spec: The model.
        activations: Format of the activations.

    Returns:
        The classes of :attr:`moecap.models.spec.ModelSpec.weight_dtypes` that are multiplied with, and ``scores``.
    """
    found: dict[str, dict[str, None]] = {}
    for tensors, matrix, _ in linear_products(spec):
        found.setdefault(tensors, {})[_format(matrix, activations)] = None
    return {tensors: "+".join(names) for tensors, names in found.items()} | {
        "lm_head": head_format(spec, activations),
        "scores": score_format(spec, activations),
    }


def format_names(spec: ModelSpec, activations: str) -> tuple[str, ...]:
    """Every format in which something of the model is computed, that of most FLOPs of a token first."""
    linear = linear_flops(spec, activations)
    ordered = sorted(linear, key=lambda name: -linear[name])
    return tuple(dict.fromkeys([*ordered, head_format(spec, activations), score_format(spec, activations)]))


def _format(matrix: Matrix, activations: str) -> str:
    return matrix.format.inputs or activations
