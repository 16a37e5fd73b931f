"""Where the questions come from: crops of real photographs, or ImageCoDe as it is released."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from moecap.attachment import Attachment
from moecap.data.imagecode import Description, descriptions, image_files, is_static, set_source, split_file, tags_of
from moecap.data.photographs import PHOTOGRAPHS_SOURCE, Photograph, load_photographs, read_pixels
from moecap.errors import BadInputError
from moecap.tasks.imagecode.crops import CropSet, crop_sets, question_of, shown
from moecap.tasks.imagecode.questions import STATIC, VIDEO, Question, Questions
from moecap.tasks.imagecode.settings import CHAT, Settings
from moecap.tasks.location import IN_FOLDER

__all__ = [
    "crop_questions",
    "crops_asked",
    "crops_to_learn_from",
    "held_out_photographs",
    "questions_of",
    "released_question",
    "released_questions",
]

PHOTOGRAPHS_ASKED = 5
"""Photographs whose crops are asked about, and learnt from by nobody."""

SPLIT_SEED = 0
"""Seed of the split of the photographs and of all crops, whatever the run's own seeds: all see the same questions."""

_STREAMS = {"asked": 1, "train": 2, "held_out": 3}


def crop_questions(tests: int, limit: int | None) -> Questions:
    """Questions about crops of photographs that are not learnt from.

    Args:
        tests: How many there are.
        limit: How many are asked at most, the first.

    Raises:
        NotAvailableError: If the photographs cannot be had.
    """
    sets = {one.name: one for one in crops_asked(min(tests, limit or tests))}
    asked = [question_of(one) for one in sets.values()]
    return Questions(asked, lambda name: shown(sets[name]), PHOTOGRAPHS_SOURCE, limit is not None and limit < tests)


def crops_asked(count: int) -> list[CropSet]:
    """The first sets of crops that are asked about."""
    photographs, _ = held_out_photographs()
    return _drawn(photographs, "asked", count)


def crops_to_learn_from(train: int, held_out: int) -> tuple[list[CropSet], list[CropSet]]:
    """Sets of crops to learn from, and others of the same photographs that choose the epoch."""
    _, photographs = held_out_photographs()
    return _drawn(photographs, "train", train), _drawn(photographs, "held_out", held_out)


@cache
def held_out_photographs() -> tuple[list[Photograph], list[Photograph]]:
    """The photographs that are asked about, and those that are learnt from, each in the order of their names."""
    photographs = load_photographs()
    order = np.random.default_rng(SPLIT_SEED).permutation(len(photographs))
    asked, learnt = order[:PHOTOGRAPHS_ASKED], order[PHOTOGRAPHS_ASKED:]
    return [photographs[i] for i in sorted(asked)], [photographs[i] for i in sorted(learnt)]


def _drawn(photographs: Sequence[Photograph], stream: str, count: int) -> list[CropSet]:
    return crop_sets(photographs, count, np.random.default_rng([SPLIT_SEED, _STREAMS[stream]]))


def released_questions(folder: Path, split: str, phenomena: Path | None, limit: int | None) -> Questions:
    """ImageCoDe's own questions.

    Args:
        folder: Holds the JSON files and, where images are shown, the sets.
        split: ``train``, ``valid`` or ``test``.
        phenomena: The annotations of the descriptions.
        limit: How many are asked at most, the first.

    Raises:
        UsageError: If something is not there or not in the format.
    """
    said = descriptions(split_file(folder, split))
    tags = tags_of(phenomena) if phenomena is not None else {}
    asked = [released_question(one, tags.get((one.set, one.key), ())) for one in said[:limit]]
    if phenomena is not None and not any(question.tags for question in asked):
        raise BadInputError(f"--task-arg phenomena={phenomena}: it annotates none of these descriptions; leave it out")
    return Questions(
        asked,
        lambda name: [Attachment("image/jpeg", path.read_bytes()) for path in image_files(folder, name)],
        f"ImageCoDe, {split}, {IN_FOLDER}",
        len(asked) < len(said),
    )


def released_question(one: Description, tags: tuple[str, ...] = ()) -> Question:
    """A description as a question."""
    kind = STATIC if is_static(one.set) else VIDEO
    return Question(one.set, one.key, one.text, one.gold, kind, set_source(one.set), one.set, tags)


def questions_of(settings: Settings, folder: Path | None, limit: int | None) -> Questions:
    """The questions of a run, with images that can be shown where a chat shows them.

    Args:
        settings: The run.
        folder: The user's folder; ``None`` for crops.
        limit: How many are asked at most, the first.

    Raises:
        UsageError: If something is not there, not in the format, or has no meaning with the rest.
    """
    if folder is None:
        if idle := [name for name in ("phenomena", "export", "embeddings") if getattr(settings, name) is not None]:
            raise BadInputError(f"--task-arg {idle[0]}: it is of ImageCoDe's own data; give its folder with --data DIR")
        return crop_questions(settings.tests, limit)
    found = released_questions(folder, settings.split, settings.phenomena, limit)
    if settings.retriever == CHAT:
        _refuse_unreadable(folder, found.asked)
        return found
    if settings.embeddings is None:
        raise BadInputError(
            "imagecode has no encoder of its own for ImageCoDe's images: give vectors of one with --task-arg "
            "embeddings=FILE.npz, or ask a model with --task-arg retriever=chat"
        )
    return replace(found, source=f"{found.source}; vectors of {settings.embeddings.name}")


def _refuse_unreadable(folder: Path, asked: Sequence[Question]) -> None:
    """Refuse an image that nobody could see, before anything starts."""
    for name in dict.fromkeys(question.set for question in asked):
        for path in image_files(folder, name):
            read_pixels(path)
