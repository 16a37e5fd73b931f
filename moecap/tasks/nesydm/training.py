"""Training of the predictors: neurosymbolic diffusion, and the independent ones that it is held against.

``nesydm`` and ``nesydm_conditional`` differ in the entropy of their loss. ``independent`` maximises the exact
probability of the label under independent concepts. ``semantic_loss`` predicts the label by layers of its own and adds
minus the logarithm of that probability, with RSBench's weight of 10.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from moecap.errors import RunError
from moecap.tasks.nesydm.enumeration import Worlds
from moecap.tasks.nesydm.masking import Unmasking
from moecap.tasks.nesydm.networks import Perception, SemanticHead
from moecap.tasks.nesydm.objective import Weighting, diffusion_terms
from moecap.tasks.nesydm.programs import Program
from moecap.tasks.nesydm.samplers import sample_concepts

__all__ = ["PREDICTORS", "Epoch", "Fitted", "Schedule", "drawn_concepts", "fit", "seeded"]

PREDICTORS = ("nesydm", "nesydm_conditional", "independent", "semantic_loss")

SEMANTIC_WEIGHT = 10.0
"""Weight of the semantic loss beside the label's cross-entropy."""

CHAINS = 20_000
"""Chains that are sampled at a time."""

MOST_NUMBERED = 2**62
"""States of chains that a 64-bit number tells apart."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast.

    Attributes:
        epochs: Passes over the training inputs.
        batch: Inputs a step.
        rate: Learning rate.
        optimiser: ``Adam`` or ``RAdam``.
    """

    epochs: int
    batch: int
    rate: float
    optimiser: str


