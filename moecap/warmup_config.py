"""When the warm-up of a run ends."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["WarmupConfig"]


class WarmupConfig(BaseModel):
    """When the warm-up ends: the medians of two batches in a row agree, or a bound is reached."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Largest relative change of the median decode step between two warm-up batches in a row that counts as stable."""
    output_len: Annotated[int, Field(ge=2)] = 8
    """Output tokens of a warm-up request."""
    max_batches: Annotated[int, Field(gt=0)] = 6
    """Most warm-up batches; a run that is still unstable then carries a flag."""
