"""DeepSeek-V4: one key that is also the value, windows beside compressed entries, four residual streams, hashed layers.

Every layer attends a window. Most attend besides it entries that each stand for many tokens: one for 4 tokens, of which
an index selects ``index_topk`` (compressed sparse attention), or one for 128 tokens, all of them (heavily compressed
attention). A layer of the checkpoint with both stands here as two: the attention to the window with all projections,
then that to the compressed entries with what makes them, and the mixture. An entry has ``head_dim`` elements, read once
for the score and for the sum; both multiply all of them.

The streams are mixed before and after both halves of a layer, and once at the end, by weights that a matrix makes of
all of them (manifold-constrained hyper-connections): the matrices are among those of the attention and those that every
token passes around its experts, in fp32 as engines keep them. The first layers choose their experts by a table of token
ids; the table holds no parameters and is not counted. Neither are the inputs of a compressed entry whose tokens have
not all been seen, which no query attends.

Parallel ranks split query heads and output groups; the projections of the key and to the query's rank, all that makes
compressed entries, and the streams' matrices are kept by every rank, as vLLM and SGLang do (``DeepseekV4Attention``).

Sources: DeepSeek-V4 (arXiv 2606.19348), sections 2.2 and 2.3; ``transformers`` 5.19, ``models/deepseek_v4``; formats:
its ``integrations/finegrained_fp8.py`` (experts in fp4 with a scale for 32 inputs, scales of one byte).
"""

from __future__ import annotations

from dataclasses import replace

from moecap.models.families.blocks import EXPERTS, FRAME, GROUPED, TOP_K, Blocks
from moecap.models.quantization import Rule
from moecap.models.spec import Attention, DenseFfn, Layer, Matrix, ModelSpec, MoeFfn, WeightFormat

__all__ = ["read_deepseek_v4"]

_KEYS = ("head_dim", "q_lora_rank", "o_lora_rank", "o_groups", "sliding_window", "moe_intermediate_size", "hc_mult")
_INDEX = ("index_n_heads", "index_head_dim", "index_topk")
_SPARSE, _HEAVY = "compressed_sparse_attention", "heavily_compressed_attention"
_RATIOS = {0: "sliding_attention", 4: _SPARSE, 128: _HEAVY}


def _formats(blocks: Blocks) -> Blocks:
    """The builder with the formats that stand outside ``quantization_config`` or that it states by ``scale_fmt``."""
    fields, weights = blocks.fields, blocks.weights
    if not weights.rules:
        return blocks
    kind = fields.text("expert_dtype", "fp8")
    if kind not in ("fp4", "fp8"):
        raise fields.bad("expert_dtype", kind, "fp4 or fp8")
    rules = weights.rules
    if fields.table("quantization_config").get("scale_fmt") == "ue8m0":
        rules = tuple(
            replace(rule, format=replace(rule.format, scale_bytes=1.0)) if rule.format.dtype == "fp8" else rule
            for rule in rules
        )
    if kind == "fp4":
        rules = (Rule(WeightFormat("fp4", (1, 32), 1.0), frozenset({"experts"})), *rules)
    return replace(blocks, weights=replace(weights, rules=rules))


def _kinds(blocks: Blocks) -> list[str]:
    """The attention of every layer: by ``layer_types``, else the tokens of an entry in ``compress_ratios``.

    Raises:
        BadInputError: If there are neither, too few, or unknown ones.
    """
    fields, layers = blocks.fields, blocks.fields.layer_count()
    fields.require(("layer_types", "compress_ratios"))
    kinds = list(fields.texts("layer_types"))
    if not kinds:
        ratios = fields.config["compress_ratios"]
        if not isinstance(ratios, list) or any(type(ratio) is not int or ratio not in _RATIOS for ratio in ratios):
            raise fields.bad("compress_ratios", ratios, f"a list of {', '.join(map(str, _RATIOS))}")
        # the checkpoint's list goes on with the multi-token-prediction layers
        kinds = [_RATIOS[ratio] for ratio in ratios[:layers]]
    if len(kinds) != layers or set(kinds) - set(_RATIOS.values()):
        raise fields.bad("layer_types", sorted(set(kinds)), f"{layers} of {', '.join(_RATIOS.values())}")
    return kinds


def _streams(blocks: Blocks, path: str, outputs: int) -> Matrix:
    """The matrix that makes the mixing weights of all streams together."""
    form = WeightFormat(blocks.weights.dtype if blocks.weights.overridden else "fp32")
    return Matrix(path.rpartition(".")[2], outputs, blocks.fields.size("hc_mult") * blocks.hidden, form, whole=True)


