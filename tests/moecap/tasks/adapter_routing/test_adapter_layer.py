"""The identities of a routed layer (arXiv 2211.03831, section 3), with PEFT's Poly as an independent implementation."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from moecap.errors import BadInputError
from moecap.tasks.adapter_routing.inventory import Inventory, Placing, placed
from moecap.tasks.adapter_routing.variants import Layout

TIGHT = {"atol": 1e-6, "rtol": 1e-5}
D_IN, D_OUT, TASKS = 16, 24, 3


class _Model(nn.Sequential):
    """Two linear layers in a numbered block."""

    def __init__(self):
        super().__init__(nn.Linear(D_IN, D_OUT), nn.Tanh(), nn.Linear(D_OUT, D_IN))


def _model(seed=0):
    torch.manual_seed(seed)
    return _Model().requires_grad_(False)


def _layout(routing="learned", tasks=TASKS, heads=4, skills=4, rank=2):
    return Layout(routing, tasks, heads, skills, rank)


def _placing(**how):
    return Placing(("0", "2"), **how)


def _shaken(inventory, seed=1):
    """Adapters and logits that are no longer what they began with."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in [*inventory.adapters(), *inventory.logits()]:
            parameter.copy_(torch.randn(parameter.shape, generator=generator))


def _rows(n=5, seed=2):
    return torch.randn(n, D_IN, generator=torch.Generator().manual_seed(seed))


def _out(model, inventory, rows, tasks):
    with inventory.asked(torch.tensor(tasks)), torch.no_grad():
        return model(rows)


@pytest.mark.parametrize(("skills", "heads"), [(1, 1), (4, 1), (4, 4), (8, 8)])
def test_a_layer_is_pefts_poly(skills, heads):
    """PEFT's own layer and router, given the same A, B and Z: Poly with one head, MHR with several."""
    from peft import PolyConfig
    from peft.tuners.poly import Linear as PeftLinear

    base = nn.Linear(D_IN, D_OUT)
    config = PolyConfig(r=2, n_tasks=TASKS, n_skills=skills, n_splits=heads)
    peft = PeftLinear(copy.deepcopy(base), "default", config).eval()
    model = nn.Sequential(base).requires_grad_(False)
    with placed(model, _layout(heads=heads, skills=skills), Placing(("0",))) as inventory:
        _shaken(inventory)
        (layer,), (logits,) = inventory.routed(), inventory.logits()
        peft.poly_lora_A["default"].data.copy_(layer.a.data)
        peft.poly_lora_B["default"].data.copy_(layer.b.data)
        peft.poly_router["default"].module_logits.data.copy_(logits.data.flatten(1))
        rows, tasks = _rows(6).reshape(2, 3, D_IN), torch.tensor([2, 0])
        ours = _out(model, inventory, rows, [2, 0])
        torch.testing.assert_close(ours, peft(rows, task_ids=tasks).detach(), **TIGHT)


def test_pefts_poly_draws_its_weights_while_training_and_ours_only_where_that_is_asked():
    model, rows = _model(), _rows()
    for relaxed in (False, True):
        with placed(model, _layout(), _placing(relaxed=relaxed)) as inventory:
            _shaken(inventory)
            inventory.train()
            first, second = (_out(model, inventory, rows, [0]) for _ in range(2))
            assert torch.equal(first, second) is not relaxed
            torch.manual_seed(5)
            first = _out(model, inventory, rows, [0])
            torch.manual_seed(5)
            assert torch.equal(first, _out(model, inventory, rows, [0]))
            inventory.eval()
            assert torch.equal(_out(model, inventory, rows, [0]), _out(model, inventory, rows, [0]))


def test_one_skill_is_a_lora_of_scale_one_over_r():
    model, rows = _model(), _rows()
    plain = copy.deepcopy(model)
    with placed(model, _layout("mean", heads=1, skills=1), _placing()) as inventory:
        _shaken(inventory)
        first, second = inventory.routed()
        hidden = torch.tanh(plain[0](rows) + rows @ first.a[0, 0] @ first.b[0, 0] / 2)
        expected = plain[2](hidden) + hidden @ second.a[0, 0] @ second.b[0, 0] / 2
        torch.testing.assert_close(_out(model, inventory, rows, [0]), expected.detach(), **TIGHT)


