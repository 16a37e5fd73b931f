"""Warcraft maps with their cheapest ways, from a folder in the format in which they are published: NumPy files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from moecap.errors import BadInputError, NotAvailableError
from moecap.packed_files import read_array

__all__ = ["Maps", "load_warcraft"]


class Maps(NamedTuple):
    """Maps of one split.

    Attributes:
        images: [n, 3, pixels, pixels], 32-bit fractions, each channel of mean 0 and deviation 1 over the split.
        ways: 1 for each cell on the cheapest way, row by row, [n, cells].
        ground: Kind of ground of each cell, row by row, [n, cells].
    """

    images: np.ndarray
    ways: np.ndarray
    ground: np.ndarray


def load_warcraft(folder: Path, split: str, edge: int, costs: Sequence[float]) -> Maps:
    """One split of the maps of ``edge`` by ``edge`` cells.

    Args:
        folder: Holds ``{edge}x{edge}/{split}_maps.npy`` and its like, perhaps below ``warcraft_shortest_path``; files
            that are published in two parts (``..._part0.npy``) are joined.
        split: ``train``, ``val`` or ``test``.
        edge: Cells along the edge of a map.
        costs: What each kind of ground costs, to tell the kind by its cost.

    Raises:
        NotAvailableError: If a file is not there.
        BadInputError: If a file is not in the format, or the files do not belong together.
    """
    maps, ways, weights = (
        _array(folder, f"{split}_{name}", edge) for name in ("maps", "shortest_paths", "vertex_weights")
    )
    where = f"{folder}: {split} of {edge}x{edge}"
    cells = (len(maps), edge, edge)
    if maps.ndim != 4 or maps.shape[1] != maps.shape[2] or maps.shape[3] != 3 or maps.shape[1] % (4 * edge):
        raise BadInputError(f"{where}: maps of shape {maps.shape}; n x pixels x pixels x 3 is needed")
    if ways.shape != cells or weights.shape != cells:
        raise BadInputError(
            f"{where}: {len(maps)} maps with ways {ways.shape} and costs {weights.shape}; fetch all again"
        )
    if not np.isin(ways, (0, 1)).all():
        raise BadInputError(f"{where}: a way that is neither 0 nor 1 in a cell; fetch it again")
    far = abs(weights.astype(np.float64)[..., None] - np.asarray(costs))
    if far.size and far.min(-1).max() > 0.01:
        worst = np.unravel_index(int(far.min(-1).argmax()), cells)
        raise BadInputError(
            f"{where}: map {worst[0]} has a cell of cost {weights[worst]:g}; ground costs {', '.join(map(str, costs))}"
        )
    images = maps.transpose(0, 3, 1, 2).astype(np.float32)
    mean, deviation = (f(images, axis=(0, 2, 3), keepdims=True) for f in (np.mean, np.std))
    images = (images - mean) / np.maximum(deviation, np.float32(1e-6))
    return Maps(images, ways.reshape(len(maps), -1).astype(np.int64), far.argmin(-1).reshape(len(maps), -1))


def _array(folder: Path, name: str, edge: int) -> np.ndarray:
    below = f"{edge}x{edge}"
    for base in (folder / below, folder / "warcraft_shortest_path" / below):
        paths = [base / f"{name}.npy"] if (base / f"{name}.npy").is_file() else sorted(base.glob(f"{name}_part*.npy"))
        if paths:
            try:
                return np.concatenate([read_array(path) for path in paths])
            except (ValueError, OSError, MemoryError) as error:
                raise BadInputError(f"{paths[0]} cannot be read as NumPy's format ({error}); fetch it again") from error
    raise NotAvailableError(f"{folder} holds no {below}/{name}.npy; give the folder of the maps with --data DIR")
