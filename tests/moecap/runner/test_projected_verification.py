"""What verification finds in the directory of a run that projects: other files, other assumptions, another kind."""

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from moecap.errors import RunError
from moecap.facts import result_facts
from moecap.files import file_sha256
from moecap.observations.reader import read_observations
from moecap.projection.comparison import projection_ratios
from moecap.projection.replay import replay_pairs
from moecap.result import read_result, write_result
from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.settings import with_settings
from moecap.verification.recomputation import verify_run


@pytest.mark.parametrize(
    "changes",
    [{"kind": "measured"}, {"projection": None}, {"flags": ()}],
)
def test_a_projection_cannot_be_passed_off_as_something_else(project, changes):
    directory = project().directory
    write_result(directory, read_result(directory).model_copy(update=changes).identified())
    assert not verify_run(directory).ok


@pytest.mark.parametrize("options", [{}, {"rate": 30}, {"turns": 3, "turn_wait": 0.37}])
def test_files_of_twice_as_fast_an_engine_are_not_those_of_the_projection(project, options):
    """Every time is halved in all files alike, with digests and metrics that follow from them."""
    outcome = project(**options)
    directory, digests = outcome.directory, dict(outcome.result.observations)
    for name in ("requests.parquet", "chunks.parquet", "steps.parquet"):
        table = pq.read_table(directory / name)
        for place, column in enumerate(table.column_names):
            if column.endswith("_ns") and column != "wait_ns":
                halved = pc.divide(table[column], 2).cast(table.schema.field(place).type)
                table = table.set_column(place, table.schema.field(place), halved)
        pq.write_table(table, directory / name)
        digests[name] = file_sha256(directory / name)
    found = verify_run(directory)
    forged = outcome.result.model_copy(update={"observations": digests, "metrics": dict(found.recomputed)})
    write_result(directory, forged.identified())
    found = verify_run(directory)
    assert not found.corrupt
    named = {difference.metric for difference in found.differences}
    assert {"steps.parquet.duration_ns", "chunks.parquet.time_ns", "requests.parquet.first_token_ns"} <= named
    assert not named & set(found.recomputed)


@pytest.mark.parametrize(("way", "named"), [("input", "steps.parquet.seq_new"), ("output", "chunks.parquet.tokens")])
def test_longer_requests_than_the_files_hold_are_named_and_not_served_again(project, way, named):
    """What anyone may send is not simulated for hours."""
    outcome = project()
    observations, record = read_observations(outcome.directory), outcome.result.projection
    facts = result_facts(outcome.result)
    deployment = record.deployment(facts.spec, facts.profile, facts.compute_dtype)
    assert replay_pairs(observations, record, deployment, facts.concurrency) == {}
    observations.requests.loc[0, f"{way}_tokens"] = 2_000_000_000
    found = replay_pairs(observations, record, deployment, facts.concurrency)
    assert list(found) == [named]


def test_a_load_whose_prompts_fill_too_many_steps_is_not_compared(project):
    outcome = project()
    facts, record, metrics = result_facts(outcome.result), outcome.result.projection, outcome.result.metrics
    requests = read_observations(outcome.directory).requests.astype({"input_tokens": "int64"})
    about = (record, facts.spec, facts.profile, facts.compute_dtype)
    same = projection_ratios(metrics, requests, *about, concurrency=facts.concurrency, prefix_cache=False)
    assert same["projection.ratio.ttft.p50"].value == pytest.approx(1.0)
    requests["input_tokens"] = 1_000_000 * 8192 // len(requests) + 1
    long = projection_ratios(metrics, requests, *about, concurrency=facts.concurrency, prefix_cache=False)
    assert long["projection.ratio.ttft.p50"].reason == "its prompts fill more than 1,000,000 steps"


def test_a_projection_that_fails_leaves_a_result_that_verifies(project, tmp_path, monkeypatch):
    from moecap.runner import run as runner

    def fail(*_arguments):
        raise RunError("the simulation ended early")

    monkeypatch.setattr(runner, "execute", fail)
    options = {"model": "mixtral", "hw": "a100", "output": str(tmp_path / "failed")}
    outcome = run(with_settings(options, ()), Reporter(quiet=True))
    assert (outcome.result.kind, outcome.result.status) == ("projected", "failed")
    assert outcome.result.reason == "the simulation ended early"
    assert verify_run(outcome.directory).ok


def test_other_assumptions_than_those_asked_for_are_named(project):
    directory = project().directory
    result = read_result(directory)
    shared = result.projection.coefficients.shared.model_copy(update={"kernel": 1e-9})
    coefficients = result.projection.coefficients.model_copy(update={"shared": shared})
    faster = result.projection.model_copy(update={"engine": "trtllm", "coefficients": coefficients})
    write_result(directory, result.model_copy(update={"projection": faster}).identified())
    found = {d.metric: d.stored for d in verify_run(directory).differences}
    assert found["projection.engine"] == "trtllm"
    assert found["projection.coefficients.shared.kernel"] == 1e-9
    assert "projection.coefficients.shared.weight_bandwidth" not in found
