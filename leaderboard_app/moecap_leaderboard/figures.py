"""Figures that no run of moecap gave: published by others, or projected for their configuration."""

from __future__ import annotations

import hashlib
from typing import Literal

import rfc8785
from pydantic import BaseModel, ConfigDict

from moecap.metrics.value import Metric

__all__ = ["FigureModel", "FigureWorkload", "FiguresRecord"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FigureModel(_Record):
    """Which model, as far as the source says."""

    id: str
    name: str
    revision: str | None = None
    total_params: int | None = None
    active_params: int | None = None


class FigureWorkload(_Record):
    """Under which load, as far as the source says; lengths in tokens."""

    load: Literal["closed", "open"] | None = None
    concurrency: int | None = None
    rate: float | None = None
    input_len: int | None = None
    output_len: int | None = None
    num_requests: int | None = None
    dataset: str | None = None
    tasks: tuple[str, ...] = ()
    tensor_parallel: int | None = None


class FiguresRecord(_Record):
    """Figures of one configuration with their source.

    Attributes:
        kind: Published by others, or projected.
        hardware: Id of a packaged profile.
        hardware_name: Its name as the source says it.
        devices: How many.
        engine: Name of the engine.
        engine_version: Its version and settings as the source says them.
        precision: Number format as the source says it.
        parallel: How the model is split, as the source says it.
        metrics: The figures; intervals of projections are those of prediction (80 %).
        source: Where they are published, or how they were projected.
        date: When they were published.
        notes: Remarks of the source.
    """

    kind: Literal["imported", "projected"]
    model: FigureModel
    hardware: str
    hardware_name: str
    devices: int
    engine: str
    engine_version: str
    precision: str
    parallel: str | None = None
    workload: FigureWorkload
    metrics: dict[str, Metric]
    source: str
    date: str | None = None
    notes: tuple[str, ...] = ()

    def identity(self) -> str:
        """SHA-256 of the canonical JSON (RFC 8785)."""
        return hashlib.sha256(rfc8785.dumps(self.model_dump(mode="json"))).hexdigest()
