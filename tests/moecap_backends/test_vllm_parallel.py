"""vLLM with two tensor-parallel ranks that share one host: everything is counted once, copies once a rank."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_models import VOCABULARY, make_model

from moecap.backend import Prompt
from moecap.errors import BadInputError
from moecap.hardware.profile import HardwareProfile
from moecap.hardware.registry import load_profile
from moecap.metrics.steps import step_work
from moecap.metrics.summary import RunFacts, hardware_peaks
from moecap.models.parallelism import Parallelism
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap_backends.router_capture import ROUTER

pytestmark = [pytest.mark.engine, pytest.mark.vllm]

TWO = Parallelism(tensor=2)
HIDDEN, LAYERS, EXPERTS, HEAD = 64, 3, 8, 32
SIZES = {"head_dim": HEAD, "num_attention_heads": 2, "hidden_size": HIDDEN, "num_key_value_heads": 1}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return make_model("mixtral", tmp_path_factory.mktemp("vllm") / "tiny-mixtral", sizes=SIZES)


@pytest.fixture(scope="module")
def job(checkpoint, vllm_job, tmp_path_factory):
    return vllm_job(checkpoint, tmp_path_factory.mktemp("log") / "server.log")


@pytest.fixture(scope="module")
def observed(job, tmp_path_factory):
    """Prompts, answers and observations of a load of three on a server with two ranks, then of the first alone."""
    from moecap_backends.vllm import VllmEngine

    rng = np.random.default_rng(1)
    prompts = [
        Prompt(f"p{i}", tuple(int(t) for t in rng.integers(0, VOCABULARY, n)), 6) for i, n in enumerate([9, 17, 5])
    ]
    loads = []
    with VllmEngine(replace(job, parallelism=TWO)) as engine:
        assert engine.info.details["workers"] == "2"
        for sent in (prompts, prompts[:1]):
            folder, recorder = tmp_path_factory.mktemp("observed"), Recorder(stage="load")
            answers = engine.generate(sent, len(sent), recorder, lambda _done: None)
            recorder.write(folder)
            loads.append((sent, answers, read_observations(folder)))
    return loads


@pytest.fixture(scope="module")
def model(checkpoint):
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()


def test_two_ranks_answer_as_one_transformers_model_does(observed, model):
    import torch

    prompts, answers, seen = observed[0]
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = torch.tensor([prompt.tokens])
        mask = torch.ones_like(ids)
        out = model.generate(
            ids, attention_mask=mask, max_new_tokens=6, min_new_tokens=6, do_sample=False, pad_token_id=0
        )
        assert answer.tokens == tuple(out[0, ids.shape[1] :].tolist())
    assert seen.requests["status"].tolist() == ["completed"] * 3


def test_steps_and_their_experts_are_counted_once_and_not_once_a_rank(observed, model):
    import torch

    steps = observed[0][2].steps
    assert steps.seq_new.values[steps.seq_phase.values == 0].sum() == 9 + 17 + 5
    ends = steps.start_ns + steps.duration_ns
    assert (ends[:-1] <= steps.start_ns[1:]).all()
    (prompt,), (answer,), alone = observed[1]
    chosen = []
    routers = [m for m in model.modules() if ROUTER.search(type(m).__name__)]
    handles = [
        m.register_forward_hook(lambda _m, _i, out: chosen.append(next(t for t in out if not t.is_floating_point())))
        for m in routers
    ]
    with torch.inference_mode():
        model(torch.tensor([[*prompt.tokens, *answer.tokens[:-1]]]))
    for handle in handles:
        handle.remove()
    expected = np.sort(np.stack([c.reshape(-1, 2).numpy() for c in chosen], 1), -1)  # [tokens, layers, k]
    assert len(alone.routing.experts) == alone.steps.seq_new.values.sum()
    assert (np.sort(alone.routing.experts, -1)[: len(expected)] == expected).all()


def test_ranks_read_their_copies_of_key_and_value_heads_routers_and_norms(observed, job):
    seen = observed[0][2]
    one, two = (step_work(job.spec, seen.steps, split) for split in (Parallelism(), TWO))
    norms = LAYERS * 2 * HIDDEN + HIDDEN
    copied = 4 * (LAYERS * (2 * HEAD * HIDDEN + EXPERTS * HIDDEN) + norms)  # in fp32
    assert (two.bytes.total() - one.bytes.total() == copied + one.bytes.kv).all()
    assert (two.bytes.experts == one.bytes.experts).all()
    assert (two.flops == one.flops).all()


def test_the_ranks_of_a_host_share_its_one_peak(job):
    host: HardwareProfile = load_profile("epyc-9654-1s")
    alone, both = (RunFacts(job.spec, host, 1, "fp32", 1, None, parallelism=split) for split in (Parallelism(), TWO))
    assert hardware_peaks(alone) == hardware_peaks(both)


def test_each_rank_has_cores_of_its_own():
    from moecap_backends.vllm_arguments import _shared_out

    assert _shared_out([0, 1, 2, 3, 4], 2) == "0,1|2,3"
    with pytest.raises(BadInputError, match="3 tensor-parallel ranks are more than the 2 cores"):
        _shared_out([0, 1], 3)
