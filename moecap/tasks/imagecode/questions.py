"""What is asked: a description and ten images, of which one is meant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from moecap.attachment import Attachment

__all__ = ["IMAGES", "STATIC", "VIDEO", "Question", "Questions"]

IMAGES = 10
"""Images of a set."""

VIDEO, STATIC = "video", "static"
"""Kinds of sets: frames of one video in their order, or similar pictures."""


@dataclass(frozen=True, slots=True)
class Question:
    """A description of one image of a set.

    Attributes:
        set: Name of the set.
        key: Name of the description within its set.
        text: The description.
        gold: Place of the image that is meant, from 0; ``None`` where the data does not tell.
        kind: ``video`` or ``static``.
        source: Where the images of the set come from.
        group: What questions whose images are alike have in common: the set, or the photograph that was cropped.
        tags: Phenomena of which the description is an example.
    """

    set: str
    key: str
    text: str
    gold: int | None
    kind: str
    source: str
    group: str
    tags: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Its name in samples and tables."""
        return f"{self.set}/{self.key}"


@dataclass(frozen=True, slots=True)
class Questions:
    """Questions with what shows their images.

    Attributes:
        asked: The questions.
        images: The ten images of a set in their order, by the set's name.
        source: Where they come from.
        limited: Whether a limit left some out.
    """

    asked: Sequence[Question]
    images: Callable[[str], Sequence[Attachment]]
    source: str
    limited: bool
