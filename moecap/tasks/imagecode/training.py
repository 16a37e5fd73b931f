"""The paper's variants, each trained in turn: random negatives, the set's own images, their context, their order.

Shapes: n questions, 10 images each, F numbers an image and G a text.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from moecap.tasks.imagecode.context import ContextModule
from moecap.tasks.imagecode.encoder import DualEncoder
from moecap.tasks.imagecode.questions import IMAGES
from moecap.tasks.imagecode.variants import Schedule

__all__ = ["Examples", "Fitted", "fit", "seeded"]

BETAS, EPSILON = (0.9, 0.98), 1e-6
SCORED_AT_ONCE = 512


class Examples(NamedTuple):
    """Questions as numbers.

    Attributes:
        images: float32 [n, 10, F].
        texts: float32 [n, G].
        golds: int64 [n].
        video: Whether each set is of one video, [n].
    """

    images: np.ndarray
    texts: np.ndarray
    golds: np.ndarray
    video: np.ndarray


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained variant.

    Attributes:
        scores: Gives the scores of questions, [n, 10].
        encoder: Its encoder, for the variants that follow.
        parameters: Numbers that were trained.
        losses: Mean loss of each epoch, nats.
        held_out: Share right of the held-out questions after each epoch.
        kept: The epoch whose weights are kept, from 1 on; 0 where nothing was trained.
    """

    scores: Callable[[Examples], np.ndarray]
    encoder: DualEncoder
    parameters: int
    losses: list[float]
    held_out: list[float]
    kept: int


@contextmanager
def seeded(seed: int) -> Iterator[np.random.Generator]:
    """Weights and all that is drawn follow from a seed, in one thread; what was drawn from before goes on after."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield np.random.default_rng(seed)
        finally:
            torch.set_num_threads(threads)


def fit(
    variant: str,
    start: DualEncoder,
    inner: int,
    train: Examples | None,
    held_out: Examples | None,
    schedule: Schedule,
    draw: np.random.Generator,
) -> Fitted:
    """Train a variant.

    Args:
        variant: Its name.
        start: The encoder from which it starts, which is left as it is.
        inner: Units of the contextual module's feed-forward networks.
        train: The questions; ``zero_shot`` needs none.
        held_out: Questions that choose the epoch.
        schedule: The training.
        draw: Draws negatives and the order of the questions.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder = copy.deepcopy(start).to(device)
    if variant == "zero_shot":
        return Fitted(lambda asked: _scored(encoder, asked, device), encoder, 0, [], [], 0)
    assert train is not None and held_out is not None, f"{variant} has nothing to learn from"
    if variant in ("random_negatives", "context_batch"):
        shown = _random_negatives(train, draw) if variant == "random_negatives" else train
        fitted = _train(encoder, lambda x: encoder(x.images, x.texts), shown, held_out, schedule, draw, device)
        return Fitted(lambda asked: _scored(encoder, asked, device), encoder, *fitted)
    width = encoder.image.out_features
    module = ContextModule(width, inner, temporal=variant == "temporal_embeddings").to(device)
    encoder.requires_grad_(False)
    known, kept_out = _encoded(encoder, train, device), _encoded(encoder, held_out, device)
    trained = _train(module, lambda x: module(x.images, x.texts, x.video), known, kept_out, schedule, draw, device)
    return Fitted(lambda asked: _scored(module, _encoded(encoder, asked, device), device), encoder, *trained)


class _Batch(NamedTuple):
    images: Tensor
    texts: Tensor
    video: Tensor


def _train(
    module: nn.Module,
    score: Callable[[_Batch], Tensor],
    train: Examples,
    held_out: Examples,
    schedule: Schedule,
    draw: np.random.Generator,
    device: str,
) -> tuple[int, list[float], list[float], int]:
    """Numbers trained, losses, shares right, and the epoch of the best share, whose weights the module has then."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimiser = (torch.optim.Adam if schedule.coupled else torch.optim.AdamW)(
        parameters, schedule.rate, BETAS, EPSILON, schedule.decay
    )
    golds = torch.from_numpy(train.golds).to(device)
    losses: list[float] = []
    shares: list[float] = []
    best, kept = -1.0, copy.deepcopy(module.state_dict())
    for _ in range(schedule.epochs):
        module.train()
        total = 0.0
        order = draw.permutation(len(train.golds))
        for first in range(0, len(order), schedule.batch):
            chosen = order[first : first + schedule.batch]
            loss = nn.functional.cross_entropy(score(_batch(train, chosen, device)), golds[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item() * len(chosen)
        losses.append(total / len(order))
        found = _scored(module, held_out, device).argmax(-1)
        shares.append(float((found == held_out.golds).mean()))
        if shares[-1] > best:
            best, kept = shares[-1], copy.deepcopy(module.state_dict())
    module.load_state_dict(kept)
    return sum(p.numel() for p in parameters), losses, shares, int(np.argmax(shares)) + 1


def _batch(examples: Examples, chosen: np.ndarray | slice, device: str) -> _Batch:
    images, texts = (torch.from_numpy(a[chosen]).to(device) for a in (examples.images, examples.texts))
    return _Batch(images, texts, torch.from_numpy(examples.video[chosen].astype(np.float32)).to(device))


def _scored(module: nn.Module, asked: Examples, device: str) -> np.ndarray:
    """Scores, float64 [n, 10]."""
    module.eval()
    found = [np.zeros((0, IMAGES))]
    with torch.no_grad():
        for first in range(0, len(asked.golds), SCORED_AT_ONCE):
            batch = _batch(asked, slice(first, first + SCORED_AT_ONCE), device)
            of_video = (batch.video,) if isinstance(module, ContextModule) else ()
            found.append(module(batch.images, batch.texts, *of_video).double().cpu().numpy())
    return np.concatenate(found)


def _encoded(encoder: DualEncoder, examples: Examples, device: str) -> Examples:
    """The same questions with the encoder's vectors."""
    encoder.eval()
    images, texts = [], []
    with torch.no_grad():
        for first in range(0, len(examples.golds), SCORED_AT_ONCE):
            batch = _batch(examples, slice(first, first + SCORED_AT_ONCE), device)
            seen, said = encoder.encode(batch.images, batch.texts)
            images.append(seen.cpu().numpy())
            texts.append(said.cpu().numpy())
    return Examples(np.concatenate(images), np.concatenate(texts), examples.golds, examples.video)


def _random_negatives(train: Examples, draw: np.random.Generator) -> Examples:
    """Each image that is meant, among nine images of any set, which are drawn once for the whole training."""
    n = len(train.golds)
    sets, places = draw.integers(0, n, (n, IMAGES)), draw.integers(0, IMAGES, (n, IMAGES))
    sets[:, 0], places[:, 0] = np.arange(n), train.golds
    return Examples(train.images[sets, places], train.texts, np.zeros(n, np.int64), train.video)
