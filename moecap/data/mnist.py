"""MNIST from a folder, in the format in which it is published: four IDX files, with or without gzip."""

from __future__ import annotations

import gzip
import struct
import zlib
from math import prod
from pathlib import Path

import numpy as np

from moecap.errors import BadInputError, NotAvailableError

__all__ = ["load_mnist"]

IMAGES, LABELS = 0x00000803, 0x00000801
MOST_BYTES = 100_000_000
"""The larger of the two files has 47 million."""
"""First four bytes of a file of images and of one of labels: unsigned bytes in three dimensions and in one."""

_FILES = {"train": "train-{}-ubyte", "test": "t10k-{}-ubyte"}


def load_mnist(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images, [n, 28, 28], 32-bit fractions from 0 to 1, and the digit on each, [n].

    Args:
        folder: Holds the files, or has them in a folder ``MNIST/raw``.
        split: ``train`` or ``test``.

    Raises:
        NotAvailableError: If a file is not there.
        BadInputError: If a file is not in the format, or the two do not belong together.
    """
    images = _idx(folder, _FILES[split].format("images-idx3"), IMAGES, 3)
    labels = _idx(folder, _FILES[split].format("labels-idx1"), LABELS, 1)
    if images.shape[1:] != (28, 28):
        raise BadInputError(f"{folder}: {split} images of {images.shape[1]} x {images.shape[2]}; MNIST has 28 x 28")
    if len(images) != len(labels):
        raise BadInputError(f"{folder}: {len(images)} {split} images with {len(labels)} labels; fetch both again")
    if labels.size and labels.max() > 9:
        place = int(labels.argmax())
        raise BadInputError(f"{folder}: {split} label {place} is {labels[place]}, which is no digit; fetch it again")
    return images.astype(np.float32) / 255, labels.astype(np.int64)


def _idx(folder: Path, name: str, magic: int, dimensions: int) -> np.ndarray:
    """The array in an IDX file."""
    places = [base / file for base in (folder, folder / "MNIST" / "raw") for file in (name, f"{name}.gz")]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise NotAvailableError(f"{folder} holds no {name} and no {name}.gz; give MNIST's folder with --data DIR")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInputError(f"{path} cannot be read ({error}); fetch it again") from error
    head = 4 + 4 * dimensions
    if len(content) < head or struct.unpack(">I", content[:4])[0] != magic:
        raise BadInputError(f"{path} is no IDX file of {dimensions} dimensions; fetch it again")
    shape = struct.unpack(f">{dimensions}I", content[4:head])
    expected = prod(shape)
    if len(content) - head != expected:
        raise BadInputError(f"{path} has {len(content) - head} values and announces {expected}; fetch it again")
    if not expected:
        raise BadInputError(f"{path} announces no value; fetch it again")
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)
