"""Adapters in a language model: losses and answers against the engine, and passes that begin at the adapted blocks."""

import math

import pytest

from moecap.backend import Continuation
from moecap.errors import BadInputError
from moecap.observations.recorder import Recorder
from moecap.tasks.adapter_routing.examples import Example
from moecap.tasks.adapter_routing.settings import read_settings

EXAMPLES = [
    Example("a", "one and two", (" three", " four", " fifty"), 0),
    Example("b", "a longer prompt with other words", (" x", " y"), 1),
    Example("c", "short", (" words of one", " and of another"), 1),
]


def _model(module, tokenizer, **arguments):
    from moecap.tasks.adapter_routing.language_model import LanguageModel

    return LanguageModel(module, tokenizer, read_settings({"data": "glue", **arguments}))


def _trained(inventory):
    """Adapters that change something, and routing that tells tasks apart."""
    import torch

    with torch.no_grad():
        for layer in inventory.routed():
            layer.b.normal_()
        for logits in inventory.logits():
            logits.normal_(0, 3)


def _scores(engine, tokenizer):
    """Log-likelihood per token of each answer, by the engine."""
    pairs = []
    for example in EXAMPLES:
        for answer in example.answers:
            whole = tokenizer.encode_prompt(example.prompt + answer)
            length = len(tokenizer.encode_prompt(example.prompt))
            pairs.append(Continuation(example.id, whole[:length], whole[length:]))
    scored = iter(engine.score(pairs, Recorder(), lambda _done: None))
    targets = iter(len(pair.target) for pair in pairs)
    return [[next(scored).log_likelihood / next(targets) for _ in example.answers] for example in EXAMPLES]


@pytest.mark.engine
@pytest.mark.parametrize("blocks", ["1", "2", "all"])
def test_losses_and_answers_are_the_engines_own_while_nothing_is_trained(engine, tokenizer, blocks):
    import torch

    expected = _scores(engine, tokenizer)
    with engine.in_process().borrowed() as module:
        model = _model(module, tokenizer, blocks=blocks)
        with torch.no_grad():
            losses = model.losses(EXAMPLES)
        assert losses.tolist() == pytest.approx(
            [-scores[e.gold] for scores, e in zip(expected, EXAMPLES, strict=True)], abs=1e-4
        )
        assert model.answers(EXAMPLES) == [max(range(len(s)), key=s.__getitem__) for s in expected]


@pytest.mark.engine
@pytest.mark.parametrize("family", ["gpt_oss", "deepseek_v3"])
def test_models_whose_blocks_differ_give_the_engines_losses_too(open_engine, tokenizer, family):
    """Windows in every other block (texts are longer than the window), and attention through latents."""
    import torch

    with open_engine(family) as engine:
        expected = _scores(engine, tokenizer)
        with engine.in_process().borrowed() as module, torch.no_grad():
            losses = _model(module, tokenizer, blocks="2").losses(EXAMPLES).tolist()
    assert losses == pytest.approx([-s[e.gold] for s, e in zip(expected, EXAMPLES, strict=True)], abs=1e-4)


@pytest.mark.engine
def test_the_engine_scores_with_trained_adapters_as_the_short_passes_do(engine, tokenizer):
    """The lower blocks are skipped in training; the engine runs all of them, and its numbers are the same."""
    import torch

    from moecap.tasks.adapter_routing.inventory import Placing, placed
    from moecap.tasks.adapter_routing.variants import trained_layout

    before = _scores(engine, tokenizer)
    with engine.in_process().borrowed() as module:
        model = _model(module, tokenizer, blocks="1")
        assert all(name.startswith("model.layers.2.self_attn.") for name in model.layers)
        torch.manual_seed(0)
        with placed(module, trained_layout("mhr", 2, 4, 3, 1), Placing(tuple(model.layers))) as inventory:
            _trained(inventory)
            with inventory.asked(inventory.numbers([1])), torch.no_grad():
                losses = model.losses(EXAMPLES)
                scores = _scores(engine, tokenizer)
        assert losses.tolist() == pytest.approx([-s[e.gold] for s, e in zip(scores, EXAMPLES, strict=True)], abs=1e-4)
        assert not math.isclose(scores[0][0], before[0][0], abs_tol=1e-3)
    assert _scores(engine, tokenizer) == before


@pytest.mark.engine
def test_a_batch_of_several_tasks_is_each_task_by_itself(engine, tokenizer):
    import torch

    from moecap.tasks.adapter_routing.inventory import Placing, placed
    from moecap.tasks.adapter_routing.variants import trained_layout

    with engine.in_process().borrowed() as module:
        model = _model(module, tokenizer, blocks="2")
        torch.manual_seed(0)
        with placed(module, trained_layout("poly", 3, 1, 4, 2), Placing(tuple(model.layers))) as inventory:
            _trained(inventory)
            with inventory.asked(torch.tensor([2, 0, 1])):
                together = model.losses(EXAMPLES).tolist()
            alone = []
            for number, example in zip([2, 0, 1], EXAMPLES, strict=True):
                with inventory.asked(torch.tensor([number])):
                    alone += model.losses([example]).tolist()
    assert together == pytest.approx(alone, abs=1e-4)


