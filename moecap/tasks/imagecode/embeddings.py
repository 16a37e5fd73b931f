"""Vectors of a dual encoder in a file.

``v`` [n, 10, d] are those of the images and ``t`` [n, d] those of the texts, one row a description in the order of the
split's JSON file; ``ids`` [n], where given, names each row ``SET/PLACE``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from moecap.errors import BadInputError, NotAvailableError
from moecap.packed_files import read_arrays
from moecap.tasks.imagecode.questions import IMAGES, Question

__all__ = ["Vectors", "read_vectors"]


class Vectors(NamedTuple):
    """Vectors of a split.

    Attributes:
        images: float32 [n, 10, d].
        texts: float32 [n, d].
    """

    images: np.ndarray
    texts: np.ndarray


def read_vectors(path: Path, asked: Sequence[Question], rows: int) -> Vectors:
    """The vectors of the first questions of a split.

    Args:
        path: The file.
        asked: The questions.
        rows: Descriptions of the whole split.

    Raises:
        NotAvailableError: If the file is not there.
        BadInputError: If it holds other vectors than those of the split, or what is no finite number.
    """
    try:
        arrays = read_arrays(path)
    except FileNotFoundError:
        raise NotAvailableError(f"{path}: no such file; give vectors as a .npz file with v and t") from None
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path} cannot be read as a .npz file ({error}); make it again") from None
    if not {"v", "t"} <= arrays.keys():
        raise BadInputError(f"{path}: no arrays v and t; save them with numpy.savez(FILE, v=..., t=...)")
    images, texts, ids = arrays["v"], arrays["t"], arrays.get("ids")
    if texts.ndim != 2 or images.shape != (len(texts), IMAGES, texts.shape[-1]) or images.dtype.kind not in "f":
        raise BadInputError(
            f"{path}: v is {list(images.shape)} and t {list(texts.shape)}; they are fractions of the shapes "
            f"[n, {IMAGES}, d] and [n, d]"
        )
    if len(texts) != rows:
        raise BadInputError(f"{path}: {len(texts)} rows, and the split has {rows} descriptions; make it again")
    if ids is not None and (wrong := [n for n, one in enumerate(asked) if n >= len(ids) or str(ids[n]) != one.id]):
        raise BadInputError(f"{path}: row {wrong[0]} is not of {asked[wrong[0]].id!r}; keep the order of the JSON file")
    n = len(asked)
    found = Vectors(images[:n].astype(np.float32), texts[:n].astype(np.float32))
    for name, array in zip("vt", found, strict=True):
        finite = np.isfinite(array).reshape(n, -1).all(-1)
        if not finite.all():
            raise BadInputError(f"{path}: row {int(finite.argmin())} of {name} has no finite numbers; make it again")
    return found
