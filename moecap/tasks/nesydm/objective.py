"""The loss of neurosymbolic diffusion: the three terms of its bound, with the gradient estimator of the second.

The bound on -log p(y | x) (arXiv 2505.13138, theorem 3.1) is the denoising of the concepts, the prediction of the label
from concepts that are partly masked, and minus the entropy of the concepts that explain the label. As in the authors'
training, sums over concepts and outputs are means, and the terms are weighted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from moecap.tasks.nesydm.enumeration import Worlds
from moecap.tasks.nesydm.masking import Unmasking, masked
from moecap.tasks.nesydm.networks import Perception
from moecap.tasks.nesydm.programs import Program
from moecap.tasks.nesydm.samplers import Target, sample_concepts

__all__ = ["Entropy", "Terms", "Weighting", "YWeight", "diffusion_terms", "log_expectation"]

Entropy = Literal["unconditional", "conditional"]
YWeight = Literal["paper", "released"]

EARLIEST = 1e-3
"""The smallest time, since terms are divided by it."""

TINY = 1e-8
"""Added to a probability before its logarithm is taken."""


@dataclass(frozen=True, slots=True)
class Weighting:
    """How the loss is made.

    Attributes:
        gamma_c: Weight of the denoising of concepts; that of the label is 1.
        gamma_h: Weight of the entropy.
        beta: Strength of a missed output in the resampling of concepts that explain a label.
        samples: S, for the gradient of the label's term.
        candidates: K, of the resampling.
        steps: T of the sampler of concepts that explain a label; ``None`` for the first-hitting one.
        entropy: Of the concepts as such, or of the concepts given the label.
        y_weight: ``paper``: the label's term as in theorem 3.1; ``released``: divided by the time as in the code.
    """

    gamma_c: float
    gamma_h: float
    beta: float
    samples: int
    candidates: int
    steps: int | None = None
    entropy: Entropy = "unconditional"
    y_weight: YWeight = "released"


class Terms(NamedTuple):
    """The terms of the loss, means over the batch.

    Attributes:
        concepts: L_c a concept: -1/t · log p(c_0 | c_t, x).
        label: L_y an output.
        entropy: H a concept, in nats.
    """

    concepts: Tensor
    label: Tensor
    entropy: Tensor

    def loss(self, weighting: Weighting) -> Tensor:
        """What is minimised."""
        return weighting.gamma_c * self.concepts + self.label - weighting.gamma_h * self.entropy


def log_expectation(log_probability: Tensor, hits: Tensor) -> Tensor:
    """Logarithm of the share of samples that hit, with a gradient by REINFORCE with a leave-one-out baseline (RLOO).

    The gradient is 1/mu · 1/(S-1) · the sum over samples of (hit - mu) · grad log p (arXiv 2505.13138, eq. 60); it is
    zero where all samples agree.

    Args:
        log_probability: Of each sample, [S, B].
        hits: 1 where a sample gives the wanted output, else 0, [S, B, Y].

    Returns:
        [B, Y].
    """
    samples = len(hits)
    mean = hits.mean(0)
    others = (hits.sum(0) - hits) / (samples - 1)
    score = (log_probability[..., None] * (hits - others)).mean(0)
    return torch.log(mean + score - score.detach() + TINY)


def diffusion_terms(
    network: Perception,
    inputs: Tensor,
    labels: Tensor,
    program: Program,
    weighting: Weighting,
    worlds: Worlds | None,
    draw: torch.Generator,
) -> Terms:
    """One estimate of the three terms for a batch.

    Args:
        network: The unmasking network.
        inputs: x, [B, ...].
        labels: y_0, [B, Y].
        program: From concepts to labels.
        weighting: How the loss is made.
        worlds: All concepts, for the entropy given the label.
        draw: The source of chance.
    """
    encoded = network.encode(inputs)
    all_masked = torch.full((len(labels), program.concepts), program.values, device=labels.device)
    at_start = Unmasking(network.logits(encoded, all_masked), all_masked)
    with torch.no_grad():
        target = Target(program, labels, weighting.candidates, weighting.beta)
        explaining = sample_concepts(
            partial(network.logits, encoded), all_masked, program.values, weighting.steps, draw, target
        )
        time = torch.rand(len(labels), generator=draw, device=labels.device).clamp(min=EARLIEST)
        known = masked(explaining, time, program.values, draw)
    unmasking = Unmasking(network.logits(encoded, known), known)
    denoising = -(unmasking.log_prob(explaining).mean(-1) / time).mean()
    drawn = unmasking.sample(weighting.samples, draw)
    hits = (program(drawn) == labels).to(time.dtype)
    missing = -log_expectation(unmasking.log_prob(drawn).sum(-1), hits).mean(-1)
    label = (missing if weighting.y_weight == "paper" else missing / time).mean()
    if weighting.entropy == "unconditional":
        entropy = at_start.entropy().mean()
    else:
        assert worlds is not None, "the entropy given the label sums over all worlds"
        entropy = worlds.conditional_entropy(at_start.log_probabilities, labels).mean()
    return Terms(denoising, label, entropy)
