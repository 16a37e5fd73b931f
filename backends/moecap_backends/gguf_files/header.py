"""The list of tensors in a GGUF file, read without its weights and its vocabulary.

The format (ggml, ``docs/gguf.md``): the magic ``GGUF``, a version, the numbers of tensors and of settings; each setting
as key, type and value; each tensor as name, axes from the fastest on, type and offset; then, aligned, the weights.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

from moecap.errors import BadInputError, NotBuiltError

__all__ = ["GgufTensor", "read_tensors"]

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of the plain types of settings."""
_STRING, _ARRAY, _UINT16, _UINT32 = 8, 9, 2, 4
_ALIGNMENT, _PARTS = "general.alignment", "split.count"
_MOST = 1 << 24
"""Most entries of a list or bytes of a name that a sound file has."""


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor.

    Attributes:
        name: Its name.
        shape: Its axes, rows first.
        kind: Its type as ggml names it: ``F32``, ``Q8_0``, ...
        bytes: Bytes of its weights, scales included.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    bytes: int


def read_tensors(path: Path) -> list[GgufTensor]:
    """The tensors of a file.

    Raises:
        BadInputError: If it is no GGUF file, cannot be read, or is cut short.
        NotBuiltError: If it is one of several parts.
    """
    if path.exists() and not path.is_file():
        raise BadInputError(f"{path}: no plain file; name a GGUF file")
    try:
        with path.open("rb") as file:
            return _read(path, file)
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({error.strerror}); name a GGUF file") from None
    except (struct.error, ValueError, KeyError, ArithmeticError, RecursionError, MemoryError) as error:
        raise BadInputError(f"{path}: damaged GGUF file ({error}); fetch or make it again") from None


def _read(path: Path, file: BinaryIO) -> list[GgufTensor]:
    import gguf

    if file.read(4) != _MAGIC:
        raise BadInputError(f"{path}: not a GGUF file; give one, or a folder with a checkpoint")
    version, tensors, pairs = struct.unpack("<IQQ", file.read(20))
    if version not in _VERSIONS:
        raise ValueError(f"version {version}")
    kept = _settings(file, _bounded(pairs))
    if kept.get(_PARTS, 1) > 1:
        raise NotBuiltError(f"{path.name}: one of {kept[_PARTS]} parts, which cannot be checked yet; merge them")
    found, end = [], 0
    for _ in range(_bounded(tensors)):
        name = _text(file)
        (axes,) = struct.unpack("<I", file.read(4))
        shape = struct.unpack(f"<{_bounded(axes)}Q", file.read(8 * axes))
        number, offset = struct.unpack("<IQ", file.read(12))
        kind = gguf.GGMLQuantizationType(number)
        block, size = gguf.GGML_QUANT_SIZES[kind]
        if prod(shape) % block:
            raise ValueError(f"{name} is no whole blocks of {block}")
        found.append(GgufTensor(name, shape[::-1], kind.name, prod(shape) // block * size))
        end = max(end, offset + found[-1].bytes)
    alignment = kept.get(_ALIGNMENT, 32)
    start = -(-file.tell() // alignment) * alignment
    if (size := path.stat().st_size) < start + end:
        raise ValueError(f"{size} bytes where its list of tensors says {start + end}")
    return found


def _settings(file: BinaryIO, count: int) -> dict[str, int]:
    """Pass over the settings; those that are needed, by key."""
    kept = {}
    for _ in range(count):
        key = _text(file)
        (kind,) = struct.unpack("<I", file.read(4))
        if key in (_ALIGNMENT, _PARTS) and kind in (_UINT16, _UINT32):
            kept[key] = int.from_bytes(file.read(_WIDTHS[kind]), "little")
        else:
            _pass(file, kind)
    return kept


def _pass(file: BinaryIO, kind: int) -> None:
    if kind == _STRING:
        _text(file)
    elif kind == _ARRAY:
        inner, count = struct.unpack("<IQ", file.read(12))
        if inner in _WIDTHS:
            file.seek(_WIDTHS[inner] * _bounded(count), 1)
        else:
            for _ in range(_bounded(count)):
                _pass(file, inner)
    else:
        file.seek(_WIDTHS[kind], 1)


def _text(file: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", file.read(8))
    raw = file.read(_bounded(length))
    if len(raw) < length:
        raise ValueError("it ends inside its settings")
    return raw.decode("utf-8", "replace")


def _bounded(number: int) -> int:
    if number > _MOST:
        raise ValueError(f"a length of {number}")
    return number
