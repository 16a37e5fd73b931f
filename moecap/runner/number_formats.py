"""The number formats of a run, from what the backend chose and what the checkpoint says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from moecap.backend import Backend
from moecap.errors import NotBuiltError
from moecap.models.formats import Formats, asked_cache, checkpoint_formats, run_formats
from moecap.models.reading import is_quantised, read_model
from moecap.plugins import BACKENDS, load_plugin, plugin_names

__all__ = ["number_formats"]


def number_formats(
    backend: type[Backend], dtype: str, model_config: Mapping[str, Any], engine_arguments: Mapping[str, str]
) -> Formats:
    """The number formats of the run: one for all weights, or those of a checkpoint that is quantised by itself.

    Raises:
        NotBuiltError: If the checkpoint is quantised and the backend does not hold it as it is.
        BadInputError: If the formats do not fit together.
    """
    formats, cache = run_formats(dtype), asked_cache(engine_arguments)
    if is_quantised(model_config):
        if not backend.quantised:
            able = [name for name in plugin_names(BACKENDS) if load_plugin(BACKENDS, name).quantised]
            raise NotBuiltError(
                f"the checkpoint is quantised, and backend {backend.name!r} counts one format for all weights; take it "
                f"in bf16, or a backend that counts the checkpoint's own: {', '.join(able)}"
            )
        return checkpoint_formats(dtype, cache or read_model(model_config, "", unquantised=dtype).kv_dtype)
    return formats if cache is None else replace(formats, kv=cache)
