"""Checks a checkpoint folder before a library opens it, so that bad input is one line and not a traceback."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from moecap.errors import BadInputError
from moecap.strict_json import parse_json

__all__ = ["check_checkpoint"]

READ_FILES = ("*.safetensors", "*.json", "*.model", "*.jinja")
"""What libraries read of a checkpoint folder."""

MAX_HEADER = 100_000_000


def check_checkpoint(folder: Path) -> None:
    """Refuse a folder whose weights are missing, cut short, no safetensors or no plain files.

    Args:
        folder: A checkpoint in the Hugging Face layout.

    Raises:
        BadInputError: Naming the file and what is wrong with it.
    """
    for pattern in READ_FILES:
        for file in sorted(folder.glob(pattern)):
            _refuse_special(file)
    index = folder / "model.safetensors.index.json"
    if index.exists():
        try:
            names = sorted(set(parse_json(index.read_bytes())["weight_map"].values()))
            if not all(Path(name).name == name for name in names):
                raise ValueError("a file outside of the folder")
        except (ValueError, KeyError, AttributeError, TypeError):
            raise BadInputError(f"{index}: not an index of safetensors files; fetch the model again") from None
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise BadInputError(
                f"{folder}: {len(missing)} of {len(names)} weight files are missing, first {missing[0]}; "
                "fetch the model again"
            )
        files = [folder / name for name in names]
    else:
        files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise BadInputError(f"{folder}: no *.safetensors file; give a folder with a whole checkpoint")
    for file in files:
        try:
            _check_file(file)
        except OSError as error:
            raise BadInputError(f"{file}: cannot be read ({error.strerror}); check your rights") from None
    if not (folder / "tokenizer.json").is_file():
        raise BadInputError(f"{folder}: no tokenizer.json; save the tokenizer beside the weights (save_pretrained)")


def _refuse_special(file: Path) -> None:
    """Refuse what is no plain file: reading a pipe would wait for ever, and a device may never end."""
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise BadInputError(
            f"{file}: cannot be read ({error.strerror}; a broken link?); fetch the model again"
        ) from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, device or socket"
        raise BadInputError(f"{file}: {kind} and no plain file; take it away or fetch the model again")


def _check_file(path: Path) -> None:
    def refuse(problem: str) -> BadInputError:
        return BadInputError(f"{path}: corrupt safetensors file ({problem}); fetch the model again")

    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or length > min(size - 8, MAX_HEADER):
            raise refuse("its header is cut short")
        try:
            header = parse_json(file.read(length))
            ends = [_end(entry) for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise refuse("its header is not valid") from None
    if 8 + length + max(ends, default=0) != size:
        raise refuse(f"{size} bytes where its header says {8 + length + max(ends, default=0)}")


def _end(entry: dict[str, Any]) -> int:
    """Where a tensor ends.

    Raises:
        ValueError: If its place, shape or type is none.
    """
    start, end = entry["data_offsets"]
    whole = [start, end, *entry["shape"]]
    if not isinstance(entry["dtype"], str) or any(type(number) is not int or number < 0 for number in whole):
        raise ValueError("a tensor without a type, a shape or a place")
    return int(end)
