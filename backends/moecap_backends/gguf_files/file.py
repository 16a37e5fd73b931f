"""GGUF files that a user has: whether they hold the model that is measured, in which format, byte for byte."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from moecap.errors import BadInputError, NotBuiltError
from moecap.models.accounting import checkpoint_bytes
from moecap.models.formats import GGUF_FORMATS
from moecap.models.spec import ModelSpec
from moecap_backends.gguf_files.header import GgufTensor, read_tensors

__all__ = ["check_gguf", "gguf_files", "matrix_format", "precision_of", "tensor_bytes"]

_STORED = {"F32": "fp32", "F16": "fp16", "BF16": "bf16", "Q8_0": "q8_0"}
_LATER_PART = re.compile(r"-(?!0*1-)\d+-of-\d+$")
_UNREAD = ("rope_freqs.weight",)
"""Tensors of a file that stand for settings of the model and that no step reads as weights."""


def gguf_files(folder: Path) -> list[Path]:
    """The GGUF files of a folder by name, without the later parts of files that are split."""
    return sorted(p for p in folder.glob("*.gguf") if p.is_file() and not _LATER_PART.search(p.stem))


def matrix_format(tensors: Sequence[GgufTensor], name: str) -> str:
    """In which format a GGUF file holds its matrices: ``fp32``, ``fp16``, ``bf16`` or ``q8_0``.

    Args:
        tensors: The file's.
        name: The file's name, for messages.

    Raises:
        NotBuiltError: If its matrices are in several formats, or in one that a run does not count.
    """
    kinds: dict[str, None] = {}
    for tensor in tensors:
        if len(tensor.shape) > 1 and "ffn_gate_inp" not in tensor.name and tensor.name not in _UNREAD:
            kinds[tensor.kind] = None
        elif tensor.kind != "F32":
            raise NotBuiltError(f"{name}: {tensor.name} is stored in {tensor.kind}; a run counts it in F32")
    if len(kinds) != 1 or not kinds.keys() <= _STORED.keys():
        raise NotBuiltError(
            f"{name} holds matrices in {', '.join(kinds) or 'nothing'}; a run counts files with all of them in one of "
            f"{', '.join(_STORED)}"
        )
    return _STORED[next(iter(kinds))]


def tensor_bytes(tensors: Sequence[GgufTensor]) -> int:
    """Bytes of all weights in a GGUF file."""
    return sum(tensor.bytes for tensor in tensors if tensor.name not in _UNREAD)


def check_gguf(path: Path, spec: ModelSpec) -> None:
    """Refuse a GGUF file that is not the model, in the format, that a run counts.

    Args:
        path: The file.
        spec: The model in that format.

    Raises:
        BadInputError: If it is no whole GGUF file, or of another model or format.
        NotBuiltError: If its formats are not counted.
    """
    tensors, precision = read_tensors(path), precision_of(spec)
    found = matrix_format(tensors, path.name)
    if found != precision:
        raise BadInputError(
            f"{path.name} holds its matrices in {found} and the run counts {precision}; say --precision {found}"
        )
    held, counted = tensor_bytes(tensors), checkpoint_bytes(spec)
    if held != counted:
        raise BadInputError(
            f"{path.name} holds {held} bytes of weights, {spec.name} has {counted} in {precision}; give its own file"
        )


def precision_of(spec: ModelSpec) -> str:
    """The GGUF format in which a model is counted."""
    form = spec.embedding.format
    return next(name for name, known in GGUF_FORMATS.items() if known == form)
