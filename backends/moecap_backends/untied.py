"""A copy of a tied checkpoint with an output projection of its own, for servers that know nothing of tying.

The copy shares the weight files (hard links, or symbolic ones on another disk) and adds one file with the output
projection, an index of all of them and a ``config.json`` that says ``"tie_word_embeddings": false``. What a step reads
stays the same: a tied model reads its embedding as the output projection, this one reads its copy of it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from moecap.data.cache import cache_lock, cache_root, require_room, staged_folder
from moecap.errors import BadInputError
from moecap.models.config_file import read_config_file

__all__ = ["untied_copy"]

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
INDEX = "model.safetensors.index.json"
HEAD_FILE = "moecap-lm_head.safetensors"
WEIGHTS = "*.safetensors"


def untied_copy(folder: Path, progress: Callable[[str], None]) -> Path:
    """The folder to serve: a copy with an output projection, or the folder itself where that holds one.

    A checkpoint that keeps its embedding under another name than ``model.embed_tokens.weight`` is not copied either.
    Copies are kept in the cache (``models/untied-...``, ``moecap cache clean`` removes them) and made anew when a file
    of the checkpoint has changed.

    Args:
        folder: A checked checkpoint, whose configuration says that the model is tied.
        progress: Hears that a copy is made.

    Raises:
        BadInputError: If it holds an output projection that is not its embedding.
        NotAvailableError: If the cache has no room for the copy.
    """
    files = _tensor_files(folder)
    if EMBEDDING not in files:
        return folder
    entry, data = _read_tensor(folder / files[EMBEDDING], EMBEDDING)
    if HEAD in files:
        if _read_tensor(folder / files[HEAD], HEAD)[1] != data:
            raise BadInputError(
                f"{folder.name}: its configuration ties the output projection to the embedding, and its files hold "
                "another one; save it with tie_word_embeddings false, or without lm_head.weight"
            )
        return folder
    name = f"untied-{folder.name[:40]}-{_fingerprint(folder)}"
    target = cache_root() / "models" / name
    with cache_lock(f"models/{name}"):
        if target.is_dir():
            return target
        progress(f"copying the embedding of {folder.name}, which the server does not know as its output projection")
        require_room(cache_root(), len(data) + 1_000_000, "the copy of the embedding")
        with staged_folder(target) as made:
            for file in sorted(folder.iterdir()):
                if file.is_file() and file.name not in ("config.json", INDEX):
                    _share(file.resolve(), made / _shared_name(file.name))
            _write_tensor(made / HEAD_FILE, HEAD, entry, data)
            places = {tensor: _shared_name(file) for tensor, file in files.items()} | {HEAD: HEAD_FILE}
            index = {"metadata": {}, "weight_map": dict(sorted(places.items()))}
            (made / INDEX).write_text(json.dumps(index, indent=1) + "\n")
            config = read_config_file(folder / "config.json") | {"tie_word_embeddings": False}
            (made / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    return target


def _tensor_files(folder: Path) -> dict[str, str]:
    """The file of each tensor."""
    return {
        tensor: path.name
        for path in sorted(folder.glob(WEIGHTS))
        for tensor in _header(path)[0]
        if tensor != "__metadata__"
    }


def _header(path: Path) -> tuple[dict[str, dict[str, list[int]]], int]:
    """The header of a safetensors file, and where its tensors begin."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return json.loads(file.read(length)), 8 + length


def _read_tensor(path: Path, name: str) -> tuple[dict[str, object], bytes]:
    """The header entry and the bytes of a tensor."""
    header, begin = _header(path)
    entry = header[name]
    start, end = entry["data_offsets"]
    with path.open("rb") as file:
        file.seek(begin + start)
        return dict(entry), file.read(end - start)


def _write_tensor(path: Path, name: str, entry: dict[str, object], data: bytes) -> None:
    """A safetensors file of one tensor."""
    header = {"__metadata__": {"format": "pt"}, name: {**entry, "data_offsets": [0, len(data)]}}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("xb") as file:  # never into a file that is shared with the checkpoint
        file.write(len(text).to_bytes(8, "little") + text + data)


def _shared_name(name: str) -> str:
    """A file's name in the copy; under ``model.safetensors`` a reader would take it for all that there is."""
    return "model-shared.safetensors" if name == "model.safetensors" else name


def _share(file: Path, link: Path) -> None:
    try:
        os.link(file, link)
    except OSError:  # another disk, or a file system without links of that kind
        link.symlink_to(file)


def _fingerprint(folder: Path) -> str:
    """What changes when a file of the checkpoint does."""
    facts = [
        (str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(folder.iterdir()) if f.is_file()
    ]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:12]
