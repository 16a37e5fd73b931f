"""A reader of bytes that a stranger may have written, and valid files in the formats of several."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[2]
IMPORTS = TESTS / "moecap" / "importing" / "files"

Content = bytes | Path


@dataclass(frozen=True)
class Parser:
    """A reader.

    Attributes:
        name: Its name.
        file: The path of the file that is changed, below the folder that it lies in.
        read: Takes the path of the changed file and reads it as moecap's commands do.
        examples: Valid contents of the file.
        beside: Files that lie beside it, by path.
        text: Whether the format is text, so that changes of its values make sense.
    """

    name: str
    file: str
    read: Callable[[Path], object]
    examples: tuple[bytes, ...]
    beside: Mapping[str, Content] | None = None
    text: bool = True

    def place(self, folder: Path, content: bytes) -> Path:
        """Write a content where it is read, with what lies beside it, into an empty folder."""
        path = folder / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        for name, other in (self.beside or {}).items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(other, Path):
                shutil.copyfile(other, target)
            else:
                target.write_bytes(other)
        path.write_bytes(content)
        return path


def run_files(run: Path) -> dict[str, Path]:
    """The files of a run directory but its report."""
    return {path.name: path for path in sorted(run.iterdir()) if path.suffix in (".json", ".parquet", ".jsonl", ".npz")}


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def as_lines(*values: Any) -> bytes:
    return b"".join(as_json(value) + b"\n" for value in values)


def parquet(columns: Mapping[str, Any], **options: Any) -> bytes:
    """A Parquet file of columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    target = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), target, **options)
    return target.getvalue()


def npz(**arrays: Any) -> bytes:
    """A NumPy archive of arrays."""
    import numpy as np

    target = io.BytesIO()
    np.savez_compressed(target, **arrays)
    return target.getvalue()


def npy(array: Any) -> bytes:
    """An array in NumPy's format."""
    import numpy as np

    target = io.BytesIO()
    np.save(target, array)
    return target.getvalue()


def as_tar(files: Mapping[str, bytes]) -> bytes:
    import tarfile

    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


def as_zip(files: Mapping[str, bytes]) -> bytes:
    import zipfile

    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


def below(folder: str, files: Mapping[str, Path]) -> dict[str, Content]:
    return {f"{folder}/{name}": path for name, path in files.items()}
