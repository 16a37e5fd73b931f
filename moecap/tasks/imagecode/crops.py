"""Sets of ten crops of one photograph, and descriptions that the pixels themselves decide.

A ``video`` set is a window that slides over a photograph, by at most six pixels along each axis from one frame to the
next; the crops of a ``static`` set lie anywhere. A description asks for the most of something within the set
(``the brightest one``), and every place of the set is meant equally often.

Shapes: n sets, 10 crops, each 8 x 8 cells with red, green, blue and contrast.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moecap.attachment import Attachment
from moecap.data.photographs import Photograph
from moecap.tasks.imagecode.questions import IMAGES, STATIC, VIDEO, Question

__all__ = ["ATTRIBUTES", "CropSet", "attribute_values", "cells_of", "crop_sets", "question_of", "shown"]

EDGE, CELLS = 96, 8
"""Pixels along an edge of a crop, and cells along it."""

STRIDE = 6
"""Most pixels along an axis from one frame to the next."""

MARGIN = 0.02
"""By how much of the spread within the set the crop that is meant leads the second."""

TRIES = 400
"""Draws for one set, after which the photograph is taken to have none for that place."""

Measure = Callable[[np.ndarray], np.ndarray]
"""From cells, [..., 8, 8, 4], to a value of each crop."""

_LUMA = np.array([0.299, 0.587, 0.114])


def _light(cells: np.ndarray) -> np.ndarray:
    found: np.ndarray = cells[..., :3] @ _LUMA
    return found


def _over(channel: int) -> Measure:
    others = [c for c in range(3) if c != channel]
    return lambda cells: (cells[..., channel] - cells[..., others].mean(-1)).mean((-2, -1))


def _side(rows: slice, columns: slice) -> Measure:
    return lambda cells: _light(cells)[..., rows, columns].mean((-2, -1)) - _light(cells).mean((-2, -1))


_ALL, _FIRST, _LAST = slice(None), slice(None, CELLS // 2), slice(CELLS // 2, None)

ATTRIBUTES: Mapping[str, tuple[str, Measure]] = {
    "bright": ("the brightest one", lambda cells: _light(cells).mean((-2, -1))),
    "dark": ("the darkest one", lambda cells: -_light(cells).mean((-2, -1))),
    "red": ("the one with most red in it", _over(0)),
    "green": ("the one with most green in it", _over(1)),
    "blue": ("the one with most blue in it", _over(2)),
    "busy": ("the one with most fine detail", lambda cells: cells[..., 3].mean((-2, -1))),
    "smooth": ("the smoothest one", lambda cells: -cells[..., 3].mean((-2, -1))),
    "left": ("the one that is lit most from the left", _side(_ALL, _FIRST)),
    "right": ("the one that is lit most from the right", _side(_ALL, _LAST)),
    "top": ("the one that is lit most from above", _side(_FIRST, _ALL)),
    "bottom": ("the one that is lit most from below", _side(_LAST, _ALL)),
}
"""Description and measure of each attribute; the crop with the largest value is meant."""


@dataclass(frozen=True, slots=True)
class CropSet:
    """Ten crops with a description of one.

    Attributes:
        name: Its name.
        kind: ``video`` or ``static``.
        photograph: The photograph.
        corners: Upper left corners, pixels [10, 2] as row and column.
        cells: Means of red, green and blue (0 to 1) and the standard deviation of the light, [10, 8, 8, 4].
        attribute: What is asked for.
        gold: Place of the crop that is meant.
    """

    name: str
    kind: str
    photograph: Photograph
    corners: np.ndarray
    cells: np.ndarray
    attribute: str
    gold: int


def attribute_values(name: str, cells: np.ndarray) -> np.ndarray:
    """The value of an attribute in each crop.

    Args:
        name: A name out of ``ATTRIBUTES``.
        cells: [..., 8, 8, 4].
    """
    values: np.ndarray = ATTRIBUTES[name][1](cells)
    return values


def cells_of(pixels: np.ndarray) -> np.ndarray:
    """Means of red, green and blue, and standard deviation of the light, of each cell of a crop, [8, 8, 4].

    Args:
        pixels: Red, green and blue, uint8 [96, 96, 3].
    """
    side = EDGE // CELLS
    parts = pixels.astype(np.float64).reshape(CELLS, side, CELLS, side, 3) / 255
    means = parts.mean((1, 3))
    contrast = (parts @ _LUMA).std((1, 3))
    return np.concatenate([means, contrast[..., None]], axis=-1)


def crop_sets(
    photographs: Sequence[Photograph], count: int, draw: np.random.Generator, prefix: str = ""
) -> list[CropSet]:
    """Sets of each photograph in turn; of every twenty, each kind has one for each place that can be meant.

    Args:
        photographs: The photographs.
        count: Number of sets.
        draw: Draws them.
        prefix: Begins their names.
    """
    found = []
    for number in range(count):
        if number % (2 * IMAGES) == 0:
            block = draw.permutation(2 * IMAGES)
        case = int(block[number % (2 * IMAGES)])
        kind, place = (VIDEO, STATIC)[case % 2], case // 2
        for step in range(len(photographs)):  # a photograph that has no such set leaves its turn to the next
            photograph = photographs[(number + step) % len(photographs)]
            name = f"{prefix}{kind}-{number}"
            made = _crop_set(name, kind, photograph, place, draw)
            if made is not None:
                found.append(made)
                break
        else:
            raise AssertionError(f"no photograph has a {kind} set in which place {place} can be meant")
    return found


def _crop_set(name: str, kind: str, photograph: Photograph, place: int, draw: np.random.Generator) -> CropSet | None:
    """A set in which a place can be meant."""
    room = np.array(photograph.pixels.shape[:2]) - EDGE + 1
    for _ in range(TRIES):
        corners = _sliding(room, draw) if kind == VIDEO else draw.integers(0, room, (IMAGES, 2))
        cells = np.stack([cells_of(photograph.pixels[y : y + EDGE, x : x + EDGE]) for y, x in corners])
        fitting = [attribute for attribute in ATTRIBUTES if _meant(attribute, cells) == place]
        if fitting:
            attribute = fitting[int(draw.integers(len(fitting)))]
            return CropSet(name, kind, photograph, corners, cells, attribute, place)
    return None


def _sliding(room: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Corners of a window that moves by up to six pixels along each axis at a time, and never stands still."""
    steps = draw.integers(-STRIDE, STRIDE + 1, (IMAGES - 1, 2))
    steps[(steps == 0).all(-1)] = (0, 1)
    path = np.concatenate([np.zeros((1, 2), int), steps.cumsum(0)])
    low, high = -path.min(0), room - 1 - path.max(0)
    corners: np.ndarray = draw.integers(low, high + 1) + path
    return corners


def _meant(attribute: str, cells: np.ndarray) -> int | None:
    """The place that has the largest value by a margin; ``None`` where none has."""
    values = attribute_values(attribute, cells)
    last, second, first = np.sort(values)[[0, -2, -1]]
    if first - second <= MARGIN * (first - last) or first - last < 1e-6:
        return None
    return int(values.argmax())


def question_of(one: CropSet) -> Question:
    """The question about a set."""
    return Question(
        set=one.name,
        key=one.attribute,
        text=ATTRIBUTES[one.attribute][0],
        gold=one.gold,
        kind=one.kind,
        source=one.photograph.name,
        group=one.photograph.name,
    )


def shown(one: CropSet) -> list[Attachment]:
    """The crops as PNG files."""
    from PIL import Image

    found = []
    for y, x in one.corners:
        file = io.BytesIO()
        Image.fromarray(one.photograph.pixels[y : y + EDGE, x : x + EDGE]).save(file, "PNG")
        found.append(Attachment("image/png", file.getvalue()))
    return found
