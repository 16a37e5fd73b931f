"""A model, prompts and a server of known capacity, for whole searches."""

from __future__ import annotations

from pathlib import Path

import pytest
from capacity_server import capacity_server

SLOTS, FIRST, GAP, TOKENS = 4, 0.05, 0.05, 4
"""Four answers at once, each of 0.2 s: 20 requests a second are the most."""


@pytest.fixture(scope="module")
def endpoint():
    with capacity_server(SLOTS, FIRST, GAP) as url:
        yield url


@pytest.fixture(scope="session")
def search_prompts(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    path.write_text('{"prompt": "Rocks are classified according to how they formed."}\n')
    return path


@pytest.fixture
def words(tiny_model, endpoint, search_prompts, tmp_path):
    """The command line of a search on the endpoint, without its levels; ``folder`` is where it writes."""

    def line(*more: str, folder: str = "search") -> list[str]:
        options = {
            "model": tiny_model("mixtral"),
            "endpoint": endpoint,
            "hw": "a100",
            "dataset": search_prompts,
            "num-requests": 8,
            "input-len": 8,
            "output-len": TOKENS,
            "output": tmp_path / folder,
        }
        given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return ["search", *given, "--set", "warmup.max_batches=1", *more]

    return line
