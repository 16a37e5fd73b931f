"""Engine jobs for tiny checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from moecap.backend import EngineJob
from moecap.models.config_file import read_config_file
from moecap.models.reading import read_model


@pytest.fixture(scope="session")
def vllm_job() -> Callable[..., EngineJob]:
    """A function from a checkpoint folder and a log to a vLLM job in fp32 on the CPU, eager, which starts sooner."""

    def make(folder: Path, log: Path, **arguments: str) -> EngineJob:
        spec = read_model(read_config_file(folder / "config.json"), folder.name, weights="fp32", kv="fp32")
        job = EngineJob(folder, spec, "cpu", "fp32", 2, 0, {"enforce-eager": "true"} | arguments, lambda _line: None)
        return replace(job, log=log, concurrency=4, longest=64)

    return make


@pytest.fixture
def job_for() -> Callable[..., EngineJob]:
    """A function from a checkpoint folder to an engine job in fp32 on the CPU."""

    def make(folder: Path, **arguments: str) -> EngineJob:
        spec = read_model(read_config_file(folder / "config.json"), folder.name, weights="fp32", kv="fp32")
        return EngineJob(folder, spec, "cpu", "fp32", 2, 0, arguments, lambda _line: None)

    return make
