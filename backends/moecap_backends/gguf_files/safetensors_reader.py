"""Reads the tensors of a checkpoint one at a time as fp32, without torch, bf16 included, which NumPy does not know.

The format: eight bytes of little-endian length, a JSON header of that length (dtype, shape and byte range of each
tensor), the tensors' bytes (https://github.com/huggingface/safetensors).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from moecap.errors import BadInputError, NotBuiltError

__all__ = ["StoredTensor", "stored_tensors"]

_PLAIN = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
_BF16 = "BF16"


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor lies.

    Attributes:
        file: The safetensors file.
        dtype: Its format as the file names it: ``BF16``, ``F16``, ``F32`` or ``F64``.
        shape: Its axes.
        start: First byte in the file.
        end: Byte after its last.
    """

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    def read(self) -> npt.NDArray[np.float32]:
        """The values in fp32, in its shape."""
        stored = np.dtype("<u2" if self.dtype == _BF16 else _PLAIN[self.dtype])
        count = (self.end - self.start) // stored.itemsize
        with self.file.open("rb") as file:
            file.seek(self.start)
            raw = np.fromfile(file, stored, count)
        if self.dtype == _BF16:
            return (raw.astype(np.uint32) << np.uint32(16)).view(np.float32).reshape(self.shape)
        return raw.astype(np.float32).reshape(self.shape)


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """The tensors of every ``*.safetensors`` of a folder by name; call ``check_checkpoint`` first.

    Raises:
        BadInputError: If a header cannot be read, or does not fit its tensors.
        NotBuiltError: If a tensor is in a format other than fp16, bf16, fp32 and fp64.
    """
    found: dict[str, StoredTensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            try:
                header = json.loads(file.read(length))
            except ValueError:
                raise BadInputError(f"{path}: corrupt safetensors file; fetch the model again") from None
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            if entry["dtype"] != _BF16 and entry["dtype"] not in _PLAIN:
                raise NotBuiltError(
                    f"{path.name}: {name} is stored in {entry['dtype']}; only unquantised checkpoints can be converted"
                )
            start, end = entry["data_offsets"]
            shape = tuple(entry["shape"])
            width = 2 if entry["dtype"] == _BF16 else np.dtype(_PLAIN[entry["dtype"]]).itemsize
            if end - start != width * prod(shape):
                raise BadInputError(f"{path}: {name} has {end - start} bytes for the shape {shape}; fetch it again")
            found[name] = StoredTensor(path, entry["dtype"], shape, 8 + length + start, 8 + length + end)
    return found
