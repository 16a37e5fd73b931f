"""Tiny checkpoints, made once a session."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_models import make_model

from moecap.backend import EngineJob
from moecap.models.config_file import read_config_file
from moecap.models.reading import read_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function from the name of a family to a checkpoint folder."""
    made: dict[str, Path] = {}

    def make(family: str) -> Path:
        if family not in made:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made[family] = make_model(family, tmp_path_factory.mktemp(family))
        return made[family]

    return make


@pytest.fixture
def job_for() -> Callable[..., EngineJob]:
    """A function from a checkpoint folder to an engine job in fp32 on the CPU."""

    def make(folder: Path, **arguments: str) -> EngineJob:
        spec = read_model(read_config_file(folder / "config.json"), folder.name, weights="fp32", kv="fp32")
        return EngineJob(folder, spec, "cpu", "fp32", 2, 0, arguments, lambda _line: None)

    return make