class Epoch(NamedTuple):
    """What an epoch gave.

    Attributes:
        number: From 1 on.
        terms: Mean of each term of the loss over the epoch's steps, by its name.
    """

    number: int
    terms: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained predictor.

    Attributes:
        network: The network.
        head: Layers that predict the label, of ``semantic_loss`` alone.
        epochs: What each epoch gave.
    """

    network: Perception
    head: nn.Module | None
    epochs: tuple[Epoch, ...]

    @property
    def parameters(self) -> int:
        """Numbers that were trained."""
        parts = [self.network, *([self.head] if self.head else [])]
        return sum(p.numel() for part in parts for p in part.parameters())


@contextmanager
def seeded(seed: int, device: str) -> Iterator[torch.Generator]:
    """A source of chance, with the library's own one set as well (weights, dropout) and put back at the end.

    A CPU computes in one thread meanwhile: sums come out the same on any number of cores, and layers of this size gain
    nothing from a second one.
    """
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if device == "cpu":
            torch.set_num_threads(1)
        try:
            yield torch.Generator(device).manual_seed(seed)
        finally:
            torch.set_num_threads(threads)


def fit(
    predictor: str,
    network: Perception,
    program: Program,
    inputs: Tensor,
    labels: Tensor,
    weighting: Weighting,
    schedule: Schedule,
    draw: torch.Generator,
    done: Callable[[], None],
) -> Fitted:
    """Train a predictor on labels alone; no concept is shown.

    Args:
        predictor: One of ``PREDICTORS``.
        network: Trained in place.
        program: From concepts to labels.
        inputs: [n, ...].
        labels: [n, Y].
        weighting: The loss of diffusion.
        schedule: How long and how fast.
        draw: The source of chance, on the device of the inputs.
        done: Called after each epoch.

    Raises:
        BadInputError: If the program's concepts are too many to be listed, and the predictor lists them.
        RunError: If the loss is no finite number any more.
    """
    device = str(inputs.device)
    weighting = replace(weighting, entropy="conditional" if predictor == "nesydm_conditional" else "unconditional")
    worlds = None if predictor == "nesydm" else Worlds(program, device)
    head = None
    if predictor == "semantic_loss":
        head = SemanticHead(program.concepts, program.values, program.outputs, program.output_values).to(device)

    def terms(x: Tensor, y: Tensor) -> dict[str, Tensor]:
        if predictor in ("nesydm", "nesydm_conditional"):
            found = diffusion_terms(network, x, y, program, weighting, worlds, draw)
            return {"loss": found.loss(weighting), **found._asdict()}
        assert worlds is not None
        return _independent_terms(network, head, worlds, program, x, y)

    parameters = [p for part in (network, head) if part is not None for p in part.parameters()]
    optimiser = getattr(torch.optim, schedule.optimiser)(parameters, lr=schedule.rate, foreach=True)
    epochs = []
    network.train()
    for number in range(1, schedule.epochs + 1):
        order = torch.randperm(len(inputs), generator=draw, device=inputs.device)
        steps = []
        for batch in order.split(schedule.batch):
            optimiser.zero_grad()
            found = terms(inputs[batch], labels[batch])
            found["loss"].backward()
            optimiser.step()
            steps.append(torch.stack([term.detach() for term in found.values()]))
        means = torch.stack(steps).mean(0).tolist()
        epochs.append(Epoch(number, dict(zip(found, means, strict=True))))
        if not all(abs(mean) < torch.inf for mean in means):
            raise RunError(f"{predictor}: the loss of epoch {number} is no finite number; try a smaller rate")
        done()
    network.eval()
    return Fitted(network, head, tuple(epochs))


def drawn_concepts(
    network: Perception, inputs: Tensor, program: Program, samples: int, steps: int | None, draw: torch.Generator
) -> Tensor:
    """Samples of the concepts of each input, [samples, n, C].

    An independent predictor's are those of the first step, in which all concepts are unmasked at once (``steps`` 1).

    Args:
        network: A trained network.
        inputs: [n, ...].
        program: For the numbers of concepts and values.
        samples: L.
        steps: T; ``None`` for the first-hitting sampler.
        draw: The source of chance.
    """
    found = []
    with torch.no_grad():
        for some in inputs.split(max(1, CHAINS // samples)):
            start = torch.full((samples * len(some), program.concepts), program.values, device=inputs.device)
            asked = _asked_once(network, network.encode(some), samples, program)
            chains = sample_concepts(asked, start, program.values, steps, draw)
            found.append(chains.unflatten(0, (samples, len(some))))
    return torch.cat(found, dim=1)


def _asked_once(network: Perception, looked: Tensor, samples: int, program: Program) -> Callable[[Tensor], Tensor]:
    """The network for several chains an input, asked once for those of one input that know the same.

    Args:
        network: The network.
        looked: Inputs that are encoded, [n, ...].
        samples: Chains an input; chain i looks at input i mod n.
        program: For the numbers of concepts and values.
    """
    place = torch.arange(len(looked), device=looked.device).repeat(samples)
    states = (program.values + 1) ** program.concepts
    if states * len(looked) > MOST_NUMBERED:
        return lambda known: network.logits(looked[place], known)
    powers = (program.values + 1) ** torch.arange(program.concepts, device=looked.device)

    def logits(known: Tensor) -> Tensor:
        _, alike = (place * states + (known * powers).sum(-1)).unique(return_inverse=True)
        one = torch.empty(int(alike.max()) + 1, dtype=torch.long, device=looked.device)
        one[alike] = torch.arange(len(alike), device=looked.device)
        return network.logits(looked[place[one]], known[one])[alike]

    return logits


def _independent_terms(
    network: Perception, head: nn.Module | None, worlds: Worlds, program: Program, x: Tensor, y: Tensor
) -> dict[str, Tensor]:
    all_masked = torch.full((len(y), program.concepts), program.values, device=y.device)
    logits = network.logits(network.encode(x), all_masked)
    semantic = -worlds.log_probability(Unmasking(logits, all_masked).log_probabilities, y).mean()
    if head is None:
        return {"loss": semantic}
    label = nn.functional.cross_entropy(head(logits).transpose(1, 2), y)
    return {"loss": label + SEMANTIC_WEIGHT * semantic, "label": label, "semantic": semantic}
