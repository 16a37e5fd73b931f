"""The encoder and the contextual module: against hand calculation, BERT's own layer, and what must not matter."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moecap.tasks.imagecode.context import ContextModule
from moecap.tasks.imagecode.encoder import DualEncoder
from moecap.tasks.imagecode.training import Examples, fit, seeded
from moecap.tasks.imagecode.variants import VARIANTS, Schedule

WIDTH = 16


def examples(n, seed=0, width=WIDTH, video=None):
    """Questions whose image is the one that is most like the text."""
    draw = np.random.default_rng(seed)
    images = draw.normal(size=(n, 10, width)).astype(np.float32)
    texts = draw.normal(size=(n, width)).astype(np.float32)
    golds = np.einsum("nid,nd->ni", images / np.linalg.norm(images, axis=-1, keepdims=True), texts).argmax(-1)
    return Examples(images, texts, golds, draw.random(n) < 0.5 if video is None else np.full(n, video))


def trained(variant, seed=0, epochs=2, train=None, start=None):
    with seeded(seed) as draw:
        schedule = Schedule(epochs, 36, 1e-3, 0.01)
        train = train or examples(80, 1)
        return fit(variant, start or DualEncoder(WIDTH, WIDTH, None), 32, train, examples(30, 2), schedule, draw)


def shuffled(asked, orders):
    rows = np.arange(len(orders))[:, None]
    return asked._replace(images=asked.images[rows, orders])


def test_a_score_is_the_cosine_times_the_scale_by_hand():
    encoder = DualEncoder(2, 2, None)
    images = torch.tensor([[[3.0, 4.0], [0.0, 2.0]]])
    texts = torch.tensor([[1.0, 0.0]])
    assert encoder(images, texts).tolist() == [pytest.approx([0.6 / 0.07, 0.0])]


@given(st.floats(0.01, 100), st.floats(0.01, 100))
@settings(max_examples=20)
def test_the_length_of_vectors_does_not_matter(for_images, for_texts):
    asked = examples(4)
    encoder = DualEncoder(WIDTH, WIDTH, None)
    own = encoder(torch.from_numpy(asked.images), torch.from_numpy(asked.texts))
    other = encoder(torch.from_numpy(asked.images * for_images), torch.from_numpy(asked.texts * for_texts))
    assert torch.allclose(own, other, atol=1e-3)


def test_zero_shot_picks_the_image_most_like_the_text():
    asked = examples(50, 5)
    found = trained("zero_shot").scores(asked)
    assert (found.argmax(-1) == asked.golds).all()


def test_the_loss_of_equal_scores_is_the_logarithm_of_ten():
    scores = torch.zeros(3, 10)
    assert torch.nn.functional.cross_entropy(scores, torch.tensor([0, 4, 9])).item() == pytest.approx(math.log(10))


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "temporal_embeddings"])
def test_images_in_another_order_have_the_same_scores_in_that_order(variant):
    asked, found = examples(20, 3), trained(variant)
    orders = np.stack([np.random.default_rng(n).permutation(10) for n in range(20)])
    own = found.scores(asked)
    other = found.scores(shuffled(asked, orders))
    assert np.allclose(np.take_along_axis(own, orders, 1), other, atol=1e-4)


def test_the_order_matters_to_temporal_embeddings_in_videos_alone():
    found = trained("temporal_embeddings", epochs=4)
    orders = np.tile(np.arange(10)[::-1], (20, 1))
    for video in (True, False):
        asked = examples(20, 3, video=video)
        same = np.allclose(found.scores(asked)[:, ::-1], found.scores(shuffled(asked, orders)), atol=1e-4)
        assert same is not video


def test_the_contextual_module_sees_the_other_images():
    asked, found = examples(20, 3), trained("context_module", epochs=4)
    other = asked._replace(images=asked.images.copy())
    other.images[:, 9] = examples(20, 4).images[:, 9]
    assert np.abs(found.scores(asked)[:, :9] - found.scores(other)[:, :9]).max() > 1e-4
    plain = trained("context_batch")
    assert np.allclose(plain.scores(asked)[:, :9], plain.scores(other)[:, :9], atol=1e-5)


def test_layers_that_give_nothing_leave_the_product_of_image_and_text():
    module = ContextModule(WIDTH, 32, temporal=True).eval()
    for layer in module.layers:  # what comes out of the last normalisation is nothing
        torch.nn.init.zeros_(layer.norm2.weight)
        torch.nn.init.zeros_(layer.norm2.bias)
    images = torch.nn.functional.normalize(torch.randn(3, 10, WIDTH), dim=-1)
    texts = torch.nn.functional.normalize(torch.randn(3, WIDTH), dim=-1)
    pointwise = module.head(1000 * WIDTH / 512 * images * texts[:, None]).squeeze(-1)
    with torch.no_grad():
        assert torch.allclose(module(images, texts, torch.ones(3)), pointwise, atol=1e-4)


def test_at_the_papers_width_the_products_are_a_thousandfold():
    assert ContextModule(512, 32, temporal=False).scale == 1000


def test_a_layer_is_that_of_bert():
    transformers = pytest.importorskip("transformers")
    from transformers.models.bert.modeling_bert import BertLayer

    config = transformers.BertConfig(
        hidden_size=WIDTH, num_attention_heads=8, intermediate_size=32, hidden_act="gelu", attn_implementation="eager"
    )
    oracle = BertLayer(config).eval()
    layer = ContextModule(WIDTH, 32, temporal=False).eval().layers[0]
    attention = oracle.attention.self
    with torch.no_grad():
        for name in ("weight", "bias"):
            parts = [getattr(part, name) for part in (attention.query, attention.key, attention.value)]
            getattr(layer.self_attn, f"in_proj_{name}").copy_(torch.cat(parts))
            for own, other in (
                (layer.self_attn.out_proj, oracle.attention.output.dense),
                (layer.norm1, oracle.attention.output.LayerNorm),
                (layer.linear1, oracle.intermediate.dense),
                (layer.linear2, oracle.output.dense),
                (layer.norm2, oracle.output.LayerNorm),
            ):
                getattr(own, name).copy_(getattr(other, name))
        given = torch.randn(3, 10, WIDTH)
        found = oracle(given)
        assert torch.allclose(layer(given), found if torch.is_tensor(found) else found[0], atol=1e-5)
    rates = {layer.dropout1.p, layer.dropout2.p, layer.self_attn.dropout}
    assert (layer.dropout.p, rates) == (0.0, {config.hidden_dropout_prob})  # BERT drops nothing between the two


def test_the_contextual_module_leaves_the_encoder_as_it_is():
    start = trained("context_batch").encoder
    before = {name: value.clone() for name, value in start.state_dict().items()}
    found = trained("context_module", start=start)
    for encoder in (start, found.encoder):
        assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())


def test_the_kept_weights_are_those_of_the_best_epoch_on_held_out_questions():
    found = trained("context_batch", epochs=6)
    held_out = examples(30, 2)
    share = (found.scores(held_out).argmax(-1) == held_out.golds).mean()
    assert share == max(found.held_out) == found.held_out[found.kept - 1]
    assert len(found.losses) == 6


def test_random_negatives_come_from_any_set():
    from moecap.tasks.imagecode import training

    given = examples(40, 7)
    shown = training._random_negatives(given, np.random.default_rng(0))
    assert (shown.golds == 0).all()
    rows = np.arange(40)
    assert (shown.images[:, 0] == given.images[rows, given.golds]).all()
    flat = {tuple(image) for image in given.images.reshape(-1, WIDTH).tolist()}
    assert all(tuple(image) in flat for image in shown.images.reshape(-1, WIDTH).tolist())
    inside = [(shown.images[n, 1:, None] == given.images[n]).all(-1).any(-1).mean() for n in rows]
    assert np.mean(inside) < 0.2  # one set in forty, by chance


def test_a_seed_gives_the_same_scores_again_and_another_gives_others():
    asked = examples(20, 3)
    first, again, other = (trained("context_module", seed=seed).scores(asked) for seed in (0, 0, 1))
    assert (first == again).all()
    assert not np.allclose(first, other)


def test_paper_settings_add_the_decay_to_the_gradient():
    coupled, beside = (
        fit(
            "context_batch",
            DualEncoder(WIDTH, WIDTH, None),
            32,
            examples(40, 1),
            examples(20, 2),
            Schedule(1, 36, 1e-2, 0.2, coupled),
            np.random.default_rng(0),
        )
        for coupled in (True, False)
    )
    assert not np.allclose(coupled.scores(examples(20, 3)), beside.scores(examples(20, 3)))