@given(seed=st.integers(0, 1000), heads=st.sampled_from([1, 2, 4]), skills=st.integers(1, 6), scale=st.floats(0, 3))
@settings(max_examples=25, deadline=None)
def test_the_weights_of_a_task_sum_to_one_in_each_head(seed, heads, skills, scale):
    inventory = Inventory(_model(), _layout(heads=heads, skills=skills), _placing())
    with torch.no_grad():
        for logits in inventory.logits():
            logits.copy_(torch.randn(logits.shape, generator=torch.Generator().manual_seed(seed)) * scale)
        alpha = inventory.routers[0](torch.arange(TASKS))
    assert alpha.shape == (TASKS, heads, skills)
    assert bool((alpha >= 0).all())
    torch.testing.assert_close(alpha.sum(-1), torch.ones(TASKS, heads), **TIGHT)


def test_at_the_beginning_every_skill_weighs_nearly_the_same_so_that_poly_is_nearly_its_mean():
    """Logits within 1e-3 of 0 give weights within a part in a thousand of 1 / K."""
    model, rows = _model(), _rows()
    with placed(model, _layout(), _placing()) as inventory:
        with torch.no_grad():
            alpha = inventory.routers[0](torch.arange(TASKS))
            for layer in inventory.routed():
                layer.b.normal_(0, 0.1)
        assert float((alpha * 4 - 1).abs().max()) <= 1e-3
        routed, adapters = _out(model, inventory, rows, [0]), inventory.mean()
    with placed(model, _layout("mean", heads=1, skills=1), _placing()) as mean:
        mean.copy_one(adapters)
        gap = (_out(model, mean, rows, [0]) - routed).abs().max()
    assert 0 < float(gap) < 1e-3


def test_the_mean_is_one_lora_of_mean_a_and_mean_b_and_not_the_mean_of_the_skills_outputs():
    model, rows = _model(), _rows()
    plain = copy.deepcopy(model[0])
    with placed(model, _layout("mean"), _placing()) as inventory:
        _shaken(inventory)
        layer = inventory.routed()[0]
        constant = layer(rows).detach()
        a = layer.a.mean(1).reshape(D_IN, 2)
        b = torch.cat(list(layer.b.mean(1)), dim=-1)
        torch.testing.assert_close(constant, (plain(rows) + rows @ a @ b / 2).detach(), **TIGHT)
        a, b = inventory.mean()[0]
        torch.testing.assert_close(constant, plain(rows) + rows @ a @ b / 2, **TIGHT)
        skills = [
            plain(rows) + rows @ layer.a[:, k].reshape(D_IN, 2) @ torch.cat(list(layer.b[:, k]), dim=-1) / 2
            for k in range(4)
        ]
        assert (constant - torch.stack(skills).mean(0)).detach().abs().max() > 0.1


def test_several_heads_whose_rows_are_equal_are_one_head():
    """A and B of MHR side by side are those of Poly; with one row of Z for all heads both mix alike."""
    model, rows = _model(), _rows()
    with placed(model, _layout(heads=4), _placing()) as mhr:
        _shaken(mhr)
        with torch.no_grad():
            for logits in mhr.logits():
                logits.copy_(logits[:, :1].expand_as(logits).clone())
        expected = _out(model, mhr, rows, [1])
    with placed(model, _layout(heads=1), _placing()) as poly, torch.no_grad():
        for one, several in zip(poly.routed(), mhr.routed(), strict=True):
            one.a.copy_(several.a.transpose(0, 1).flatten(1, 2)[None])
            one.b.copy_(several.b.permute(1, 2, 0, 3).flatten(2)[None])
        for one, several in zip(poly.logits(), mhr.logits(), strict=True):
            one.copy_(several[:, :1])
        torch.testing.assert_close(_out(model, poly, rows, [1]), expected, **TIGHT)


