"""Writing a safetensors file of bfloat16 weights piece by piece, without holding the model in memory.

The format: eight bytes of little-endian length, a JSON header of that length (dtype, shape and byte range of each
tensor), the tensors' bytes in the header's order (https://github.com/huggingface/safetensors).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["bfloat16_bits", "file_sha256", "write_bfloat16_safetensors"]


def bfloat16_bits(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round float32 to the nearest bfloat16, ties to even; the bits of the result, in the same shape.

    Args:
        values: Finite numbers, any shape.
    """
    import numpy as np

    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)


def write_bfloat16_safetensors(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    arrays: Iterable[NDArray[np.uint16]],
    *,
    on_bytes: Callable[[int, int], None] = lambda done, total: None,
) -> str:
    """Write one safetensors file and return its SHA-256 in hexadecimal.

    Args:
        path: The file to write.
        shapes: The tensors' names and shapes, in the order of ``arrays``.
        arrays: The tensors' bfloat16 bits; taken one at a time.
        on_bytes: Told the bytes written and the bytes of the whole file after each tensor.

    Raises:
        ValueError: An array has another shape than ``shapes`` says, or there are too few or too many.
    """
    import numpy as np

    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    done, total = 0, 8 + len(text) + end
    with path.open("wb") as file:
        for piece in (len(text).to_bytes(8, "little"), text):
            file.write(piece)
            digest.update(piece)
            done += len(piece)
        for (name, shape), array in zip(shapes.items(), arrays, strict=True):
            if array.shape != shape:
                raise ValueError(f"{name} has shape {array.shape}, not {shape}")
            data = np.ascontiguousarray(array, dtype="<u2").tobytes()
            file.write(data)
            digest.update(data)
            done += len(data)
            on_bytes(done, total)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
