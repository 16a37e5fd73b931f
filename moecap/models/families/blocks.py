"""The parts that decoder families share: grouped-query attention, gated feed-forward networks, the frame of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from moecap.dtypes import canonical_dtype
from moecap.errors import BadInputError, UnknownNameError
from moecap.models.fields import ConfigFields
from moecap.models.quantization import Weights
from moecap.models.spec import Attention, DenseFfn, Layer, Matrix, ModelSpec, MoeFfn, Span

__all__ = ["EXPERTS", "FRAME", "GROUPED", "NO_ATTENTION", "RECURRENT_TYPES", "TOP_K", "Blocks"]

FRAME = ("hidden_size", "num_hidden_layers", "vocab_size", "max_position_embeddings")
"""Keys that every decoder needs."""

GROUPED = ("num_attention_heads",)
"""Keys that grouped-query attention needs besides."""

EXPERTS: tuple[str, ...] = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
"""Keys of the number of routed experts: vendors and versions of transformers write one or another."""

TOP_K: tuple[str, ...] = ("num_experts_per_tok", "experts_per_token", "moe_k", "moe_top_k")
"""Keys of the number of routed experts that a token uses."""

_LAYER_TYPES: dict[str, Span] = {
    "full_attention": "full",
    "sliding_attention": "sliding",
    "chunked_attention": "chunked",
}

RECURRENT_TYPES: dict[str, Span] = {
    "full_attention": "full",
    "attention": "full",
    "linear_attention": "state",
    "mamba": "state",
}
"""Kinds of layers of models that mix attention with recurrent states, in old and new names."""


NO_ATTENTION = Attention("none", 0, 1, 1, 0, 0, (), 0, 0)
"""What stands in a layer that has a network alone."""

_MTP = ("num_nextn_predict_layers", "num_mtp_layers", "num_mtp_modules", "mtp_num_hidden_layers")


@dataclass(frozen=True, slots=True)
class Blocks:
    """Builds the parts of one model from its configuration and its number formats."""

    fields: ConfigFields
    weights: Weights

    @property
    def hidden(self) -> int:
        """Elements of the residual stream."""
        return self.fields.size("hidden_size")

    def matrix(
        self, tensors: str, path: str, rows: int, columns: int, *, kv_rows: int = 0, whole: bool = False
    ) -> Matrix:
        """The matrix at a module path, in the format that the configuration gives to its class.

        Args:
            tensors: The class.
            path: The module path in the checkpoint.
            rows: Outputs.
            columns: Inputs.
            kv_rows: Rows that make keys and values.
            whole: Whether every parallel rank keeps all of it.
        """
        form = self.weights.format(tensors, path)
        return Matrix(path.rpartition(".")[2], rows, columns, form, kv_rows=kv_rows, whole=whole)

    def over(self, keys: Mapping[str, Any]) -> Blocks:
        """The same builder with other values for some keys of the configuration."""
        return replace(self, fields=ConfigFields({**self.fields.config, **keys}, self.fields.name))

    def renamed(self, names: Mapping[str, str]) -> Blocks:
        """The same builder with keys of the configuration under the names that most families use.

        Args:
            names: The usual name of each key of this family; one that stands under its usual name stays.
        """
        config = self.fields.config
        given = [(usual, config[own]) for own, usual in names.items() if config.get(own) is not None]
        return self.over({usual: value for usual, value in given if config.get(usual) is None})

    def at(self, layer: int) -> Blocks:
        """The builder of one layer: transformers 5 writes what differs between layers under ``per_layer_config``."""
        own = self.fields.table("per_layer_config").get(str(layer))
        if own is None:
            return self
        if not isinstance(own, dict):
            raise self.fields.bad("per_layer_config", own, "an object of objects")
        return self.over(own)

    def uncounted(self, reading: str) -> str:
        """A reading that says where multi-token-prediction layers are left out."""
        extra = self.fields.count(*_MTP)
        return reading + ("; multi-token-prediction layers are not counted" if extra else "")

    def spans(
        self, default: Sequence[Span] | Span = "full", kinds: Mapping[str, Span] | None = None
    ) -> tuple[tuple[Span, int], ...]:
        """The span and the window of every layer: from ``layer_types`` where it is given, else the default.

        Args:
            default: The span of each layer, or one for all.
            kinds: The kinds of layers that the architecture has, with their spans; kinds of attention by default.

        Raises:
            BadInputError: If ``layer_types`` has another length or an unknown kind, or a window is missing.
        """
        fields = self.fields
        count = fields.layer_count()
        spans = [default] * count if isinstance(default, str) else list(default)
        kinds = _LAYER_TYPES if kinds is None else kinds
        key = "layer_types" if fields.has("layer_types") else "layers_block_type"
        types = fields.texts(key)
        if types:
            unknown = sorted(set(types) - kinds.keys())
            if len(types) != count or unknown:
                raise fields.bad(key, unknown or len(types), f"{count} of {', '.join(kinds)}")
            spans = [kinds[kind] for kind in types]
        window = fields.optional_size("sliding_window") if "sliding" in spans else 0
        chunk = fields.optional_size("attention_chunk_size", "attention_chunk") if "chunked" in spans else 0
        if window is None or chunk is None:
            fields.require("sliding_window" if window is None else "attention_chunk_size")
            raise fields.bad("sliding_window" if window is None else "attention_chunk_size", 0, "a positive integer")
        return tuple((span, {"sliding": window, "chunked": chunk}.get(span, 0)) for span in spans)

    def head_dim(self) -> int:
        """Elements of one head: its own key, or the share of the residual stream.

        Raises:
            BadInputError: If there is no key and the heads do not divide the residual stream.
        """
        given = self.fields.optional_size("head_dim", "attention_head_dim")
        heads = self.fields.size("num_attention_heads")
        if given is None and self.hidden % heads:
            raise self.fields.bad("num_attention_heads", heads, f"a divisor of hidden_size = {self.hidden}")
        return given or self.hidden // heads

    def grouped_attention(
        self,
        layer: int,
        span: tuple[Span, int],
        *,
        qkv_bias: bool = False,
        output_bias: bool = False,
        norms: str = "none",
        sinks: bool = False,
        gate: bool = False,
        kv_heads: int | None = None,
        value_dim: int | None = None,
        path: str = "",
    ) -> Attention:
        """Multi-head or grouped-query attention.

        Args:
            layer: Number of the layer.
            span: Its span and window.
            qkv_bias: Whether the projections of queries, keys and values have biases.
            output_bias: Whether the output projection has one.
            norms: ``"head"`` for norms of queries and keys over one head, ``"all"`` over all heads, ``"own"`` for the
                same of which a parallel rank keeps the part of its own heads.
            sinks: Whether each head has a learned sink.
            gate: Whether the projection of queries also makes a gate of the output, of as many elements.
            kv_heads: Key and value heads; by default as the configuration says, or as many as query heads.
            value_dim: Elements of a value of one head; as many as of a key by default.
            path: What stands before the names of the projections in the checkpoint.
        """
        fields = self.fields
        heads, dim = fields.size("num_attention_heads"), self.head_dim()
        kv_heads = kv_heads or fields.size("num_key_value_heads", default=heads)
        value_dim = value_dim or dim
        if heads % kv_heads:
            raise fields.bad("num_key_value_heads", kv_heads, f"a divisor of num_attention_heads = {heads}")
        queries, keys, values = heads * dim * (1 + gate), kv_heads * dim, kv_heads * value_dim
        path = path or f"model.layers.{layer}.self_attn."
        other = (queries + keys + values) * qkv_bias + self.hidden * output_bias + heads * sinks
        normed = {"none": 0, "head": 2 * dim, "all": heads * dim + keys, "own": heads * dim + keys}[norms]
        return Attention(
            span=span[0],
            window=span[1],
            heads=heads,
            kv_heads=kv_heads,
            key_dim=dim,
            value_dim=value_dim,
            matrices=(
                self.matrix("attention", path + "q_proj", queries, self.hidden),
                self.matrix("attention", path + "k_proj", keys, self.hidden, kv_rows=keys),
                self.matrix("attention", path + "v_proj", values, self.hidden, kv_rows=values),
                self.matrix("attention", path + "o_proj", self.hidden, heads * value_dim),
            ),
            other_params=other + normed,
            kv_params=(keys + values) * qkv_bias + keys * (norms == "own"),
            whole_params=normed * (norms != "own"),
            cached_elements=keys + values,
        )

    def gated(
        self, tensors: str, path: str, width: int, names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj")
    ) -> tuple[Matrix, ...]:
        """The three matrices of a gated feed-forward network of a given width."""
        gate, up, down = names
        return (
            self.matrix(tensors, f"{path}.{gate}", width, self.hidden),
            self.matrix(tensors, f"{path}.{up}", width, self.hidden),
            self.matrix(tensors, f"{path}.{down}", self.hidden, width),
        )

    def dense(self, layer: int, width: int, bias: bool = False) -> DenseFfn:
        """A dense gated feed-forward network."""
        other = (2 * width + self.hidden) * bias
        return DenseFfn(self.gated("dense", f"model.layers.{layer}.mlp", width), other)

    def routing(self) -> tuple[int, int]:
        """The number of routed experts N and the number k that a token uses.

        Raises:
            BadInputError: If k is larger than N.
        """
        fields = self.fields
        experts, top_k = fields.size(*EXPERTS), fields.size(*TOP_K)
        if top_k > experts:
            raise fields.bad("num_experts_per_tok", top_k, f"at most the number of experts, {experts}")
        return experts, top_k

    def mixture(
        self,
        layer: int,
        routing: tuple[int, int],
        width: int,
        *,
        shared_width: int = 0,
        shared_path: str = "shared_experts",
        shared_gate: bool = False,
        shared_bias: bool = False,
        correction_bias: bool = False,
        module: str = "mlp",
        names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj"),
    ) -> MoeFfn:
        """A mixture of gated experts without biases, as most families have it.

        Args:
            layer: Number of the layer.
            routing: N and k.
            width: Inner width of one routed expert.
            shared_width: Inner width of the shared experts together; 0 for none.
            shared_path: Their name in the checkpoint.
            shared_gate: Whether a matrix of one row weighs the shared experts.
            shared_bias: Whether the shared experts have biases.
            correction_bias: Whether the router has a score-correction bias.
            module: The mixture's name in the checkpoint.
            names: Names of an expert's gate, up and down projections.
        """
        path = f"model.layers.{layer}.{module}"
        shared = self.gated("shared", f"{path}.{shared_path}", shared_width) if shared_width else ()
        return MoeFfn(
            router=self.matrix("router", f"{path}.gate", routing[0], self.hidden),
            router_other_params=routing[0] * correction_bias,
            experts=routing[0],
            top_k=routing[1],
            expert_matrices=self.gated("experts", f"{path}.experts.0", width, names),
            shared_matrices=shared,
            shared_other_params=(2 * shared_width + self.hidden) * (shared_bias and shared_width > 0),
            shared_gate=self.matrix("router", f"{path}.shared_expert_gate", 1, self.hidden) if shared_gate else None,
        )

    def state_dtype(self) -> str:
        """Number format of recurrent states: as the configuration says, else fp32, in which engines keep them.

        Raises:
            BadInputError: If the configuration names an unknown format.
        """
        key = "mamba_ssm_cache_dtype" if self.fields.has("mamba_ssm_cache_dtype") else "mamba_ssm_dtype"
        try:
            return canonical_dtype(self.fields.text(key, "fp32"))
        except UnknownNameError:
            raise self.fields.bad(key, self.fields.text(key), "a number format") from None

    def model(
        self,
        layers: Sequence[Layer],
        reading: str,
        *,
        norm_params: int | None = None,
        head_bias: bool = False,
        tied: bool = False,
        mtp_params: int = 0,
    ) -> ModelSpec:
        """The model around its layers.

        Args:
            layers: The decoder layers.
            reading: Which reading built them.
            norm_params: Elements of the last norm; the residual stream's by default.
            head_bias: Whether the output projection has a bias.
            tied: Whether embedding and output projection are one where the configuration does not say.
            mtp_params: Parameters of multi-token-prediction layers.
        """
        fields, weights = self.fields, self.weights
        vocabulary = fields.size("vocab_size")
        names = fields.texts("architectures")
        if not layers:
            raise BadInputError(f"the config of {fields.name!r} has no layers; give a config.json of a decoder")
        return ModelSpec(
            name=fields.name,
            architecture=names[0] if names else fields.text("model_type", "unnamed"),
            reading="; ".join(part for part in (reading, weights.assumption) if part),
            layers=tuple(layers),
            hidden_size=self.hidden,
            vocab_size=vocabulary,
            max_context=fields.size("max_position_embeddings"),
            embedding=self.matrix("embedding", "model.embed_tokens", vocabulary, self.hidden),
            lm_head=self.matrix("lm_head", "lm_head", vocabulary, self.hidden),
            lm_head_other_params=vocabulary * head_bias,
            final_norm_params=self.hidden if norm_params is None else norm_params,
            tied=fields.flag("tie_word_embeddings", tied),
            vector_dtype=weights.dtype,
            kv_dtype=weights.kv_dtype,
            mtp_params=mtp_params,
        )
