"""The one low-rank adapter with which SGLang's server answers every request (``--engine-arg lora-paths=FOLDER``)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from moecap.errors import BadInputError
from moecap.files import file_sha256
from moecap.models.adapter import ADAPTER_ARGUMENT, adapter_config
from moecap.models.spec import ModelSpec
from moecap_backends.gguf_files.safetensors_reader import stored_tensors

__all__ = ["ADAPTER_NAME", "adapter_details", "adapter_folder", "check_adapter"]

ADAPTER_NAME = "moecap"
"""Under which the server knows it, and a request asks for it."""

WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model.model.layers"
ATTENTION = "self_attn"


def adapter_folder(arguments: Mapping[str, str]) -> Path | None:
    """The folder of the adapter among the user's engine arguments.

    Raises:
        BadInputError: If it is no folder.
    """
    given = arguments.get(ADAPTER_ARGUMENT)
    if given is None:
        return None
    folder = Path(given).expanduser().absolute()
    if not folder.is_dir():
        raise BadInputError(f"engine argument {ADAPTER_ARGUMENT}={given}: no such folder; name that of one adapter")
    return folder


def adapter_details(folder: Path) -> str:
    """What a result says of it: its name, what it adapts, and the digest of its weights."""
    config = adapter_config(folder)
    targets = ", ".join(config["targets"])
    return f"{folder.name}: rank {config['rank']} on {targets}; SHA-256 {file_sha256(folder / WEIGHTS)}"


def check_adapter(folder: Path, spec: ModelSpec) -> None:
    """Refuse an adapter whose weights are not those of this model.

    Raises:
        BadInputError: With the first tensor that is missing, has another shape, or is one too many.
    """
    if not (folder / WEIGHTS).is_file():
        raise BadInputError(f"adapter {folder}: no {WEIGHTS}; save it with save_pretrained")
    stored = {name: tensor.shape for name, tensor in stored_tensors(folder).items()}
    expected = {
        f"{PREFIX}.{number}.{ATTENTION}.{matrix.name}.weight": (matrix.rows, matrix.columns)
        for number, layer in enumerate(spec.layers)
        for matrix in layer.attention.matrices
        if matrix.name.endswith((".lora_A", ".lora_B"))
    }
    for name in sorted(expected.keys() | stored.keys()):
        if stored.get(name) != expected.get(name):
            raise BadInputError(
                f"adapter {folder.name}: {name} is {stored.get(name, 'missing')}, for this model it is "
                f"{expected.get(name, 'not wanted')}; give the adapter of this model"
            )