def _window(blocks: Blocks, layer: int) -> Attention:
    """The attention to the window, and all projections of a layer."""
    fields, hidden = blocks.fields, blocks.hidden
    heads, dim = fields.size("num_attention_heads"), fields.size("head_dim")
    rank, groups, streams = fields.size("q_lora_rank"), fields.size("o_groups"), fields.size("hc_mult")
    if heads % groups:
        raise fields.bad("o_groups", groups, f"a divisor of num_attention_heads = {heads}")
    output, path = groups * fields.size("o_lora_rank"), f"model.layers.{layer}.self_attn."
    mixing = (2 + streams) * streams
    whole = rank + dim + mixing + 3
    return Attention(
        span="sliding",
        window=fields.size("sliding_window"),
        heads=heads,
        kv_heads=1,
        key_dim=dim,
        value_dim=dim,
        matrices=(
            blocks.matrix("attention", path + "q_a_proj", rank, hidden, whole=True),
            blocks.matrix("attention", path + "q_b_proj", heads * dim, rank),
            blocks.matrix("attention", path + "kv_proj", dim, hidden, kv_rows=dim, whole=True),
            blocks.matrix("attention", path + "o_a_proj", output, heads * dim // groups),
            blocks.matrix("attention", path + "o_b_proj", hidden, output),
            _streams(blocks, f"model.layers.{layer}.attn_hc", mixing),
        ),
        other_params=whole + heads,
        whole_params=whole,
        cached_elements=dim,
    )


def _compressor(blocks: Blocks, path: str, width: int, ratio: int) -> tuple[list[Matrix], int]:
    """What makes compressed entries: two projections that stay in the model's dtype, and a bias for each place."""
    names = ("kv_proj", "gate_proj")
    matrices = [blocks.matrix("index", path + name, width, blocks.hidden, kv_rows=width, whole=True) for name in names]
    return matrices, ratio * width


def _compressed(blocks: Blocks, layer: int, kind: str, window: Attention) -> Attention:
    """The attention to compressed entries; those of sparse attention overlap, so that each token makes two."""
    fields = blocks.fields
    dim, path, sparse = window.key_dim, f"model.layers.{layer}.self_attn.compressor.", kind == _SPARSE
    rates = fields.table("compress_rates")
    ratio = rates.get(kind, next(ratio for ratio, name in _RATIOS.items() if name == kind))
    if type(ratio) is not int or not 0 < ratio < 2**31:
        raise fields.bad("compress_rates", ratio, "an object of positive integers")
    matrices, other = _compressor(blocks, path, dim * (1 + sparse), ratio)
    other += dim
    plain = replace(
        window,
        span="full",
        window=0,
        stride=ratio,
        matrices=tuple(matrices),
        other_params=other,
        whole_params=other,
    )
    if not sparse:
        return plain
    fields.require(*_INDEX)
    heads, index = fields.size("index_n_heads"), fields.size("index_head_dim")
    made, biases = _compressor(blocks, path + "indexer.", 2 * index, ratio)
    other += biases + index
    made += [
        blocks.matrix("attention", path + "indexer.q_b_proj", heads * index, fields.size("q_lora_rank"), whole=True),
        blocks.matrix("index", path + "indexer.scorer.weights_proj", heads, blocks.hidden, whole=True),
    ]
    return replace(
        plain,
        span="indexed",
        window=fields.size("index_topk"),
        matrices=(*matrices, *made),
        other_params=other,
        whole_params=other,
        index_elements=index,
        index_flops=2 * heads * index,
    )


def _mixture(blocks: Blocks, layer: int, hashed: bool, last: bool) -> MoeFfn:
    """A mixture with the mixing of the streams around it; behind the last one they become one stream."""
    fields = blocks.fields
    width, streams, bias = fields.size("moe_intermediate_size"), fields.size("hc_mult"), fields.flag("mlp_bias")
    plain = blocks.mixture(
        layer,
        blocks.routing(),
        width,
        shared_width=width * fields.count("n_shared_experts", default=1),
        shared_bias=bias,
        correction_bias=not hashed,
    )
    mixing = (2 + streams) * streams
    made = [_streams(blocks, f"model.layers.{layer}.ffn_hc", mixing)]
    vectors = mixing + 3
    if last:
        made.append(_streams(blocks, "model.hc_head", streams))
        vectors += streams + 1
    return replace(
        plain,
        shared_matrices=(*plain.shared_matrices, *made),
        shared_other_params=plain.shared_other_params + vectors,
        shared_whole_params=vectors,
    )


def read_deepseek_v4(blocks: Blocks) -> ModelSpec:
    """DeepSeek-V4-Flash and V4-Pro."""
    blocks = _formats(blocks)
    fields, hidden = blocks.fields, blocks.hidden
    fields.require(*FRAME, *GROUPED, *_KEYS, EXPERTS, TOP_K)
    count = fields.layer_count()
    types = fields.texts("mlp_layer_types")[:count]
    hashed = [kind == "hash_moe" for kind in types]
    if set(types) - {"hash_moe", "moe"} or len(types) not in (0, count):
        raise fields.bad("mlp_layer_types", sorted(set(types)), f"{count} of hash_moe, moe")
    if not types:
        hashed = [layer < fields.count("num_hash_layers", default=3) for layer in range(count)]
    layers: list[Layer] = []
    for i, kind in enumerate(_kinds(blocks)):
        window, mixture = _window(blocks, i), _mixture(blocks, i, hashed[i], i == count - 1)
        if kind == _RATIOS[0]:
            layers.append(Layer(window, mixture, 2 * hidden))
            continue
        layers.append(Layer(window, DenseFfn(()), hidden))
        layers.append(Layer(_compressed(blocks, i, kind, window), mixture, hidden))
    return blocks.model(layers, blocks.uncounted("deepseek_v4"))
