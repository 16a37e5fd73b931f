"""The embedded model under a search: one start of the engine for every load."""

import json

import pytest

from moecap.cli import main


@pytest.mark.engine
def test_the_embedded_model_is_searched_on_one_engine(search_prompts, tmp_path):
    options = {"num-requests": 2, "input-len": 8, "output-len": 2, "dataset": search_prompts, "output": tmp_path / "s"}
    options |= {"slo": "e2e=1000s", "most": 2, "requests-per-slot": 1, "hw": "auto"}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    assert main(["search", *words, "--set", "warmup.max_batches=1", "--set", "warmup.output_len=2"]) == 0
    told = json.loads((tmp_path / "s" / "search.json").read_text())
    assert [point["status"] for point in told["points"]] == ["complete", "complete"]
    assert (told["answer"], told["engines_opened"]) == (2, 1)
    assert told["points"][0]["kind"] == "measured"
