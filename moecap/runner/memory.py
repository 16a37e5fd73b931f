"""The memory that a run needs, before anything is fetched or loaded."""

from __future__ import annotations

from dataclasses import dataclass

from moecap.errors import NotAvailableError
from moecap.models.accounting import cache_bytes, checkpoint_bytes
from moecap.models.activations import activation_bytes
from moecap.models.parallelism import ONE_DEVICE, Parallelism
from moecap.models.spec import ModelSpec

__all__ = ["MemoryNeed", "memory_need", "refuse_memory", "refuse_training"]

OVERHEAD_BYTES = 1_000_000_000
"""Libraries and temporary copies of the largest tensor in each rank, beside weights, KV cache and activations."""

SCORED_TOKENS, SCORED_LOGITS = 256, 64
"""Tokens of a long item of a task, and of the answer in it; the longest of ARC-Easy has 163 and 33 (SmolLM2)."""


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes that a run needs.

    Attributes:
        weights: The weights over all ranks, what they keep copies of once a copy.
        cache: The KV cache of all requests in flight at their full length, likewise.
        activations: The activations of the larger of two passes, in each rank.
        ranks: Ranks that share the model, each on a device of its own or all on one host.
    """

    weights: int
    cache: int
    activations: int
    ranks: int = 1

    @property
    def total(self) -> int:
        """Bytes of all ranks together, as on a host that they share."""
        return self.weights + self.cache + self.ranks * (self.activations + OVERHEAD_BYTES)

    @property
    def of_a_device(self) -> int:
        """Bytes of one rank on a device of its own; tensor parallelism shares evenly."""
        return -(-(self.weights + self.cache) // self.ranks) + self.activations + OVERHEAD_BYTES


def memory_need(
    spec: ModelSpec,
    *,
    concurrency: int,
    prompt: int,
    context: int,
    scored: int,
    activations: str,
    parallelism: Parallelism = ONE_DEVICE,
) -> MemoryNeed:
    """What a load needs.

    The two passes are the prefill of all prompts in flight at once (one row of logits each) and one batch of given
    answers to score (``SCORED_TOKENS`` each, ``SCORED_LOGITS`` rows of logits). Activations are taken as whole in every
    rank, though a part of them is shared.

    Args:
        spec: The model in the formats in which it runs.
        concurrency: Requests in flight.
        prompt: Tokens of the longest prompt.
        context: Tokens of the longest sequence, prompt and answer.
        scored: Given answers that are scored at a time.
        activations: Number format of the activations.
        parallelism: How the model is split over ranks.

    Raises:
        BadInputError: If the model does not allow this split.
        NotAvailableError: If it is not known how a layer is split.
    """
    long = min(SCORED_TOKENS, spec.max_context)
    passes = (
        activation_bytes(spec, tokens=concurrency * prompt, logits_rows=concurrency, dtype=activations),
        activation_bytes(spec, tokens=scored * long, logits_rows=scored * min(SCORED_LOGITS, long), dtype=activations),
    )
    return MemoryNeed(
        weights=checkpoint_bytes(spec, parallelism),
        cache=cache_bytes(spec, context, parallelism) * concurrency,
        activations=max(passes),
        ranks=parallelism.devices,
    )


def refuse_memory(need: MemoryNeed, spec: ModelSpec, formats: str, free: int, *, shared: bool) -> None:
    """Refuse what the memory cannot hold.

    Args:
        need: What the run needs.
        spec: The model.
        formats: Its number formats in words.
        free: Memory that is there, in bytes: of the host that all ranks share, or of each device.
        shared: Whether all ranks share it.
    """
    needed = need.total if shared else need.of_a_device
    if needed <= free:
        return
    each, ranks = (1, need.ranks) if shared else (need.ranks, 1)
    where = "" if need.ranks == 1 else f" with {need.ranks} ranks" if shared else f" on each of {need.ranks} devices"
    raise NotAvailableError(
        f"{spec.name} needs {needed / 1e9:.1f} GB{where} in {formats} (weights {need.weights / each / 1e9:.1f}, KV "
        f"cache {need.cache / each / 1e9:.1f}, activations {ranks * need.activations / 1e9:.1f}, overhead "
        f"{ranks * OVERHEAD_BYTES / 1e9:.1f}), {free / 1e9:.1f} GB are free; choose a smaller model, fewer or shorter "
        "requests in flight, or a machine with more memory"
    )


def refuse_training(task: str, training: int, need: MemoryNeed, spec: ModelSpec, free: int) -> None:
    """Refuse a task that trains in the model, where the memory cannot hold that beside the model.

    Args:
        task: Its name.
        training: Bytes that its training needs beside the weights.
        need: What the run needs without it; its KV cache and activations are free again when a task trains.
        spec: The model.
        free: Memory that is there, in bytes.
    """
    needed = need.weights + training + OVERHEAD_BYTES
    if training and needed > free:
        raise NotAvailableError(
            f"task {task!r} needs {needed / 1e9:.1f} GB to train in {spec.name} (weights {need.weights / 1e9:.1f}, "
            f"training {training / 1e9:.1f}, overhead {OVERHEAD_BYTES / 1e9:.1f}), {free / 1e9:.1f} GB are free; give "
            f"it smaller batches, shorter texts or fewer blocks (moecap tasks show {task}), or choose a smaller model"
        )
