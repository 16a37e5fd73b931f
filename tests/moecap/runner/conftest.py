"""A small model, prompts and a probed profile of this host, so that whole runs take seconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TEXTS = [
    "Which factor will most likely cause a person to develop a fever?",
    "Lichens are symbiotic organisms made of green algae and fungi.",
    "When a switch is used in an electrical circuit, it can stop and start the flow of current.",
    "Rocks are classified as igneous, metamorphic, or sedimentary according to how they formed.",
]


@pytest.fixture(scope="session")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JSONL file of prompts."""
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in TEXTS))
    return path


@pytest.fixture(scope="session")
def host_yaml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This host's profile, really probed once, saved to a file that a run takes as its hardware."""
    from moecap.cli import main

    path = tmp_path_factory.mktemp("host") / "host.yaml"
    assert main(["hw", "probe", "--save", str(path), "--json"]) == 0
    return path


@pytest.fixture
def run_options(tiny_model: Callable[[str], Path], prompts: Path, host_yaml: Path, tmp_path: Path) -> dict[str, object]:
    """Options of a run that takes about a second."""
    return {
        "model": str(tiny_model("mixtral")),
        "dataset": str(prompts),
        "hw": str(host_yaml),
        "backend": "transformers",
        "task": ["none"],
        "precision": "fp32",
        "num_requests": 10,
        "concurrency": 2,
        "input_len": 16,
        "output_len": 6,
        "output": str(tmp_path / "run"),
    }


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Any]:
    """A function that projects Mixtral on A100s with some options and checks that the result verifies."""
    from moecap.runner.reporter import Reporter
    from moecap.runner.run import run
    from moecap.settings import with_settings
    from moecap.verification.recomputation import verify_run

    made = 0

    def make(*settings: str, **options: Any) -> Any:
        nonlocal made
        made += 1
        asked = {
            "model": "mixtral",
            "hw": "a100",
            "concurrency": 4,
            "num_requests": 24,
            "input_len": 200,
            "output_len": 40,
            "task": ["none"],
            "output": str(tmp_path / f"run{made}"),
        }
        outcome = run(with_settings(asked | options, settings), Reporter(quiet=True))
        assert outcome.error is None
        checked = verify_run(outcome.directory)
        assert checked.ok, checked
        assert outcome.result.kind == "projected"
        return outcome

    return make
