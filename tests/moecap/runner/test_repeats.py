"""A load that is measured several times on one engine: each repeat by itself, all kept, and verified."""

import json
import os
import signal
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from moecap.cli import main
from moecap.files import file_sha256
from moecap.load.calibration import running_stub
from moecap.metrics.repeats import repeat_values
from moecap.result import read_result, write_result
from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.settings import with_settings
from moecap.verification.recomputation import verify_run

GAP = 0.01


@pytest.fixture(scope="module")
def stub():
    with running_stub(0.02, GAP) as target:
        yield f"http://{target.name}/v1"


@pytest.fixture
def served_options(tiny_model, prompts, stub, tmp_path):
    """A load for the stub; nothing but the model's configuration and tokenizer is needed here."""
    return {
        "model": str(tiny_model("mixtral")),
        "dataset": str(prompts),
        "hw": "a100",
        "endpoint": stub,
        "task": ["none"],
        "num_requests": 6,
        "concurrency": 2,
        "input_len": 16,
        "output_len": 4,
        "length_spread": 0.5,
        "output": str(tmp_path / "run"),
    }


def _run(options, reporter=None, **changes):
    return run(with_settings(options | changes, ()), reporter or Reporter(quiet=True))


def _load(directory):
    requests = pq.read_table(Path(directory) / "requests.parquet").to_pandas()
    return requests[requests["stage"] == "load"]


@pytest.mark.engine
def test_each_repeat_is_drawn_by_a_seed_of_its_own_and_the_numbers_are_means_with_an_interval(served_options):
    outcome = _run(served_options, repeats=3)
    assert outcome.error is None
    load, metrics = _load(outcome.directory), outcome.result.metrics
    assert load.groupby("repeat").size().tolist() == [6, 6, 6]
    seeds = load.groupby("repeat")["prompt_id"].agg(lambda ids: {name.split("-")[-2] for name in ids})
    assert seeds.tolist() == [{"0"}, {"1"}, {"2"}]
    lengths = load.groupby("repeat")["output_tokens"].agg(tuple).tolist()
    assert len(set(lengths)) == 3
    # by hand, from the requests alone
    took = (load["last_token_ns"] - load["first_token_ns"]) * 1e-9 / (load["output_tokens"] - 1)
    medians = took[load["output_tokens"] > 1].groupby(load["repeat"]).median()
    assert repeat_values(metrics, "tpot.p50") == pytest.approx(medians.tolist())
    assert metrics["tpot.p50"].value == pytest.approx(medians.mean())
    assert metrics["tpot.p50"].high - metrics["tpot.p50"].value == pytest.approx(
        4.302653 * medians.std() / np.sqrt(3), rel=1e-6
    )
    assert metrics["failed_requests"].n == 18
    assert verify_run(outcome.directory).ok
    page = (outcome.directory / "report.html").read_text() if main(["report", str(outcome.directory)]) == 0 else ""
    assert "What each repeat gave" in page and "6 requests" in page and ", 3 times" in page


@pytest.mark.engine
def test_the_first_repeat_sends_what_a_run_without_repeats_sends(served_options, tmp_path):
    once = _load(_run(served_options, output=str(tmp_path / "once")).directory)
    twice = _load(_run(served_options, repeats=2, output=str(tmp_path / "twice")).directory)
    columns = ["prompt_id", "input_tokens_asked", "output_tokens_asked"]
    assert once["repeat"].isna().all()
    pd.testing.assert_frame_equal(
        twice.loc[twice["repeat"] == 0, columns].sort_values("prompt_id", ignore_index=True),
        once[columns].sort_values("prompt_id", ignore_index=True),
    )


class Interrupting(Reporter):
    """Sends the signal of Ctrl-C when the first request of a repeat has ended."""

    def __init__(self, repeat):
        super().__init__(quiet=True)
        self._title = f"repeat {repeat} of"

    @contextmanager
    def bar(self, text, total, *more):
        with super().bar(text, total, *more) as done:
            yield self._interrupt if self._title in text else done

    @staticmethod
    def _interrupt(_ended):
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.engine
@pytest.mark.parametrize(("at", "whole"), [(3, 2), (1, 0)])
def test_an_interruption_keeps_the_whole_repeats_and_says_how_many(served_options, at, whole):
    outcome = _run(served_options, Interrupting(at), repeats=5)
    result = outcome.result
    assert result.status == "interrupted"
    flag = next(flag for flag in result.flags if flag.name == "repeats_incomplete")
    assert flag.text.startswith(f"{whole} of 5 repeats of the load are whole; ")
    assert set(_load(outcome.directory)["repeat"]) == set(range(at))
    if whole:
        assert len(repeat_values(result.metrics, "output_tokens_per_second")) == 2
        assert result.metrics["failed_requests"].n == 12
    assert verify_run(outcome.directory).ok


