"""The projected backend: how prompts become a simulated load, and what it says of itself."""

from pathlib import Path

import numpy as np
import pytest

import moecap
from moecap.backend import EngineJob, Prompt
from moecap.errors import BadInputError, RunError
from moecap.hardware.registry import load_profile
from moecap.models.parallelism import Parallelism
from moecap.models.registry import load_model
from moecap.observations.recorder import Recorder
from moecap.projection.assumptions import projection_assumptions
from moecap.projection.coefficients import calibrated
from moecap.projection.engine_settings import engine_settings
from moecap.projection.routing import UNIFORM
from moecap_backends.projected import ProjectedBackend


@pytest.fixture(scope="module")
def mixtral():
    return load_model("mixtral")[0]


def _job(spec, prefix_cache=False, **arguments):
    settings = engine_settings({name.replace("_", "-"): value for name, value in arguments.items()}, calibrated())
    split = Parallelism(tensor=2)
    return EngineJob(
        model=Path(),
        spec=spec,
        device="none",
        dtype="bf16",
        threads=1,
        seed=0,
        arguments=arguments,
        progress=lambda _line: None,
        prefix_cache=prefix_cache,
        parallelism=split,
        hardware=load_profile("a100"),
        projection=projection_assumptions(settings, split, (UNIFORM, "uniform, as asked for"), calibrated()),
    )


def _served(spec, prompts, concurrency=1, arrivals=None, **more):
    recorder, told = Recorder(stage="load"), []
    with ProjectedBackend().open(_job(spec, **more)) as engine:
        answers = engine.generate(prompts, concurrency, recorder, told.append, arrivals)
    assert told == [len(prompts)]
    assert [a.prompt_id for a in answers] == [p.id for p in prompts]
    assert all(answer.tokens == () and "projected" in answer.error for answer in answers)
    return recorder.simulated["requests.parquet"].to_pandas()


def test_requests_have_the_lengths_and_names_of_the_prompts(mixtral):
    prompts = [Prompt(f"p-{n}", (0,) * (100 + n), 5 + n) for n in range(4)]
    requests = _served(mixtral, prompts)
    assert requests["prompt_id"].tolist() == ["p-0", "p-1", "p-2", "p-3"]
    assert requests["input_tokens"].tolist() == [100, 101, 102, 103]
    assert requests["output_tokens"].tolist() == [5, 6, 7, 8]
    assert requests["session"].isna().all()
    assert (requests["sent_ns"].iloc[1:].to_numpy() == requests["ended_ns"].iloc[:-1].to_numpy()).all()


def test_arrivals_are_those_that_were_asked_for(mixtral):
    requests = _served(mixtral, [Prompt(str(n), (0,) * 50, 4) for n in range(3)], arrivals=(0.0, 1.5, 4.25))
    assert requests["sent_ns"].tolist() == [0, 1_500_000_000, 4_250_000_000]


def test_turns_of_sessions_follow_one_another(mixtral):
    turns = [Prompt("a", (1,) * 60, 9, session=4, turn=0), Prompt("b", (2,) * 20, 5, session=4, turn=1, wait=2.0)]
    requests = _served(mixtral, [*turns, Prompt("c", (3,) * 30, 3, session=7, turn=0)])
    assert requests["session"].tolist() == [0, 0, 1]
    assert requests["turn"].tolist() == [0, 1, 0]
    assert requests["input_tokens"].tolist() == [60, 89, 30]
    assert requests["wait_ns"].tolist() == [0, 2_000_000_000, 0]
    assert requests["sent_ns"].iloc[1] == requests["ended_ns"].iloc[0] + 2_000_000_000


@pytest.mark.parametrize(("engine", "block"), [("vllm", 16), ("sglang", 1), ("trtllm", 32)])
def test_prefixes_are_shared_in_blocks_of_the_engine(mixtral, engine, block):
    prompts = [Prompt(str(n), (5,) * 100 + (n + 10,) * 20, 3) for n in range(2)]
    cached = _served(mixtral, prompts, prefix_cache=True, engine=engine)["cached_tokens"].tolist()
    assert cached == [0, 100 // block * block]
    assert _served(mixtral, prompts, engine=engine)["cached_tokens"].tolist() == [0, 0]


def test_limits_of_the_engine_bound_its_steps(mixtral):
    recorder = Recorder(stage="load")
    job = _job(mixtral, max_num_seqs="3", max_num_batched_tokens="64")
    ProjectedBackend().open(job).generate(
        [Prompt(str(n), (0,) * 100, 30) for n in range(9)], 9, recorder, lambda _n: None
    )
    fed = [np.asarray(new) for new in recorder.simulated["steps.parquet"]["seq_new"].to_pylist()]
    assert max(len(new) for new in fed) == 3
    assert max(int(new.sum()) for new in fed) == 64


def test_the_engine_says_what_it_projects(mixtral):
    info = ProjectedBackend().open(_job(mixtral, engine="sglang", gpu_memory_utilization="0.8")).info
    assert (info.name, info.version, info.timer) == ("projected", moecap.__version__, "computed")
    assert info.details["projected engine"] == "sglang"
    assert info.details["share of memory"] == "0.8"
    assert info.details["prefix cache"] == "off"


def test_it_scores_nothing_and_needs_to_know_its_hardware(mixtral):
    with pytest.raises(RunError, match="scores no answers"):
        ProjectedBackend().open(_job(mixtral)).score([], Recorder(), lambda _n: None)
    bare = EngineJob(Path(), mixtral, "none", "bf16", 1, 0, {}, lambda _line: None)
    with pytest.raises(BadInputError, match="needs the hardware"):
        ProjectedBackend().open(bare)
