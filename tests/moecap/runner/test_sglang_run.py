"""A whole run on SGLang's own server: routing told, steps reconstructed, every number recomputed."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from moecap.cli import main
from moecap.observations.reader import read_observations
from moecap.result import read_result
from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.settings import with_settings
from moecap.telemetry import descendants
from moecap.verification.recomputation import verify_run

pytestmark = [pytest.mark.engine, pytest.mark.sglang]


def test_a_run_measures_scores_and_verifies_and_leaves_no_process(
    run_options, sglang_python, tiny_model, tmp_path, capsys
):
    model = tmp_path / "tiny-qwen2_moe"
    shutil.copytree(tiny_model("qwen2_moe"), model)
    (model / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    changes = {
        "model": str(model),
        "backend": "sglang",
        "task": ["arc_easy"],
        "limit": 2,
        "num_requests": 8,
        "output_len": 12,
        "engine_arg": ["expert-distribution-recorder-mode=per_pass"],
    }
    outcome = run(with_settings(run_options | changes, ()), Reporter(quiet=True))
    assert outcome.error is None
    result = read_result(outcome.directory)
    assert (result.backend.name, result.backend.version, result.backend.batching) == ("sglang", "0.5.23", "continuous")
    assert result.backend.details["routed_experts"] == "exact, in each answer"
    assert result.backend.step_tokens > 0
    assert result.routing_source in ("reconstructed", "estimated")  # by how far this machine kept the arrivals together
    for name in ("decode.s_mbu", "prefill.s_mbu", "decode.s_mfu", "ttft.p50", "tpot.p50", "accuracy.arc_easy"):
        assert result.metrics[name].value is not None, name
    assert 2 <= result.metrics["experts.distinct_mean"].value <= 4  # top-2, two requests in flight
    seen = read_observations(outcome.directory)
    load = seen.requests[seen.requests["stage"] == "load"]["request"]
    assert np.isin(seen.request_routing.token_request, load).sum() == 8 * (16 + 12 - 1)
    assert seen.request_routing.experts.shape[1:] == (3, 2)
    assert verify_run(outcome.directory).ok
    assert main(["verify", str(outcome.directory), "--json"]) == 0
    capsys.readouterr()
    commands = [Path(f"/proc/{pid}/cmdline").read_text() for pid in descendants(os.getpid())]
    assert not [command for command in commands if "sglang" in command]
    assert list(outcome.directory.glob("*.pt")) == []
