"""Training: what learns and what stays, two speeds, seeds, and the gradients of tasks."""

import hashlib
import math

import numpy as np
import pytest
import torch

from moecap.tasks.adapter_routing.digit_network import DigitNetwork
from moecap.tasks.adapter_routing.digit_pairs import digit_pairs
from moecap.tasks.adapter_routing.examples import draw_shots
from moecap.tasks.adapter_routing.inventory import Placing, placed
from moecap.tasks.adapter_routing.settings import Schedule
from moecap.tasks.adapter_routing.training import batches, gradient_cosines, train
from moecap.tasks.adapter_routing.variants import Layout, trained_layout

PLACING = Placing(DigitNetwork.layers)
SCHEDULE = Schedule(20, 16, 0.01, 0.1)


@pytest.fixture(scope="module")
def tasks():
    return digit_pairs(10, trained=4, held_out=2)


@pytest.fixture
def study():
    return DigitNetwork(0)


def _drawn(tasks, seed=0):
    return batches([task.pool for task in tasks.training], SCHEDULE, np.random.default_rng(seed))


def _digest(parameters):
    digest = hashlib.sha256()
    for parameter in parameters:
        digest.update(parameter.detach().numpy().tobytes())
    return digest.hexdigest()


def _train(study, tasks, layout, **how):
    torch.manual_seed(0)
    with placed(study.model, layout, PLACING) as inventory:
        losses = train(study, inventory, _drawn(tasks), SCHEDULE, **how)
    return inventory, losses


def test_digits_are_45_pairs_whose_examples_show_one_of_the_two_and_judge_apart(tasks):
    whole = digit_pairs()
    assert (len(whole.training), len(whole.held_out), whole.limited) == (33, 8, False)
    names = [task.name for task in (*whole.training, *whole.held_out)]
    assert len(set(names)) == 41
    for task in whole.held_out:
        assert not {e.id for e in task.pool} & {e.id for e in task.test}
        assert len(task.pool) == pytest.approx(2 * len(task.test), abs=2)
        assert {e.answers[e.gold] for e in task.test} == set(task.test[0].answers)
    assert tasks.limited
    assert all(len(task.test) == 10 for task in tasks.held_out)


def test_shots_are_drawn_once_each_evenly_over_the_answers_and_by_the_seed(tasks):
    task = tasks.held_out[0]
    shots = draw_shots(task, 16, np.random.default_rng(0))
    assert len({shot.id for shot in shots}) == 16
    assert sum(shot.gold for shot in shots) == 8
    assert shots == draw_shots(task, 16, np.random.default_rng(0)) != draw_shots(task, 16, np.random.default_rng(1))
    assert len(draw_shots(task, 10**6, np.random.default_rng(0))) == len(task.pool)


@pytest.mark.parametrize("variant", ["lora", "private", "mu", "poly", "mhr"])
def test_training_lowers_the_loss_leaves_the_model_and_repeats_to_the_bit(study, tasks, variant):
    layout, before = trained_layout(variant, 4, 8, 4, 1), _digest(study.model.parameters())
    inventory, losses = _train(study, tasks, layout)
    assert np.mean(losses[-3:]) < losses[0]
    assert _digest(study.model.parameters()) == before
    again, losses_again = _train(DigitNetwork(0), tasks, layout)
    assert losses_again == losses
    assert _digest(again.adapters()) == _digest(inventory.adapters())


def test_routing_alone_learns_where_the_adapters_are_frozen(study, tasks):
    """MHR-z: A and B stay to the bit, and what learns is S K numbers for each router."""
    trained, _ = _train(study, tasks, trained_layout("mhr", 4, 8, 4, 1))
    with placed(study.model, Layout("learned", 1, 8, 4, 1), PLACING) as inventory:
        inventory.copy_adapters(trained)
        before, routing = _digest(inventory.adapters()), _digest(inventory.logits())
        assert before == _digest(trained.adapters())
        shots = draw_shots(tasks.held_out[0], 16, np.random.default_rng(0))
        losses = train(study, inventory, [(shots, [0] * 16)] * 20, SCHEDULE, frozen=True)
        assert losses[-1] < losses[0]
        assert _digest(inventory.adapters()) == before
        assert _digest(inventory.logits()) != routing
        assert sum(logits.numel() for logits in inventory.logits()) == 2 * 8 * 4


def test_adapters_and_routing_learn_at_two_speeds(study, tasks):
    """The first step of Adam moves every number by its learning rate, whatever the gradient."""
    torch.manual_seed(0)
    with placed(study.model, trained_layout("poly", 4, 1, 4, 1), PLACING) as inventory:
        with torch.no_grad():
            for layer in inventory.routed():
                layer.b.normal_()
        before = [p.detach().clone() for p in (inventory.routed()[0].b, inventory.logits()[0])]
        train(study, inventory, _drawn(tasks)[:1], Schedule(1, 16, 0.003, 0.2))
        moved = [
            (new.detach() - old).abs().max().item()
            for new, old in zip((inventory.routed()[0].b, inventory.logits()[0]), before, strict=True)
        ]
    assert moved == pytest.approx([0.003, 0.2], rel=1e-3)


def test_gradients_of_two_tasks_with_private_adapters_are_at_right_angles(study, tasks):
    inventory, _ = _train(study, tasks, trained_layout("private", 4, 1, 1, 2))
    with placed(study.model, inventory.layout, PLACING) as again:
        again.copy_adapters(inventory)
        found = gradient_cosines(study, again, [task.pool[:8] for task in tasks.training])
    assert [(i, j) for i, j, _ in found] == [(i, j) for i in range(4) for j in range(i + 1, 4)]
    assert all(cosine == 0 for _, _, cosine in found)


def test_the_gradient_cosine_is_that_of_a_shared_adapter_worked_out_from_its_loss(study, tasks):
    inventory, _ = _train(study, tasks, trained_layout("lora", 4, 1, 1, 2))
    with placed(study.model, inventory.layout, PLACING) as again:
        again.copy_adapters(inventory)
        examples = [task.pool[:8] for task in tasks.training[:2]]
        (found,) = gradient_cosines(study, again, [*examples])
        rows = []
        for of_task in examples:
            for layer in again.routed():
                layer.a.grad = layer.b.grad = None
            study.losses(of_task).mean().backward()
            rows.append(np.concatenate([p.grad.numpy().ravel() for p in again.adapters()]).astype(np.float64))
    expected = rows[0] @ rows[1] / math.sqrt((rows[0] @ rows[0]) * (rows[1] @ rows[1]))
    assert found == (0, 1, pytest.approx(expected, abs=1e-6))


def test_a_batch_draws_every_task_alike_and_its_examples_from_that_tasks_pool(tasks):
    schedule = Schedule(500, 8, 0.01, 0.1)
    drawn = batches([task.pool for task in tasks.training], schedule, np.random.default_rng(0))
    counts = np.bincount([task for _, numbers in drawn for task in numbers], minlength=4)
    assert counts.sum() == 4000
    assert abs(counts - 1000).max() < 5 * math.sqrt(4000 * 0.25 * 0.75)
    pools = [{example.id for example in task.pool} for task in tasks.training]
    assert all(e.id in pools[t] for examples, numbers in drawn for e, t in zip(examples, numbers, strict=True))
