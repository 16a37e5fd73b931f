"""A run with everything resolved: what planning leaves and execution takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moecap.backend import Backend
from moecap.config import RunConfig
from moecap.hardware.host import HostFacts
from moecap.hardware.resolve import ResolvedHardware
from moecap.models.formats import Formats
from moecap.models.parallelism import Parallelism
from moecap.models.registry import ModelRef
from moecap.models.spec import ModelSpec
from moecap.projection.record import ProjectionRecord
from moecap.runner.sending import Sending

__all__ = ["Plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """A run with everything resolved.

    Attributes:
        config: What was asked for, with the numbers of devices and ranks that are in force.
        model: Where the model's configuration was found.
        model_config: The content of its ``config.json``.
        spec: Its accounting in the number format in which it will run.
        checkpoint: Folder with its weights and tokenizer; an empty path where nothing is loaded.
        hardware: The devices and their peaks.
        host: The machine on which the run happens.
        device: ``cpu``, ``cuda``, or ``none`` where nothing runs.
        dtype: The backend's name of the number format of the weights.
        formats: Number formats of weights, KV cache and matrix products.
        parallelism: How the model is split over ranks.
        backend: The backend's class.
        engine_arguments: The user's arguments for it.
        sending: The load and the tasks' questions.
        projection: What the projection rests on: of a run that projects, or of one that was measured and is compared.
        unmeasured: Why nothing is measured; empty where something is.
    """

    config: RunConfig
    model: ModelRef
    model_config: dict[str, Any]
    spec: ModelSpec
    checkpoint: Path
    hardware: ResolvedHardware
    host: HostFacts
    device: str
    dtype: str
    formats: Formats
    parallelism: Parallelism
    backend: type[Backend]
    engine_arguments: dict[str, str]
    sending: Sending
    projection: ProjectionRecord | None = None
    unmeasured: str = ""
