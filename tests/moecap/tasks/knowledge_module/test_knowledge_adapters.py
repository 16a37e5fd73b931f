"""Adapters on a tiny mixture: identities at the start, training, switching, merging, and no trace at the end."""

import hashlib
import itertools

import numpy as np
import pytest
from tiny_models import FAMILIES

from moecap.tasks.knowledge_module.adapters import Adapters, expert_parameters
from moecap.tasks.knowledge_module.extractor import Example, MergeWeights, join_adapters, option_loss, train_extractor
from moecap.tasks.knowledge_module.losses import distillation_loss, kl_divergence
from moecap.tasks.knowledge_module.passes import read_texts
from moecap.tasks.knowledge_module.teacher import Teacher
from moecap.tasks.knowledge_module.texts import Lesson, chunks, lessons
from moecap.tasks.knowledge_module.training import Schedule, held_out, optimise, train_module

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.engine

RANK = 4


@pytest.fixture
def module(engine):
    with engine.in_process().borrowed() as module:
        yield module


@pytest.fixture
def adapters(module):
    return Adapters(module, RANK, RANK, "attention", "tiny")


@pytest.fixture(scope="module")
def taught(byte_tokenizer, story):
    """Lessons of a document by given summaries."""
    pieces = chunks(byte_tokenizer, story, 90)
    said = [[byte_tokenizer.encode(text) for text in ("Nine geese.", "Ada and Tom.", "Lund.")] for _ in pieces]
    return lessons("sdcd", byte_tokenizer, pieces, said, 64, 0)


def _texts(*texts):
    return [tuple(text.encode()) for text in texts]


def _logits(module, text="Where are the geese?"):
    with torch.no_grad():
        return module(input_ids=torch.tensor(_texts(text))).logits


def _random(adapters, name, seed):
    """Give an adapter a change that is not small."""
    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in adapters.weights(name):
            weight.copy_(0.3 * torch.randn(weight.shape, generator=drawn))


def _digest(module):
    """Of the model's own weights, in whatever its adapters have wrapped them."""
    own = {name.replace(".base_layer", ""): w for name, w in module.state_dict().items() if "lora_" not in name}
    digest = hashlib.sha256()
    for name in sorted(own):
        digest.update(name.encode() + own[name].numpy().tobytes())
    return digest.hexdigest()


def _train(adapters, name, taught, steps=12, room=10**9):
    adapters.add(name, 0)
    adapters.use(name, train=name)
    teacher = Teacher(adapters.module, adapters.bare, room)
    curve = train_module(
        adapters.module,
        adapters.weights(name),
        taught,
        teacher,
        Schedule(steps, 2, 2e-2, 4),
        0,
        lambda on: adapters.use(name, train=name if on else None),
    )
    return curve, teacher


def test_a_batch_reads_each_text_as_it_would_be_read_alone(module):
    contexts, targets = _texts("Ada", "The river froze", "x"), _texts("keeps geese", "n", "Lund on Fridays")
    with torch.no_grad():
        together = read_texts(module, contexts, targets)
        for context, target, read in zip(contexts, targets, together, strict=True):
            output = module(input_ids=torch.tensor([context + target]), output_hidden_states=True)
            rows = slice(len(context) - 1, len(context) + len(target) - 1)
            assert torch.allclose(read.logits, output.logits[0, rows], atol=1e-5)
            states = torch.stack(output.hidden_states)[:, 0, rows]
            assert torch.allclose(read.hidden, states, atol=1e-5)


def test_a_new_adapter_changes_nothing_and_the_context_is_what_is_missing(module, adapters, taught):
    before = _logits(module)
    adapters.add("km", 0)
    assert torch.equal(_logits(module), before)
    with torch.no_grad():
        teachers = Teacher(module, adapters.bare, 0).read(taught)
        students = read_texts(module, [m.student for m in taught], [m.target for m in taught])
        found = distillation_loss(teachers, students)
    assert found.kl > 0 and found.hidden > 0


def test_an_empty_document_leaves_nothing_to_learn(module, adapters, taught):
    adapters.add("km", 0)
    adapters.use("km", train="km")
    same = [Lesson(m.student, m.student, m.target, m.chunk) for m in taught[:1]]
    students = read_texts(module, [m.student for m in same], [m.target for m in same])
    loss = distillation_loss(Teacher(module, adapters.bare, 0).read(same), students)
    assert loss.total.item() == 0
    loss.total.backward()
    assert all(weight.grad.abs().max() < 1e-7 for weight in adapters.weights("km"))  # roundings of the softmax


