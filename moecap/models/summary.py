"""The accounting of a model and of one decode step, as one record: what ``moecap models show`` answers."""

from __future__ import annotations

from dataclasses import dataclass

from moecap.errors import BadInputError
from moecap.models.accounting import (
    DecodeFlops,
    Parameters,
    StepBytes,
    checkpoint_bytes,
    count_parameters,
    decode_flops_per_token,
    decode_step_bytes,
    expected_distinct_experts,
    kv_bytes,
    kv_bytes_per_token,
    state_bytes,
)
from moecap.models.parallelism import Parallelism
from moecap.models.spec import ModelSpec

__all__ = ["ModelSummary", "summarise"]

_DEFAULT_CONTEXT = 1024
_MOST_SEQUENCES = 2**20


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """The numbers of one model.

    Attributes:
        spec: The model.
        context: Entries in each sequence's cache after the step.
        batch: Sequences in the step.
        experts: Distinct routed experts a MoE layer in the step.
        experts_given: Whether they were given; else they are those of uniform routing.
        parallelism: How the model is split over devices.
        parameters: Parameters in all conventions.
        flops: FLOPs of one decoded token at the context.
        step: Bytes that the decode step reads over all devices.
        checkpoint: Bytes of all weights.
        kv_per_token: Bytes of cache that one token adds, no window applied.
        kv_sequence: Bytes of cache that one sequence reads at the context, windows applied.
    """

    spec: ModelSpec
    context: int
    batch: int
    experts: float
    experts_given: bool
    parallelism: Parallelism
    parameters: Parameters
    flops: DecodeFlops
    step: StepBytes
    checkpoint: int
    kv_per_token: int
    kv_sequence: int

    @property
    def attention_kinds(self) -> list[str]:
        """The kinds of attention among the layers."""
        return sorted({layer.attention.kind for layer, _ in self.spec.groups})

    @property
    def experts_source(self) -> str:
        """Where the number of distinct experts comes from."""
        return "given" if self.experts_given else "uniform routing"

    @property
    def step_bytes_per_device(self) -> float:
        """Bytes that a device reads in the step, the mean of all: each row of the embedding is read by one of them."""
        return self.step.total / self.parallelism.devices

    def as_json(self) -> dict[str, object]:
        """The record with the keys of the command line's contract; SI units."""
        spec, parameters = self.spec, self.parameters
        first = spec.moe_layers[0] if spec.is_moe else None
        return {
            "name": spec.name,
            "architecture": spec.architecture,
            "reading": spec.reading,
            "total_params": parameters.total,
            "active_params": parameters.active,
            "active_params_with_embedding": parameters.active_with_embedding,
            "active_params_without_lm_head": parameters.active_without_lm_head,
            "expert_params": parameters.expert,
            "expert_params_total": parameters.experts,
            "mtp_params": parameters.mtp,
            "moe_layers": parameters.moe_layers,
            "dense_layers": parameters.dense_layers,
            "routed_experts": first.experts if first else 0,
            "top_k": first.top_k if first else 0,
            "zero_experts": first.zero_experts if first else 0,
            "attention": self.attention_kinds,
            "max_context": spec.max_context,
            "weight_dtypes": spec.weight_dtypes,
            "kv_dtype": spec.kv_dtype,
            "checkpoint_bytes": self.checkpoint,
            "kv_bytes_per_token": self.kv_per_token,
            "context": self.context,
            "batch": self.batch,
            "experts": int(self.experts) if self.experts_given else self.experts,
            "experts_source": self.experts_source,
            "kv_bytes": self.kv_sequence,
            "state_bytes": state_bytes(spec),
            "flops_per_token": {
                "linear": self.flops.linear,
                "attention": self.flops.attention,
                "total": self.flops.total,
            },
            "step_bytes": {
                "non_expert_weights": self.step.non_expert_weights,
                "expert_weights": self.step.expert_weights,
                "kv_read": self.step.kv_read,
                "total": self.step.total,
            },
            "tensor_parallel": self.parallelism.tensor,
            "step_bytes_per_device": self.step_bytes_per_device,
        }


def summarise(
    spec: ModelSpec,
    *,
    context: int | None = None,
    batch: int = 1,
    experts: int | None = None,
    tensor_parallel: int = 1,
) -> ModelSummary:
    """Account for a model and one decode step of it.

    Args:
        spec: The model.
        context: Entries in each sequence's cache after the step; 1024 by default, or the longest context if shorter.
        batch: Sequences in the step.
        experts: Distinct routed experts that the step reads in each MoE layer; by default N(1 - (1 - k/N)^batch).
        tensor_parallel: Devices that share every layer.

    Raises:
        BadInputError: If a value is outside what the model can do.
        NotAvailableError: If it is not known how the devices share a layer.
    """
    parallelism = Parallelism(tensor=tensor_parallel)
    context = min(_DEFAULT_CONTEXT, spec.max_context) if context is None else context
    _check(spec, context, batch, experts)
    distinct = 0.0 if experts is None else float(experts)
    if experts is None and spec.is_moe:
        first = spec.moe_layers[0]
        distinct = float(expected_distinct_experts(first.experts, first.used_experts, batch))
    return ModelSummary(
        spec=spec,
        context=context,
        batch=batch,
        experts=distinct,
        experts_given=experts is not None,
        parallelism=parallelism,
        parameters=count_parameters(spec),
        flops=decode_flops_per_token(spec, context),
        step=decode_step_bytes(spec, batch=batch, context=context, experts=distinct, parallelism=parallelism),
        checkpoint=checkpoint_bytes(spec),
        kv_per_token=kv_bytes_per_token(spec),
        kv_sequence=kv_bytes(spec, context),
    )


def _check(spec: ModelSpec, context: int, batch: int, experts: int | None) -> None:
    if not 1 <= context <= spec.max_context:
        raise BadInputError(
            f"a context of {context} is outside 1 to {spec.max_context}, the longest of {spec.name!r}; give one inside"
        )
    if not 1 <= batch <= _MOST_SEQUENCES:
        raise BadInputError(f"a batch of {batch} is outside 1 to {_MOST_SEQUENCES}; give one inside")
    if experts is None:
        return
    if not spec.is_moe:
        raise BadInputError(f"{experts} experts were asked for and {spec.name!r} has none; leave --experts out")
    most = min(ffn.experts for ffn in spec.moe_layers)
    if not 1 <= experts <= most:
        raise BadInputError(
            f"{experts} experts are outside 1 to {most}, those of a layer of {spec.name!r}; give a number inside"
        )
