"""Multimodal configurations: the language model stands in an object of its own, inside the wrapper's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["text_part"]

_PARTS = ("text_config", "llm_config", "language_config")
_LAYERS = ("num_hidden_layers", "n_layers", "hybrid_override_pattern")
_INHERITED = ("dtype", "torch_dtype", "quantization_config")
_OWNED = ("architectures", "tie_word_embeddings")


def text_part(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The configuration of the language model, and under which key it stands.

    What the part leaves open and the wrapper says (``dtype``, ``quantization_config``) holds for the part too;
    ``tie_word_embeddings`` is the wrapper's to say, which owns the output projection. The part is shown under the
    wrapper's architecture. A configuration with layers of its own is no wrapper.

    Args:
        config: The parsed ``config.json``.

    Returns:
        The configuration itself and an empty string where there is no such part.
    """
    if any(config.get(key) is not None for key in _LAYERS):
        return config, ""
    for key in _PARTS:
        part = config.get(key)
        if not isinstance(part, dict):
            continue
        inherited = {name: config[name] for name in _INHERITED if config.get(name) is not None}
        given = {name: value for name, value in part.items() if value is not None}
        has_dtype = {"dtype", "torch_dtype"} & given.keys()
        kept = {name: value for name, value in inherited.items() if not (has_dtype and name.endswith("dtype"))}
        return kept | given | {name: config[name] for name in _OWNED if config.get(name) is not None}, key
    return config, ""