def test_training_halves_the_divergence_and_leaves_the_model_as_it_was(module, adapters, taught):
    before, digest = _logits(module), _digest(module)
    curve, _ = _train(adapters, "km", taught, steps=40)
    kl = {(step, part): value for step, part, measure, value in curve.rows if measure == "kl"}
    assert kl[40, "train"] < kl[0, "train"] / 2
    assert not torch.equal(_logits(module), before)
    adapters.use()
    assert torch.equal(_logits(module), before)
    assert digest == _digest(module)


def test_the_state_with_the_lowest_held_out_loss_is_kept(module, adapters, taught):
    curve, teacher = _train(adapters, "km", taught, steps=12)
    looks = {step: value for step, part, measure, value in curve.rows if (part, measure) == ("held_out", "loss")}
    assert curve.best_step == min(looks, key=looks.get)
    adapters.use("km")
    watched = held_out(taught)[1]
    with torch.no_grad():
        students = read_texts(module, [m.student for m in watched], [m.target for m in watched])
    found = distillation_loss(teacher.read(watched), students).total.item()
    assert found == pytest.approx(looks[curve.best_step], rel=1e-5)


def test_two_trainings_are_the_same_and_so_is_one_without_room_for_the_teacher(module, adapters, taught):
    one, kept = _train(adapters, "one", taught, steps=6)
    two, none = _train(adapters, "two", taught, steps=6, room=0)
    assert one.rows == two.rows
    assert (none.kept_bytes, kept.passes) == (0, len(taught))
    assert none.passes > kept.passes
    tokens = sum(len(m.target) for m in taught)
    config = module.config
    each = config.vocab_size + (config.num_hidden_layers + 1) * config.hidden_size
    assert kept.kept_bytes == tokens * each * 4  # fp32


def test_the_divergence_over_all_texts_is_what_the_document_says_of_them(module):
    # of texts of two tokens all can be counted: sum of p(s|D) log p(s|D)/p(s) against the chain of divergences
    (document, question), vocabulary = _texts("Nine geese walk.", "?"), 256
    firsts = [(token, 0) for token in range(vocabulary)]
    with torch.no_grad():
        teacher, student = (
            torch.stack([read.logits for read in read_texts(module, [context] * vocabulary, firsts, hidden=False)])
            for context in (document + question, question)
        )
    joint = [(x[0, 0].double().log_softmax(-1)[:, None] + x[:, 1].double().log_softmax(-1)) for x in (teacher, student)]
    counted = (joint[0].exp() * (joint[0] - joint[1])).sum()
    chained = kl_divergence(teacher[:1, 0], student[:1, 0]) + sum(
        p * kl_divergence(t[None], s[None])
        for p, t, s in zip(teacher[0, 0].softmax(-1), teacher[:, 1], student[:, 1], strict=True)
    )
    assert counted.item() == pytest.approx(chained.item(), rel=1e-4)
    assert counted > 0


def test_one_documents_module_does_not_touch_anothers(module, adapters):
    adapters.add("first", 1)
    _random(adapters, "first", 1)
    adapters.use("first")
    before = _logits(module)
    adapters.add("second", 2)
    _random(adapters, "second", 2)
    adapters.use("second")
    assert not torch.allclose(_logits(module), before, atol=1e-3)
    adapters.use("first")
    assert torch.equal(_logits(module), before)


@pytest.mark.parametrize(("weights", "alone"), [((1.0, 0.0), "km"), ((0.0, 1.0), "ke")])
def test_a_weight_of_zero_leaves_the_other_adapter_alone(module, adapters, weights, alone):
    for seed, name in enumerate(("km", "ke")):
        adapters.add(name, seed)
        _random(adapters, name, seed)
    adapters.use(alone)
    expected = _logits(module)
    adapters.use("km", "ke")
    merge = MergeWeights(adapters, 0.5)
    with torch.no_grad():
        merge.values.copy_(torch.tensor([weights]).expand_as(merge.values))
    with merge.applied("ke"):
        assert torch.allclose(_logits(module), expected, atol=1e-5)
    assert not torch.allclose(_logits(module), expected, atol=1e-3)


