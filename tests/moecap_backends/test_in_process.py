"""A borrowed module: adapters train in it while the engine measures, and afterwards it is bit for bit what it was."""

import hashlib

import numpy as np
import pytest
from tiny_models import VOCABULARY

from moecap.backend import Continuation
from moecap.errors import NotAvailableError, RunError
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap.tasks.base import Task, refuse_mismatch
from moecap_backends.continuous_batching import ContinuousBackend
from moecap_backends.openai import OpenaiBackend
from moecap_backends.transformers import TransformersBackend, TransformersEngine

IDS = [int(i) for i in np.random.default_rng(3).integers(0, VOCABULARY, 12)]
GIVEN = [Continuation("a", tuple(IDS[:8]), tuple(IDS[8:]))]


@pytest.fixture
def engine(tiny_model, job_for):
    with TransformersEngine(job_for(tiny_model("mixtral"))) as engine:
        yield engine


def _digest(module):
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def _adapter_after_a_step(module):
    """A LoRA on attention after one step of training, which is no longer the identity."""
    import torch
    from peft import LoraConfig, inject_adapter_in_model

    targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
    inject_adapter_in_model(LoraConfig(r=2, lora_alpha=8, target_modules=targets), module)
    trained = [weight for weight in module.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.1)
    ids = torch.tensor([IDS])
    module(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()


def _score(engine, recorder=None):
    return engine.score(GIVEN, recorder or Recorder(), lambda _done: None)[0].log_likelihood


@pytest.mark.engine
def test_adapters_train_while_the_engine_scores_with_them_and_leave_no_trace(engine, tmp_path):
    model, recorder = engine.in_process(), Recorder(stage="load", capture="forward hooks on the routers")
    before, digest, parts = _score(engine), _digest(model.module), [id(m) for m in model.module.modules()]
    with model.borrowed() as module:
        _adapter_after_a_step(module)
        during = _score(engine, recorder)
    assert abs(during - before) > 1e-3
    assert _score(engine) == before
    assert _digest(model.module) == digest
    assert [id(m) for m in model.module.modules()] == parts
    assert not any(weight.requires_grad for weight in model.module.parameters())
    recorder.write(tmp_path)
    seen = read_observations(tmp_path)
    assert len(seen.steps) == 1, "the pass that trained is no step of the engine"
    assert len(seen.routing.experts) == len(IDS) - 1


@pytest.mark.engine
def test_an_error_leaves_no_adapter_behind(engine):
    model = engine.in_process()
    digest = _digest(model.module)

    def fail():
        with model.borrowed() as module:
            _adapter_after_a_step(module)
            raise KeyError("training")

    with pytest.raises(KeyError, match="training"):
        fail()
    assert _digest(model.module) == digest
    assert not model.module.training


@pytest.mark.engine
def test_a_change_of_the_models_own_weights_is_an_error(engine):
    import torch

    def change():
        with engine.in_process().borrowed() as module, torch.no_grad():
            module.model.norm.weight.mul_(2)

    with pytest.raises(RunError, match=r"1 weights .* model\.norm\.weight"):
        change()


@pytest.mark.engine
def test_hidden_states_are_the_embedding_and_one_a_layer_and_give_the_logits(engine):
    import torch

    model = engine.in_process()
    with model.borrowed() as module, torch.no_grad():
        output = module(input_ids=torch.tensor([IDS]), output_hidden_states=True)
        embedded = module.get_input_embeddings()(torch.tensor([IDS]))
        logits = module.lm_head(output.hidden_states[-1])
    assert len(output.hidden_states) == 1 + module.config.num_hidden_layers
    assert torch.equal(output.hidden_states[0], embedded)
    assert torch.equal(logits, output.logits)


class _Training(Task):
    name = "training"
    requires = frozenset({"hidden_states", "gradients"})
    items = run = None


@pytest.mark.parametrize("backend", [ContinuousBackend, OpenaiBackend])
def test_a_task_that_trains_is_refused_where_the_model_is_out_of_reach(backend):
    _Training.__abstractmethods__ = frozenset()
    with pytest.raises(NotAvailableError, match=r"needs gradients, hidden_states, .* would do: transformers"):
        refuse_mismatch(_Training(), backend)
    refuse_mismatch(_Training(), TransformersBackend)