@pytest.mark.parametrize("routing", ["learned", "mean", "private"])
def test_what_has_not_been_trained_changes_nothing_and_is_out_again_afterwards(routing):
    model, rows = _model(), _rows()
    before, parts = model(rows), list(model.modules())
    skills = TASKS if routing == "private" else 4
    with placed(model, _layout(routing, heads=1, skills=skills), _placing()) as inventory:
        assert torch.equal(_out(model, inventory, rows, [0, 1, 2, 1, 0]), before)
        _shaken(inventory)
        assert not torch.equal(_out(model, inventory, rows, [0]), before)
    assert torch.equal(model(rows), before)
    assert list(model.modules()) == parts


@given(seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_the_order_of_the_skills_is_of_no_account(seed):
    model, rows = _model(), _rows()
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    with placed(model, _layout(), _placing()) as inventory:
        _shaken(inventory, seed)
        before = _out(model, inventory, rows, [2])
        with torch.no_grad():
            for parameter in inventory.adapters():
                parameter.copy_(parameter[:, order].clone())
            for logits in inventory.logits():
                logits.copy_(logits[..., order].clone())
        torch.testing.assert_close(_out(model, inventory, rows, [2]), before, atol=1e-4, rtol=1e-4)


def test_tasks_with_equal_rows_get_equal_outputs_and_others_do_not():
    model, rows = _model(), _rows(2)
    with placed(model, _layout(), _placing()) as inventory:
        _shaken(inventory)
        with torch.no_grad():
            for logits in inventory.logits():
                logits[2] = logits[0]
        assert torch.equal(_out(model, inventory, rows, [0]), _out(model, inventory, rows, [2]))
        assert not torch.equal(_out(model, inventory, rows, [0]), _out(model, inventory, rows, [1]))


def test_a_batch_of_several_tasks_gives_each_row_its_own():
    model, rows = _model(), _rows(4)
    with placed(model, _layout(), _placing()) as inventory:
        _shaken(inventory)
        together = _out(model, inventory, rows, [2, 0, 2, 1])
        alone = [_out(model, inventory, row[None], [task]) for row, task in zip(rows, [2, 0, 2, 1], strict=True)]
        torch.testing.assert_close(together, torch.cat(alone), **TIGHT)


def test_only_the_tasks_of_a_batch_have_a_gradient_on_their_routing():
    model, rows = _model(), _rows(3)
    with placed(model, _layout(), _placing()) as inventory:
        _shaken(inventory)
        with inventory.asked(torch.tensor([0, 0, 2])):
            gradients = torch.autograd.grad(model(rows).square().sum(), inventory.logits())
    for gradient in gradients:
        assert gradient[0].abs().max() > 0
        assert gradient[2].abs().max() > 0
        assert torch.equal(gradient[1], torch.zeros_like(gradient[1]))


@pytest.mark.parametrize(("granularity", "routers"), [("layer", 4), ("block", 2), ("global", 1)])
def test_layers_share_routers_by_layer_block_or_model(granularity, routers):
    names = ("layers.0.q", "layers.0.k", "layers.1.q", "layers.1.k")
    model = nn.Module()
    model.layers = nn.ModuleList(nn.ModuleDict({"q": nn.Linear(8, 8), "k": nn.Linear(8, 4)}) for _ in range(2))
    inventory = Inventory(model, _layout(heads=2, skills=3), Placing(names, granularity))
    assert len(inventory.routers) == len(inventory.logits()) == routers
    assert inventory.routed()[0].router is inventory.routers[0]
    assert (inventory.routed()[0].router is inventory.routed()[1].router) is (granularity != "layer")


def test_a_begins_by_the_width_of_the_layer_or_of_a_block():
    """Uniform within 1 / sqrt(width): PEFT takes a block's width, so its A is larger by the root of the heads."""
    torch.manual_seed(0)
    wide = nn.Sequential(nn.Linear(4096, 64))
    spread = {
        fan_in: float(Inventory(wide, _layout(heads=4), Placing(("0",), fan_in=fan_in)).routed()[0].a.detach().std())
        for fan_in in ("layer", "block")
    }
    assert spread["layer"] == pytest.approx(1 / (4096 * 3) ** 0.5, rel=0.02)
    assert spread["block"] / spread["layer"] == pytest.approx(2, rel=0.02)


def test_heads_that_do_not_divide_a_layer_are_refused():
    with pytest.raises(BadInputError, match=r"heads=3: it must divide .* 16 to 24; take a divisor of 8"):
        Inventory(_model(), _layout(heads=3), _placing())