@pytest.mark.engine
def test_repeats_that_are_said_to_be_others_are_found(served_options):
    directory = _run(served_options, repeats=3).directory
    result = read_result(directory)
    path = directory / "requests.parquet"
    table = pq.read_table(path)
    frame = table.to_pandas()
    frame.loc[frame["repeat"] > 0, "repeat"] = 3 - frame["repeat"]
    pq.write_table(table.from_pandas(frame, table.schema, preserve_index=False), path)
    observations = result.observations | {path.name: file_sha256(path)}
    write_result(directory, result.model_copy(update={"observations": observations}).identified())
    found = {difference.metric for difference in verify_run(directory).differences}
    assert {"workload.output_len of repeat 2", "workload.output_len of repeat 3"} <= found


@pytest.mark.engine
def test_values_of_repeats_that_others_would_give_are_found(served_options):
    """Values with the same mean and the same spread give the same interval, and other ones are compared."""
    directory = _run(served_options, repeats=3).directory
    result = read_result(directory)
    tpot, rate = result.metrics["tpot.p50"], result.metrics["output_tokens_per_second"]
    forged = {
        "tpot.p50": tpot.model_copy(update={"repeats": tuple(2 * tpot.value - value for value in tpot.repeats)}),
        "output_tokens_per_second": rate.model_copy(update={"repeats": None}),
    }
    write_result(directory, result.model_copy(update={"metrics": result.metrics | forged}).identified())
    assert {difference.metric for difference in verify_run(directory).differences} == set(forged)


@pytest.mark.engine
def test_steps_and_experts_are_those_of_their_repeat(run_options):
    outcome = _run(run_options, repeats=3, num_requests=4, output_len=4)
    assert outcome.error is None
    metrics = outcome.result.metrics
    steps = pq.read_table(outcome.directory / "steps.parquet").to_pandas()
    load = _load(outcome.directory).set_index("request")["repeat"]
    steps = steps[(steps["stage"] == "load") & steps["seq_phase"].map(lambda phases: set(phases) == {1})]
    of = steps["seq_request"].map(lambda requests: load[requests[0]])
    distinct = steps["distinct_experts"].map(np.mean).groupby(of).mean()
    assert repeat_values(metrics, "experts.distinct_mean") == pytest.approx(distinct.tolist())
    assert metrics["decode.time"].value == pytest.approx(steps["duration_ns"].groupby(of).sum().mean() * 1e-9)
    assert verify_run(outcome.directory).ok


@pytest.mark.engine
def test_the_embedded_model_is_measured_three_times_in_one_start(tmp_path, host_yaml, prompts, capsys):
    options = {"repeats": 3, "num-requests": 2, "input-len": 16, "output-len": 3, "concurrency": 2, "task": "none"}
    options |= {"hw": host_yaml, "dataset": prompts, "output": tmp_path / "run"}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    short = ["--set", "warmup.max_batches=1", "--set", "warmup.output_len=2"]
    assert main(["run", "--json", *words, *short]) == 0
    told = json.loads(capsys.readouterr().out)
    tpot = told["metrics"]["tpot.p50"]
    assert tpot["low"] < tpot["value"] < tpot["high"] and len(tpot["repeats"]) == 3
    assert list(told["provenance"]["seconds"]).count("open") == 1
    assert main(["verify", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--backend", "projected", "--model", "mixtral", "--hw", "h100"], "--repeats 3: a projection is computed"),
        (["--dataset", "tasks", "--task", "gsm8k"], "--repeats 3: the load is the questions of the tasks"),
        (["--allow-prefix-cache"], "--repeats 3: with --allow-prefix-cache a repeat finds the prompts"),
    ],
)
def test_repeats_that_would_say_nothing_are_refused(options, problem, capsys):
    assert main(["run", "--repeats", "3", *options]) == 2
    assert problem in capsys.readouterr().err
