"""Questions as numbers: cells of crops with bags of words, or vectors of an encoder that is trained already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from moecap.data.imagecode import descriptions, split_file
from moecap.errors import BadInputError
from moecap.tasks.imagecode.asked import crops_asked, crops_to_learn_from, released_question
from moecap.tasks.imagecode.crops import ATTRIBUTES, CropSet, question_of
from moecap.tasks.imagecode.embeddings import read_vectors
from moecap.tasks.imagecode.encoder import DualEncoder
from moecap.tasks.imagecode.questions import VIDEO, Question, Questions
from moecap.tasks.imagecode.settings import Settings
from moecap.tasks.imagecode.training import Examples
from moecap.tasks.imagecode.variants import HEADS

__all__ = ["Material", "crop_material", "material_of", "vector_material"]

HELD_OUT_SHARE = 10
"""Of every so many sets of the train split one is held out to choose the epoch."""

_WORDS = {word: place for place, word in enumerate(sorted({w for t, _ in ATTRIBUTES.values() for w in t.split()}))}


@dataclass(frozen=True, slots=True)
class Material:
    """What an encoder learns from and is asked.

    Attributes:
        train: To learn from; ``None`` where nothing is learnt.
        held_out: To choose the epoch.
        asked: The questions, in their order.
        start: Makes the encoder with which training begins; its weights follow from the seed.
    """

    train: Examples | None
    held_out: Examples | None
    asked: Examples
    start: Callable[[], DualEncoder]


def material_of(settings: Settings, folder: Path | None, questions: Questions) -> Material:
    """What an encoder learns from and is asked.

    Args:
        settings: The run.
        folder: ImageCoDe's folder; ``None`` for crops.
        questions: The questions.

    Raises:
        UsageError: If something is not there, or not of these questions.
    """
    if folder is None:
        return crop_material(settings, crops_asked(len(questions.asked)))
    return vector_material(settings, folder, questions.asked)


def crop_material(settings: Settings, asked: Sequence[CropSet]) -> Material:
    """Crops as the means and contrasts of their cells, descriptions as bags of words."""
    train, held_out = (_of_crops(sets) for sets in crops_to_learn_from(settings.train, settings.held_out))
    numbers = train.images.reshape(-1, train.images.shape[-1])
    mean, spread = torch.from_numpy(numbers.mean(0)), torch.from_numpy(numbers.std(0) + 1e-6)

    def start() -> DualEncoder:
        return DualEncoder(numbers.shape[-1], len(_WORDS), settings.width, mean, spread)

    return Material(train, held_out, _of_crops(asked), start)


def vector_material(settings: Settings, folder: Path, asked: Sequence[Question]) -> Material:
    """Vectors out of the user's files.

    Raises:
        UsageError: If a file is not there or holds other vectors.
    """
    assert settings.embeddings is not None
    rows = len(descriptions(split_file(folder, settings.split)))
    known = _of_vectors(settings.embeddings, asked, rows)
    width = known.images.shape[-1]
    train = held_out = None
    if settings.train_embeddings is not None:
        if settings.split == "train":
            raise BadInputError("--task-arg split=train: it would be asked what it learns from; ask valid or test")
        questions = [released_question(one) for one in descriptions(split_file(folder, "train"))]
        examples = _of_vectors(settings.train_embeddings, questions, len(questions))
        if examples.images.shape[-1] != width:
            raise BadInputError(
                f"{settings.train_embeddings}: vectors of {examples.images.shape[-1]} numbers, and of {width} in "
                f"{settings.embeddings}; take the same encoder for both"
            )
        if width % HEADS:
            raise BadInputError(f"{settings.embeddings}: vectors of {width} numbers do not part into {HEADS} heads")
        names = list(dict.fromkeys(question.set for question in questions))
        if len(names) < 2 or any(question.gold is None for question in questions):
            raise BadInputError(
                f"{split_file(folder, 'train')}: to learn takes two sets or more, whose images that are "
                "meant the file tells; fetch it again"
            )
        kept = set(names[::HELD_OUT_SHARE])
        out = np.array([question.set in kept for question in questions])
        held_out, train = (Examples(*(column[rows] for column in examples)) for rows in (out, ~out))
    return Material(train, held_out, known, lambda: DualEncoder(width, width, None))


def _of_crops(sets: Sequence[CropSet]) -> Examples:
    texts = np.zeros((len(sets), len(_WORDS)), np.float32)
    for row, one in enumerate(sets):
        for word in question_of(one).text.split():
            texts[row, _WORDS[word]] += 1
    images = np.stack([one.cells.reshape(len(one.cells), -1) for one in sets]).astype(np.float32)
    golds = np.array([one.gold for one in sets], np.int64)
    return Examples(images, texts, golds, np.array([one.kind == VIDEO for one in sets]))


def _of_vectors(path: Path, questions: Sequence[Question], rows: int) -> Examples:
    vectors = read_vectors(path, questions, rows)
    golds = np.array([-1 if question.gold is None else question.gold for question in questions], np.int64)
    return Examples(vectors.images, vectors.texts, golds, np.array([q.kind == VIDEO for q in questions]))