@pytest.mark.parametrize("learnt", [False, True])
def test_two_adapters_joined_into_one_compute_the_same(module, adapters, learnt):
    for seed, name in enumerate(("km", "ke")):
        adapters.add(name, seed)
        _random(adapters, name, seed)
    merge = MergeWeights(adapters, 0.5) if learnt else None
    if merge:
        with torch.no_grad():
            merge.values.copy_(torch.rand(merge.values.shape, generator=torch.Generator().manual_seed(5)))
    adapters.use("km", "ke")
    if merge:
        with merge.applied("ke"):
            expected = _logits(module)
    else:
        expected = _logits(module)
    for _ in range(2):  # made, and made anew
        join_adapters(adapters, "km_ke", ("km", "ke"), merge, "ke")
        adapters.use("km_ke")
        assert torch.allclose(_logits(module), expected, atol=1e-4)
    assert adapters.parameters("km_ke") == 2 * adapters.parameters("km")


def test_a_saved_module_is_the_same_in_another_copy_of_the_model(module, adapters, byte_model, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    adapters.add("km", 0)
    _random(adapters, "km", 0)
    adapters.save("km", tmp_path / "saved")
    assert sorted(file.name for file in (tmp_path / "saved").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    other = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(byte_model), tmp_path / "saved").eval()
    assert torch.allclose(_logits(other), _logits(module), atol=1e-5)


def test_the_extractor_learns_to_choose_while_the_modules_stay(module, adapters):
    for name in ("km0", "km1"):
        adapters.add(name, 0)
        _random(adapters, name, 3)
    kept = [weight.detach().clone() for name in ("km0", "km1") for weight in adapters.weights(name)]
    adapters.add("ke", 1)
    merge = MergeWeights(adapters, 0.5)
    options = tuple(_texts("yes", "no"))
    examples = [Example(f"km{i % 2}", *_texts(f"Question {i}?"), options, 0) for i in range(4)]
    with merge.applied("ke"):
        losses = train_extractor(adapters, "ke", examples, Schedule(12, 2, 5e-2, 12), 0, merge)
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    assert not torch.equal(merge.values, torch.full_like(merge.values, 0.5))
    found = [weight for name in ("km0", "km1") for weight in adapters.weights(name)]
    assert all(torch.equal(a, b) for a, b in zip(kept, found, strict=True))


def test_the_loss_over_options_by_hand():
    # -2 over 2 tokens and -1 over 1: both -1 a token, so each option has a half
    assert option_loss(torch.tensor([-2.0, -1.0]), torch.tensor([2, 1]), 0).item() == pytest.approx(np.log(2))


def test_the_rate_rises_and_then_falls_to_zero():
    weight = torch.nn.Parameter(torch.zeros(1))
    places = [0.0]
    for _ in optimise([weight], Schedule(50, 1, 1e-2, 1), lambda: (weight - 100.0).square().sum()):
        places.append(weight.item())
    moved = np.diff(places)  # AdamW moves by the rate where the gradient stays as it is
    assert moved[:3] == pytest.approx([1e-2 / 3, 2e-2 / 3, 1e-2], rel=0.02)
    assert all(after <= before * 1.001 for before, after in itertools.pairwise(moved[2:]))
    assert moved[-1] < 1e-4


def test_the_experts_of_a_mixture_would_multiply_an_adapter(engine, byte_model):
    from moecap.models.config_file import read_config_file
    from moecap.models.reading import read_model

    spec = read_model(read_config_file(byte_model / "config.json"), "tiny", weights="fp32", kv="fp32")
    config = engine.in_process().module.config
    one = 3 * RANK * (config.hidden_size + config.intermediate_size)  # gate, up and down
    layers, experts = config.num_hidden_layers, config.num_local_experts
    assert expert_parameters(spec, RANK) == (layers * experts * one, layers * config.num_experts_per_tok * one)


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_of_every_family_learns(family, tiny_model):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model(family)).eval().requires_grad_(False)
    weights = Adapters(model, RANK, RANK, "attention", family).add("km", 0)
    for weight in weights:
        weight.requires_grad_(True)
    model(input_ids=torch.tensor([[1, 2, 3, 4]])).logits.float().square().sum().backward()
    # B is zero, so only B has a gradient yet: one of the two matrices of each place
    assert sum(bool(weight.grad.any()) for weight in weights) == len(weights) / 2 >= model.config.num_hidden_layers


def test_every_linear_layer_but_router_and_head_can_be_adapted(module):
    dense = torch.nn.ModuleDict({"mlp": torch.nn.Linear(2, 2), "gate": torch.nn.Linear(2, 2)})
    module.extra = dense
    found = Adapters(module, RANK, RANK, "linear", "tiny").targets
    assert found == ["k_proj", "mlp", "o_proj", "q_proj", "v_proj"]
