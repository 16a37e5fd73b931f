"""A low-rank adapter (LoRA) on the projections of attention, as a part of the model that every token passes.

An adapter of rank r adds to a matrix W [rows, columns] the product of B [rows, r] and A [r, columns] (Hu et al., arXiv
2106.09685, section 4.1). They stay apart in memory: a step reads both, and a token is multiplied with both. A run
writes what is counted into the model's configuration under ``ADAPTER``, from which every number of it is computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from moecap.errors import BadInputError, NotBuiltError
from moecap.models.spec import Layer, Matrix, ModelSpec
from moecap.strict_json import parse_json

__all__ = ["ADAPTER", "ADAPTER_ARGUMENT", "adapted", "adapter_config", "with_adapter"]

ADAPTER = "moecap_adapter"
"""Key of a model's configuration: ``{"rank": r, "targets": [names of matrices]}``."""

ADAPTER_ARGUMENT = "lora-paths"
"""Engine argument that names the folder of an adapter."""

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
PLAIN = {"bias": "none", "use_dora": False, "use_rslora": False, "fan_in_fan_out": False}
"""Fields of an adapter's configuration, and the values with which it is what is counted here."""
EMPTY = (
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "layers_to_transform",
    "exclude_modules",
    "target_parameters",
)
"""Fields that have to be absent or empty for that."""


def adapter_config(folder: Path) -> dict[str, Any]:
    """What is counted of an adapter in the layout of the library peft.

    Raises:
        BadInputError: If there is no readable adapter.
        NotBuiltError: If it is of a kind that is not counted.
    """
    try:
        path = folder / "adapter_config.json"
        if path.exists() and not path.is_file():
            raise BadInputError(f"adapter {folder}: adapter_config.json is no plain file")
        config = parse_json(path.read_bytes())
        kind, rank, targets = config["peft_type"], config["r"], config["target_modules"]
    except OSError as error:
        raise BadInputError(f"adapter {folder}: no readable adapter_config.json ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise BadInputError(f"adapter {folder}: adapter_config.json lacks peft_type, r or target_modules") from None
    named = isinstance(targets, list) and all(isinstance(target, str) for target in targets)
    others = sorted(set(targets) - set(TARGETS)) if named else [str(targets)]
    odd = [name for name, value in PLAIN.items() if config.get(name, value) != value]
    odd += [name for name in EMPTY if config.get(name)]
    if kind != "LORA" or not isinstance(rank, int) or rank < 1 or odd:
        what = f"{odd[0]} {config[odd[0]]}" if odd else f"{kind} of rank {rank}"
        raise NotBuiltError(f"adapter {folder.name}: {what} is not counted; give a plain LoRA")
    if others or not targets:
        what = f"it adapts {others[0]}" if others else "it adapts nothing"
        raise NotBuiltError(f"adapter {folder.name}: {what}; counted are {', '.join(TARGETS)}")
    return {"rank": rank, "targets": sorted(targets)}


def with_adapter(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The configuration of a model that is served with an adapter.

    Raises:
        UsageError: If the adapter is not counted.
    """
    return {**config, ADAPTER: adapter_config(folder)}


def adapted(spec: ModelSpec, config: Mapping[str, Any]) -> ModelSpec:
    """The model with the adapter that its configuration names, or as it is.

    Raises:
        BadInputError: If the configuration names none that the model can have.
    """
    adapter = config.get(ADAPTER)
    if adapter is None:
        return spec
    try:
        rank, targets = int(adapter["rank"]), frozenset(map(str, adapter["targets"]))
    except (KeyError, TypeError, ValueError):
        raise BadInputError(f"{ADAPTER}: it needs a rank and targets") from None
    if rank < 1 or not targets <= set(TARGETS):
        raise BadInputError(f"{ADAPTER}: rank {rank} of {', '.join(sorted(targets))} is not counted")
    layers = {layer: _adapted_layer(layer, rank, targets) for layer, _ in spec.groups}
    reading = f"{spec.reading}; with an adapter of rank {rank} on {', '.join(sorted(targets))}"
    return replace(spec, layers=tuple(layers[layer] for layer in spec.layers), reading=reading)


def _adapted_layer(layer: Layer, rank: int, targets: frozenset[str]) -> Layer:
    matrices = layer.attention.matrices
    if missing := sorted(targets - {matrix.name for matrix in matrices}):
        raise BadInputError(f"the adapter is for a matrix {missing[0]}, which the model does not have")
    chosen = [matrix for matrix in matrices if matrix.name in targets]
    if large := [matrix for matrix in chosen if rank > min(matrix.rows, matrix.columns)]:
        narrow = min(large[0].rows, large[0].columns)
        raise BadInputError(f"an adapter of rank {rank} is none for {large[0].name}, which has rank {narrow} at most")
    more = [part for matrix in chosen for part in _parts(matrix, rank)]
    return replace(layer, attention=replace(layer.attention, matrices=(*matrices, *more)))


def _parts(matrix: Matrix, rank: int) -> tuple[Matrix, Matrix]:
    """A and B of a matrix, in its format."""
    first = Matrix(f"{matrix.name}.lora_A", rank, matrix.columns, matrix.format, whole=True)
    return first, replace(matrix, name=f"{matrix.name}.lora_B", columns=rank)
