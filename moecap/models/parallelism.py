"""How a model is split over devices, and how often each tensor is then read in a step, over all of them.

A device reads its share, so a tensor that is split is read once over all ranks, and one that ranks keep copies of is
read by each of them. Over T ranks of tensor parallelism

=============================================================  ==================================================
query heads, output projection, biases and sinks of heads      once
K and V projections, their biases, KV cache, of G KV heads     once where T <= G, else T / G times
latent cache; q_a and kv_a projections of latent attention     T times
index of sparse attention, its cache included                  T times
routers, gates of shared experts, norms, other whole matrices  T times
experts, dense networks, output projection                     once
embedding                                                      once: the one rank that has a token's row reads it
recurrent state with its matrices                              once, groups of B and C as KV heads
=============================================================  ==================================================

Biases that are added after a sum over ranks are added by one rank and count once. Shares are taken as even and as whole
blocks of scales; what an engine pads is no work and is not counted.

Expert parallelism moves experts between devices and changes no sum: each device reads those of its own experts that
the step selected, and the sets of the devices are disjoint. Pipeline parallelism puts each layer on one stage, the
embedding on the first, the output projection on the last: a step passes all stages, so every sum stays. With
data-parallel attention every replica of D reads the attention of all layers, for its own sequences; step tables do not
say which replica a sequence belongs to and need not: a cache entry is in one replica. A step is then one pass of all
replicas together, and its distinct experts are those that all their tokens selected.

Sources: the design page's Definitions; vLLM's ``QKVParallelLinear``, ``MLAAttention``, ``Indexer`` and ``FusedMoE``.
Redundant experts, context parallelism and prefill apart from decode are not covered and cannot be asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from moecap.errors import BadInputError, NotAvailableError
from moecap.models.spec import Attention, DenseFfn, Matrix, ModelSpec

__all__ = ["ONE_DEVICE", "Parallelism"]

_MOST = 2**16


@dataclass(frozen=True, slots=True)
class Parallelism:
    """The numbers of ways in which a model is split.

    Attributes:
        tensor: Ranks that share the heads of an attention, and networks and experts by their width.
        expert: Groups of devices that share out the routed experts; it divides ``tensor * data``, and the devices of
            a group share each expert by its width.
        pipeline: Stages that share out the layers.
        data: Replicas of the attention, each with its own sequences, around one set of routed experts.
        whole_replicas: Whether a replica also keeps shared experts, dense networks and the output projection (data
            parallelism of vLLM); else the devices of all replicas share these (data-parallel attention of SGLang).
    """

    tensor: int = 1
    expert: int = 1
    pipeline: int = 1
    data: int = 1
    whole_replicas: bool = False

    def __post_init__(self) -> None:
        """Check the numbers by themselves.

        Raises:
            BadInputError: If one is below 1, or the experts cannot be shared out over the devices.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "whole_replicas" and not 1 <= value <= _MOST:
                raise BadInputError(f"{field.name} parallelism of {value} is outside 1 to {_MOST}; give one inside")
        stage = self.tensor * self.data
        if stage % self.expert:
            raise BadInputError(
                f"expert parallelism of {self.expert} does not divide the {stage} devices of a stage (tensor times "
                "data); give a divisor"
            )

    @property
    def devices(self) -> int:
        """Devices of all ranks, stages and replicas."""
        return self.tensor * self.data * self.pipeline

    @property
    def network_copies(self) -> int:
        """How often shared experts, dense networks and the output projection are read over all devices."""
        return self.data if self.whole_replicas else 1

    @property
    def whole_copies(self) -> int:
        """How often a tensor that every rank keeps is read over the devices of its stage."""
        return self.tensor * self.data

    def kv_copies(self, attention: Attention) -> int:
        """How often the cache of one sequence is read over the ranks of its replica."""
        if attention.latent_rank:
            return self.tensor
        return max(1, self.tensor // attention.kv_heads)

    def matrix_copies(self, matrix: Matrix, attention: Attention) -> float:
        """How often a matrix of an attention is read over the ranks of one replica, 1 to ``tensor``."""
        if matrix.whole:
            return self.tensor
        return 1 + (self.kv_copies(attention) - 1) * matrix.kv_rows / matrix.rows

    def check(self, spec: ModelSpec) -> None:
        """Refuse a split that the model does not allow.

        Raises:
            BadInputError: If heads or widths do not divide, or there are too few experts or layers.
            NotAvailableError: If it is not known how an attention is split.
        """
        if self.expert > 1:
            experts = min((ffn.experts for ffn in spec.moe_layers), default=0)
            if experts < self.expert:
                raise BadInputError(
                    f"expert parallelism of {self.expert} is more than the {experts} routed experts of {spec.name!r}; "
                    "give at most as many"
                )
        if self.pipeline > len(spec.layers):
            raise BadInputError(
                f"{self.pipeline} pipeline stages are more than the {len(spec.layers)} layers of {spec.name!r}; give "
                "at most as many"
            )
        for layer, _ in spec.groups:
            _check_attention(spec.name, layer.attention, self.tensor)
            ffn = layer.ffn
            network = self.tensor if self.whole_replicas else self.tensor * self.data
            if isinstance(ffn, DenseFfn):
                _check_width(spec.name, "dense network", ffn.matrices, network)
            else:
                _check_width(spec.name, "routed expert", ffn.expert_matrices, self.tensor * self.data // self.expert)
                _check_width(spec.name, "shared expert", ffn.shared_matrices, network)


ONE_DEVICE = Parallelism()
"""No split at all."""


def _check_attention(name: str, attention: Attention, ranks: int) -> None:
    if attention.span == "none" or ranks == 1:
        return
    if attention.heads % ranks:
        raise BadInputError(
            f"{ranks} tensor-parallel ranks cannot share the {attention.heads} heads of {name!r} evenly; give a divisor"
        )
    groups = attention.kv_heads
    if attention.latent_rank or groups % ranks == 0:
        return
    if ranks % groups:
        raise BadInputError(
            f"{ranks} tensor-parallel ranks cannot share the {groups} key and value heads of {name!r} evenly; give a "
            "divisor or a multiple"
        )
    if not any(matrix.kv_rows for matrix in attention.matrices):
        raise NotAvailableError(
            f"how {ranks} tensor-parallel ranks share the {groups} key heads of a {attention.kind} layer of {name!r} "
            f"is not known; give a divisor of {groups}"
        )


def _check_width(name: str, network: str, matrices: tuple[Matrix, ...], ranks: int) -> None:
    """The last matrix that is split is the down-projection, whose columns are the width."""
    width = next((matrix.columns for matrix in reversed(matrices) if not matrix.whole), 0)
    if width % ranks:
        raise BadInputError(
            f"{ranks} parallel ranks cannot share a {network} of {name!r} evenly, which is {width} wide; give a divisor"
        )
