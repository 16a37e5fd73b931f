"""Training of the convolutional network, and the languages that it answers.

Loss: cross-entropy of the languages plus, of the domain-adversarial one, cross-entropy of the domains, whose gradient
reaches the convolutions with its sign changed: they learn to tell languages apart and domains not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from moecap.errors import RunError
from moecap.tasks.nesydm.training import seeded
from moecap.tasks.spoken_lid.features import normalised
from moecap.tasks.spoken_lid.network import ConvolutionalNetwork, reversal_strength
from moecap.tasks.spoken_lid.utterances import Utterance

__all__ = ["Epoch", "NetworkClassifier", "Schedule"]

BATCH_OF_ANSWERS = 64


@dataclass(frozen=True, slots=True)
class Schedule:
    """How a network is trained.

    Attributes:
        epochs: Passes over the utterances.
        batch: Utterances a step.
        rate: Learning rate of Adam.
        channels: Channels of each convolution.
        crop: Frames of an utterance that a step looks at, from a place that is drawn; 0 for all.
        reversal: Weight of the reversed gradient at the end of the training.
    """

    epochs: int
    batch: int
    rate: float
    channels: int
    crop: int
    reversal: float


class Epoch(NamedTuple):
    """What an epoch of training gave.

    Attributes:
        language_loss: Mean cross-entropy of the languages, nats.
        domain_loss: Mean cross-entropy of the domains, nats; 0 without that head.
        domain_right: Share of the domains that their head told right; 0 without that head.
        reversal: Weight of the reversed gradient at the epoch's end.
    """

    language_loss: float
    domain_loss: float
    domain_right: float
    reversal: float


class NetworkClassifier:
    """The network with its training.

    Args:
        languages: Languages that can be answered.
        opposed: What it shall not tell apart of an utterance, such as its domain; ``None`` for a network without that
            head.
        schedule: How it is trained.
        seed: Decides the first weights, the order and the crops.
    """

    def __init__(
        self, languages: Sequence[str], opposed: Callable[[Utterance], str] | None, schedule: Schedule, seed: int
    ) -> None:
        self._languages, self._opposed, self._schedule, self._seed = tuple(languages), opposed, schedule, seed
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._network: ConvolutionalNetwork | None = None
        self.epochs: list[Epoch] = []

    def fit(self, utterances: Sequence[Utterance], done: Callable[[], None]) -> int:
        """Train, and return how many numbers were trained.

        Args:
            utterances: With what is learnt.
            done: Called after each epoch.

        Raises:
            RunError: If the loss is no finite number any more.
        """
        schedule = self._schedule
        cepstra = [normalised(utterance.cepstra) for utterance in utterances]
        against = sorted({self._opposed(utterance) for utterance in utterances}) if self._opposed else []
        languages = self._tensor([self._languages.index(utterance.language) for utterance in utterances])
        domains = self._tensor([against.index(self._opposed(u)) if self._opposed else 0 for u in utterances])
        with seeded(self._seed, self._device) as draw:
            crops = np.random.default_rng(self._seed)
            network = ConvolutionalNetwork(
                cepstra[0].shape[1], len(self._languages), len(against), schedule.channels
            ).to(self._device)
            optimiser = torch.optim.Adam(network.parameters(), lr=schedule.rate)
            for number in range(schedule.epochs):
                order = torch.randperm(len(cepstra), generator=draw, device=self._device)
                sums = np.zeros(3)
                for batch in order.split(schedule.batch):
                    strength = schedule.reversal * reversal_strength(number / schedule.epochs)
                    some = [_cropped(cepstra[i], schedule.crop, crops) for i in batch.tolist()]
                    terms = _step(network, optimiser, *self._padded(some), languages[batch], domains[batch], strength)
                    sums += np.array(terms) * len(batch)
                means = sums / len(cepstra)
                if not np.isfinite(means).all():
                    raise RunError(f"the loss of epoch {number + 1} is no finite number; try a smaller rate")
                self.epochs.append(Epoch(float(means[0]), float(means[1]), float(means[2]), strength))
                done()
            self._network = network.eval()
        return sum(parameter.numel() for parameter in network.parameters())

    def answer(self, utterances: Sequence[Utterance]) -> list[str]:
        """The language of each; those of one batch are of like length, each whole."""
        assert self._network is not None
        order = sorted(range(len(utterances)), key=lambda i: len(utterances[i].cepstra))
        found = [""] * len(utterances)
        with torch.no_grad(), seeded(self._seed, self._device):
            for first in range(0, len(order), BATCH_OF_ANSWERS):
                places = order[first : first + BATCH_OF_ANSWERS]
                padded = self._padded([normalised(utterances[i].cepstra) for i in places])
                logits, _ = self._network(*padded)
                for place, answer in zip(places, logits.argmax(-1).tolist(), strict=True):
                    found[place] = self._languages[answer]
        return found

    def _padded(self, cepstra: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        """Cepstra of equal length, [B, T, D], and the frames that each has, [B]."""
        frames = [len(some) for some in cepstra]
        padded = np.zeros((len(cepstra), max(frames), cepstra[0].shape[1]), np.float32)
        for row, some in zip(padded, cepstra, strict=True):
            row[: len(some)] = some
        return torch.from_numpy(padded).to(self._device), self._tensor(frames)

    def _tensor(self, numbers: Sequence[int]) -> Tensor:
        return torch.tensor(numbers, device=self._device)


def _step(
    network: ConvolutionalNetwork,
    optimiser: torch.optim.Optimizer,
    cepstra: Tensor,
    frames: Tensor,
    languages: Tensor,
    domains: Tensor,
    strength: float,
) -> tuple[float, float, float]:
    """One step; loss of the languages, loss of the domains, and the share of the domains that was told right."""
    optimiser.zero_grad()
    of_language, of_domain = network(cepstra, frames, strength)
    loss = language_loss = functional.cross_entropy(of_language, languages)
    domain_loss, right = 0.0, 0.0
    if of_domain is not None:
        opposed = functional.cross_entropy(of_domain, domains)
        loss = language_loss + opposed
        domain_loss, right = opposed.item(), (of_domain.argmax(-1) == domains).float().mean().item()
    loss.backward()
    optimiser.step()
    return language_loss.item(), domain_loss, right


def _cropped(cepstra: np.ndarray, frames: int, draw: np.random.Generator) -> np.ndarray:
    if not frames or len(cepstra) <= frames:
        return cepstra
    first = int(draw.integers(len(cepstra) - frames + 1))
    return cepstra[first : first + frames]
