"""A tiny captioner that sees a digit and a tiny language model that does not, of the same make and trained alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from moecap.tasks.groundedness.controls import another, black, mean_picture
from moecap.tasks.groundedness.digits import Digits, closed_form

__all__ = ["TRAINED_ON", "TinyModel", "digit_facts", "trained"]

TRAINED_ON = 1400
"""Pictures from the first on with which the models are trained; the others are the test."""
HIDDEN, LEARNING_RATE, BATCH = 64, 5e-3, 50

Floats = npt.NDArray[np.float32]


class TinyModel(nn.Module):  # type: ignore[misc]
    """A recurrent network over the words of a caption, which may see a picture.

    Args:
        words: The vocabulary.
        pixels: Pixels of the picture that it sees; 0 for a language model.
    """

    def __init__(self, words: Sequence[str], pixels: int) -> None:
        super().__init__()
        self._number = {word: i for i, word in enumerate(words)}
        self._embedding = nn.Embedding(len(words) + 1, HIDDEN)
        self._memory = nn.GRU(HIDDEN, HIDDEN, batch_first=True)
        self._look = nn.Sequential(nn.Linear(pixels, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN)) if pixels else None
        self._head = nn.Linear(HIDDEN * (2 if pixels else 1), len(words))

    def numbers(self, captions: Sequence[Sequence[str]]) -> Tensor:
        """Numbers of the words, [captions, words]."""
        return torch.tensor([[self._number[word] for word in caption] for caption in captions])

    def forward(self, targets: Tensor, pictures: Tensor) -> Tensor:
        """Logits of each word after those before it.

        Args:
            targets: Numbers of the words, [captions, words].
            pictures: What is seen, [captions, pixels].

        Returns:
            [captions, words, vocabulary].
        """
        begin = torch.full_like(targets[:, :1], len(self._number))
        read, _ = self._memory(self._embedding(torch.cat([begin, targets[:, :-1]], 1)))
        if self._look is not None:
            seen = self._look(pictures)[:, None].expand(-1, read.shape[1], -1)
            read = torch.cat([read, seen], -1)
        logits: Tensor = self._head(read)
        return logits

    def surprisals(self, captions: Sequence[Sequence[str]], pictures: Floats) -> npt.NDArray[np.float64]:
        """Surprisal of each word after those before it, nats, [captions, words].

        Args:
            captions: The words.
            pictures: What is seen beside each, [captions, pixels]; a language model does not look.
        """
        targets = self.numbers(captions)
        with torch.inference_mode():
            logp = self(targets, torch.from_numpy(np.ascontiguousarray(pictures))).log_softmax(-1)
            found: npt.NDArray[np.float64] = -logp.gather(2, targets[:, :, None])[:, :, 0].double().numpy()
        return found


def trained(train: Digits, epochs: int, seed: int, *, sees: bool) -> TinyModel:
    """A model that has learnt the captions, on one thread, so that it is the same in every run.

    Args:
        train: The pictures with their captions.
        epochs: Passes over all of them.
        seed: Seed of weights and order.
        sees: Whether it sees the pictures.
    """
    words = sorted({word for caption in train.captions for word in caption})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = TinyModel(words, train.pictures.shape[1] if sees else 0)
            _fit(model, train, epochs)
    finally:
        torch.set_num_threads(threads)
    return model


def digit_facts(digits: Digits, epochs: int, seed: int) -> dict[str, Any]:
    """Train on the first pictures, and give the columns of the table ``digits`` for the others.

    Args:
        digits: The pictures with their captions.
        epochs: Passes over the training pictures.
        seed: Seed of the models and of the shuffling.
    """
    train, test = digits[:TRAINED_ON], digits[TRAINED_ON:]
    captioner, language = (trained(train, epochs, seed, sees=sees) for sees in (True, False))
    other = another([caption[5] for caption in test.captions], seed)
    seen = {
        "captioner": test.pictures,
        "shuffled": test.pictures[other],
        "black": black(test.pictures),
        "mean": mean_picture(train.pictures, len(test)),
    }
    columns = {name: captioner.surprisals(test.captions, pictures).reshape(-1) for name, pictures in seen.items()}
    count, words = len(test), len(test.captions[0])
    return {
        "picture": np.repeat(np.arange(count), words),
        "word": np.tile(np.arange(words), count),
        "form": [word for caption in test.captions for word in caption],
        "language_model": language.surprisals(test.captions, test.pictures).reshape(-1),
        **columns,
        "closed_form": closed_form(train.captions, test.captions).reshape(-1),
    }


def _fit(model: TinyModel, train: Digits, epochs: int) -> None:
    targets, pictures = model.numbers(train.captions), torch.from_numpy(train.pictures)
    optimiser = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    for _ in range(epochs):
        for batch in torch.randperm(len(train)).split(BATCH):
            logits = model(targets[batch], pictures[batch])
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), targets[batch].flatten())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
