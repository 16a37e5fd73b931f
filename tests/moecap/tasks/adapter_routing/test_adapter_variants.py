"""Parameters of every variant, counted by hand, against what is placed and trained."""

import pytest
import torch
from torch import nn

from moecap.tasks.adapter_routing.inventory import Inventory, Placing
from moecap.tasks.adapter_routing.variants import (
    VARIANTS,
    Layout,
    adapted_layout,
    is_layout_of,
    parameters_of_shots,
    trained_layout,
)

WIDTHS = (64 + 128) + (128 + 128)
"""Of two layers, 64 to 128 and 128 to 128."""

BY_HAND = {
    # variant: parameters of A and B, of Z, of the one adapter of a task (K = 8, S = 4, r = 2, T = 5, two routers)
    "lora": (16 * WIDTHS, 0, 16 * WIDTHS),
    "private": (5 * 16 * WIDTHS, 0, 16 * WIDTHS),
    "mu": (8 * 2 * WIDTHS, 0, 2 * WIDTHS),
    "poly": (8 * 2 * WIDTHS, 2 * 5 * 8, 2 * WIDTHS),
    "mhr": (8 * 2 * WIDTHS, 2 * 5 * 4 * 8, 2 * WIDTHS),
}
OF_SHOTS = {
    ("lora", "full"): 16 * WIDTHS,
    ("private", "full"): 16 * WIDTHS,
    ("mu", "mu"): 2 * WIDTHS,
    ("poly", "full"): 16 * WIDTHS + 2 * 8,
    ("poly", "mu"): 2 * WIDTHS,
    ("poly", "z"): 2 * 8,
    ("mhr", "full"): 16 * WIDTHS + 2 * 4 * 8,
    ("mhr", "mu"): 2 * WIDTHS,
    ("mhr", "z"): 2 * 4 * 8,
}


def _inventory(layout):
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128)).requires_grad_(False)
    return Inventory(model, layout, Placing(("0", "2")))


def _count(parameters):
    return sum(parameter.numel() for parameter in parameters)


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameters_are_those_counted_by_hand_and_those_that_are_there(variant):
    layout = trained_layout(variant, 5, 4, 8, 2)
    adapters, routers, active = BY_HAND[variant]
    assert layout.adapter_parameters(WIDTHS) == adapters
    assert layout.router_parameters(2) == routers
    assert layout.active_parameters(WIDTHS) == active
    inventory = _inventory(layout)
    assert _count(inventory.adapters()) == adapters
    assert _count(inventory.logits()) == routers
    assert sum(a.numel() + b.numel() for a, b in inventory.merged(4)) == active


def test_more_heads_cost_routing_alone():
    few, many = (trained_layout("mhr", 5, heads, 8, 2) for heads in (1, 16))
    assert few.adapter_parameters(WIDTHS) == many.adapter_parameters(WIDTHS)
    assert many.router_parameters(2) - few.router_parameters(2) == 2 * 5 * 15 * 8


@pytest.mark.parametrize(("variant", "adaptation"), OF_SHOTS)
def test_parameters_that_learn_from_shots_are_those_counted_by_hand(variant, adaptation):
    trained = trained_layout(variant, 5, 4, 8, 2)
    assert parameters_of_shots(trained, adaptation, WIDTHS, 2) == OF_SHOTS[variant, adaptation]
    inventory = _inventory(adapted_layout(trained, adaptation))
    learning = inventory.logits() if adaptation == "z" else [*inventory.adapters(), *inventory.logits()]
    assert _count(learning) == OF_SHOTS[variant, adaptation]


def test_every_variant_with_every_way_in_which_it_learns_is_counted_above():
    known = {(name, how) for name, variant in VARIANTS.items() for how in variant.adaptations if how != "zero"}
    assert known == set(OF_SHOTS)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_layout_is_known_again_by_its_variant(variant):
    assert is_layout_of(variant, trained_layout(variant, 5, 4, 8, 2))
    assert not is_layout_of(variant, Layout("private" if variant != "private" else "mean", 5, 4, 7, 2))


def test_merging_a_private_task_gives_its_own_adapter():
    inventory = _inventory(trained_layout("private", 5, 4, 8, 2))
    with torch.no_grad():
        for layer in inventory.routed():
            layer.b.normal_()
    layer, (a, b) = inventory.routed()[1], inventory.merged(3)[1]
    assert torch.equal(a, layer.a[0, 3].detach())
    assert torch.equal(b, layer.b[0, 3].detach())
