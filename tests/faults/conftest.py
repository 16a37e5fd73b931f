"""The leaderboards and the runs of the leaderboard's own tests, to be attacked, and prompts for runs under faults."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from boards import board, database_url, derived_runs, examiners, make_run, postgres

__all__ = ["board", "database_url", "derived_runs", "examiners", "make_run", "postgres", "projected_run"]


@pytest.fixture(scope="session")
def projected_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a projected run of four requests, alone in its folder."""
    from moecap.runner.reporter import Reporter
    from moecap.runner.run import run
    from moecap.settings import with_settings

    asked = {"model": "mixtral", "hw": "a100", "task": ["none"], "num_requests": 4, "concurrency": 2}
    place = {"input_len": 16, "output_len": 4, "output": str(tmp_path_factory.mktemp("projected") / "run")}
    outcome = run(with_settings(asked | place, ()), Reporter(quiet=True))
    assert outcome.error is None
    return outcome.directory


@pytest.fixture(scope="session")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JSONL file of two prompts."""
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    texts = ("Rocks are igneous, metamorphic, or sedimentary.", "A switch in a circuit starts and stops the current.")
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    return path
