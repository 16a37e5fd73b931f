"""Readers of archives, keys and checkpoints."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hostile.parser import Parser, as_json, as_tar, as_zip, run_files


def archives(run: Path) -> list[Parser]:
    from moecap.publishing.archive import unpack
    from moecap.publishing.signing import load_key, new_key
    from moecap_leaderboard.dropped import read_dropped

    files = {name: path.read_bytes() for name, path in run_files(run).items()}

    def unpacked(path: Path) -> object:
        folder = Path(tempfile.mkdtemp(dir=path.parent))
        return unpack(path, folder)

    def dropped(path: Path) -> object:
        folder = Path(tempfile.mkdtemp(dir=path.parent))
        return read_dropped([path], folder, with_samples=True)

    def key(path: Path) -> object:
        path.chmod(0o600)
        before = os.environ.get("MOECAP_CONFIG")
        os.environ["MOECAP_CONFIG"] = str(path.parents[1])
        try:
            return load_key("default")
        finally:
            os.environ.pop("MOECAP_CONFIG")
            if before is not None:
                os.environ["MOECAP_CONFIG"] = before

    config = run.with_name("settings")
    if not config.exists():
        before = os.environ.get("MOECAP_CONFIG")
        os.environ["MOECAP_CONFIG"] = str(config)
        new_key("default")
        os.environ.pop("MOECAP_CONFIG")
        if before is not None:
            os.environ["MOECAP_CONFIG"] = before
    return [
        Parser("archive", "observations.tar.gz", unpacked, (as_tar(files),), text=False),
        Parser("dropped-tar", "run.tar.gz", dropped, (as_tar({f"run/{k}": v for k, v in files.items()}),), text=False),
        Parser("dropped-zip", "run.zip", dropped, (as_zip({f"run/{k}": v for k, v in files.items()}),), text=False),
        Parser("signing-key", "keys/default.pem", key, ((config / "keys" / "default.pem").read_bytes(),)),
    ]


def checkpoints() -> list[Parser]:
    from moecap_backends.checkpoint import check_checkpoint
    from moecap_backends.gguf_files.header import read_tensors
    from moecap_backends.gguf_files.safetensors_reader import stored_tensors
    from moecap_backends.llamacpp_passes import _passes

    header = as_json(
        {"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}, "__metadata__": {"format": "pt"}}
    )
    tensors = len(header).to_bytes(8, "little") + header + bytes(16)
    index = as_json({"metadata": {}, "weight_map": {"w": "model.safetensors"}})
    tokenizer = {"model/tokenizer.json": b"{}"}

    def stored(path: Path) -> object:
        check_checkpoint(path.parent)
        return stored_tensors(path.parent)

    return [
        Parser("weights", "model/model.safetensors", stored, (tensors,), tokenizer, text=False),
        Parser(
            "weights-index",
            "model/model.safetensors.index.json",
            stored,
            (index,),
            tokenizer | {"model/model.safetensors": tensors},
        ),
        Parser("gguf", "model.gguf", read_tensors, (_gguf(),), text=False),
        Parser(
            "llamacpp-passes",
            "passes.bin",
            lambda path: list(_passes(path.read_bytes())),
            (_recorded_pass(),),
            text=False,
        ),
    ]


def _gguf() -> bytes:
    import struct

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    settings = text("general.architecture") + struct.pack("<I", 8) + text("llama")
    settings += text("tokenizer.ggml.scores") + struct.pack("<IIQ", 9, 6, 2) + struct.pack("<2f", 1, 2)
    tensor = text("token_embd.weight") + struct.pack("<I2QIQ", 2, 4, 2, 0, 0)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 2) + settings + tensor
    return head + bytes(-len(head) % 32) + bytes(32)


def _recorded_pass() -> bytes:
    import numpy as np

    times = np.array([5, 7], np.int64).tobytes()
    return times + np.array([2, 1, 10, 11, 0, 1, 3, 2, 2, 0, 1, 1, 2], np.int32).tobytes()
