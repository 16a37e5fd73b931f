"""From a parsed ``config.json`` to a model specification: the reader is chosen by architecture, never by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from moecap.models.adapter import adapted
from moecap.models.families import ARCHITECTURES, READERS
from moecap.models.families.blocks import Blocks
from moecap.models.families.familiar import read_familiar
from moecap.models.fields import ConfigFields
from moecap.models.formats import Formats
from moecap.models.nested import text_part
from moecap.models.quantization import read_weights
from moecap.models.spec import ModelSpec

__all__ = ["is_quantised", "read_model", "read_model_as"]


def is_quantised(config: Mapping[str, Any]) -> bool:
    """Whether the configuration of a model says that its checkpoint is quantised."""
    return bool(text_part(config)[0].get("quantization_config"))


def read_model(
    config: Mapping[str, Any],
    name: str,
    *,
    weights: str | None = None,
    kv: str | None = None,
    unquantised: str | None = None,
) -> ModelSpec:
    """Build the specification of a model.

    Args:
        config: The parsed ``config.json``.
        name: The name to show; nothing is read from it.
        weights: A number format that overrides ``dtype`` and ``quantization_config`` for every class of weights.
        kv: A number format of the KV cache that overrides the configuration's.
        unquantised: A number format that overrides ``dtype`` alone, in which the engine holds what is not quantised.

    Raises:
        BadInputError: If the configuration cannot be read; the message names the missing keys or the wrong value.
        UnknownNameError: If ``weights``, ``kv`` or ``unquantised`` is not a known format.
    """
    part, key = text_part(config)
    fields = ConfigFields(part, name)
    spec = adapted(_read(Blocks(fields, read_weights(fields, weights, kv, unquantised))), config)
    if not key:
        return spec
    return replace(spec, reading=f"{spec.reading}; the language model in {key} alone, without vision or audio")


def read_model_as(config: Mapping[str, Any], name: str, formats: Formats) -> ModelSpec:
    """Build the specification of a model in the number formats of a run.

    Args:
        config: The parsed ``config.json``.
        name: The name to show.
        formats: The number formats.

    Raises:
        BadInputError: If the configuration cannot be read.
        UnknownNameError: If a format is not known.
    """
    if formats.own:
        return read_model(config, name, kv=formats.kv, unquantised=formats.weights)
    return read_model(config, name, weights=formats.weights, kv=formats.kv)


def _read(blocks: Blocks) -> ModelSpec:
    fields = blocks.fields
    model_type = fields.text("model_type")
    if model_type in READERS:
        return READERS[model_type](blocks)
    known = next((c for c in fields.texts("architectures") if c in ARCHITECTURES), None)
    if known is None:
        return read_familiar(blocks)
    spec = READERS[ARCHITECTURES[known]](blocks)
    return replace(spec, reading=f"{spec.reading}, by the architecture {known}")