@pytest.mark.engine
def test_an_exported_adapter_is_a_lora_that_peft_loads_with_the_same_logits(engine, tokenizer, tiny_model, tmp_path):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from moecap.tasks.adapter_routing.export import write_lora
    from moecap.tasks.adapter_routing.inventory import Placing, placed
    from moecap.tasks.adapter_routing.variants import trained_layout

    ids = torch.tensor([tokenizer.encode_prompt("some text to read")])
    with engine.in_process().borrowed() as module, torch.no_grad():
        plain = module(input_ids=ids).logits
        layers = _model(module, tokenizer, blocks="2").layers
        torch.manual_seed(0)
        with placed(module, trained_layout("mhr", 3, 4, 4, 2), Placing(tuple(layers))) as inventory:
            _trained(inventory)
            with inventory.asked(inventory.numbers([2])):
                routed = module(input_ids=ids).logits
        adapters = {"task": inventory.merged(2), "mean": inventory.mean()}
    for name, of_name in adapters.items():
        write_lora(tmp_path / name, inventory.names, of_name)
        fresh = AutoModelForCausalLM.from_pretrained(tiny_model("mixtral"), dtype=torch.float32)
        with torch.no_grad():
            loaded = PeftModel.from_pretrained(fresh, str(tmp_path / name)).eval()(input_ids=ids).logits
        assert (loaded - plain).abs().max() > 0.1
        assert torch.allclose(loaded, routed, atol=1e-4, rtol=1e-4) is (name == "task")


@pytest.mark.engine
@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"layers": "nothing"}, "it is the whole name of no linear layer"), ({"layers": "("}, "no regular expression")],
)
def test_layers_that_are_not_there_are_refused(engine, tokenizer, arguments, said):
    with engine.in_process().borrowed() as module, pytest.raises(BadInputError, match=said):
        _model(module, tokenizer, **arguments)


@pytest.mark.engine
def test_what_is_kept_of_the_lower_blocks_changes_no_number_and_is_computed_once(engine, tokenizer):
    """Losses of kept states equal those of passes over all blocks, to the bit where texts are as long as each other."""
    import torch

    alike = [
        Example(name, prompt, (" x", " y"), 1) for name, prompt in (("a", "one two three"), ("b", "six two three"))
    ]
    with engine.in_process().borrowed() as module, torch.no_grad():
        lengths = {len(tokenizer.encode_prompt(example.prompt)) for example in alike}
        assert len(lengths) == 1
        short, whole = _model(module, tokenizer, blocks="1"), _model(module, tokenizer, blocks="all")
        lower: list[int] = []
        hook = module.get_submodule("model.layers.0").register_forward_hook(lambda *_: lower.append(1))
        short.prepare(alike)
        assert len(lower) == 1
        found = short.losses(alike)
        compared = len(lower)  # the first losses are also computed the long way, to see that the short one may be gone
        again = short.losses(alike)
        assert len(lower) == compared
        hook.remove()
        assert torch.equal(found, again)
        assert torch.equal(found, whole.losses(alike))


@pytest.mark.engine
def test_rounding_of_kept_states_does_not_send_every_pass_through_the_lower_blocks(engine, tokenizer):
    """What other batches round otherwise is no sign that the short way leads elsewhere."""
    import torch

    with engine.in_process().borrowed() as module, torch.no_grad():
        model = _model(module, tokenizer, blocks="1")
        model.prepare(EXAMPLES)
        for text, states in model._blocks._entering.items():
            model._blocks._entering[text] = states * (1 + 0.2 * torch.rand_like(states))
        lower: list[int] = []
        model.losses(EXAMPLES)
        hook = module.get_submodule("model.layers.0").register_forward_hook(lambda *_: lower.append(1))
        model.losses(EXAMPLES)
        hook.remove()
    assert not lower


@pytest.mark.engine
@pytest.mark.parametrize("family", ["mixtral", "gpt_oss", "deepseek_v3"])
def test_the_memory_of_a_step_is_no_less_than_what_its_gradients_keep(open_engine, tokenizer, tiny_model, family):
    import torch

    from moecap.models.activations import training_bytes
    from moecap.models.config_file import read_config_file
    from moecap.models.reading import read_model
    from moecap.tasks.adapter_routing.inventory import Placing, placed
    from moecap.tasks.adapter_routing.variants import trained_layout

    examples = [Example(str(n), " ".join(["some words of a text"] * 8), (" x", " y"), 1) for n in range(8)]
    kept: dict[int, int] = {}

    def count(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with open_engine(family) as engine, engine.in_process().borrowed() as module:
        weights = {weight.untyped_storage().data_ptr() for weight in module.parameters()}
        model = _model(module, tokenizer, blocks="all")
        with placed(module, trained_layout("mhr", 1, 1, 1, 1), Placing(tuple(model.layers))) as inventory:
            trained = sum(weight.numel() for weight in (*inventory.adapters(), *inventory.logits()))
            with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
                losses = model.losses(examples)
            held = sum(size for place, size in kept.items() if place not in weights)
        del losses
        tokens = len(examples) * len(tokenizer.encode_prompt(examples[0].prompt))
        spec = read_model(read_config_file(tiny_model(family) / "config.json"), family, weights="fp32", kv="fp32")
        expected = training_bytes(
            spec, tokens=tokens, logits_rows=8, layers=len(spec.layers), trained=trained, dtype="fp32"
        )
    assert held <= expected <= 8 * held, (held, expected)
