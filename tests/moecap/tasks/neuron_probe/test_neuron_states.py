"""Vectors of words against passes of the model by hand, for neurons and for experts of several families."""

from types import SimpleNamespace

import numpy as np
import pytest

from moecap.errors import BadInputError, NotAvailableError
from moecap.tasks.neuron_probe.words import Word

TEXT = "Some words stand here"
WORDS = [
    Word("a", "xx", "words", "word", {}, TEXT, 5),
    Word("b", "xx", "here", "here", {}, TEXT, 17),
    Word("c", "xx", "alone", "alone", {}, "alone"),
    Word("d", "xx", "another", "another", {}, "another"),
]


def vectors_of(engine, tokenizer, kind="neuron", layer="last", words=WORDS):
    from moecap.tasks.neuron_probe.states import Units, word_vectors

    told = []
    found = word_vectors(engine.in_process(), tokenizer, words, Units(kind, layer), told.append)
    assert told[-1] == len(words)
    return found


def tokens_of(tokenizer, word):
    """Ids of the word's text, and places of the word's own tokens."""
    from moecap.tasks.neuron_probe.states import read_text

    ids, spans = read_text(tokenizer, word.text)
    end = word.start + len(word.form)
    return ids, [i for i, (first, after) in enumerate(spans) if after > word.start and first < end and after > first]


@pytest.mark.engine
@pytest.mark.parametrize("layer", ["last", "0", "1", "all"])
def test_a_words_vector_is_the_mean_of_its_tokens_hidden_states(engine, tokenizer, layer):
    import torch

    found, layers = vectors_of(engine, tokenizer, layer=layer)
    with engine.in_process().borrowed() as module, torch.no_grad():
        for number, word in enumerate(WORDS):  # by itself, without padding
            ids, places = tokens_of(tokenizer, word)
            states = module(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
            chosen = states if layer == "all" else [states[-1 if layer == "last" else int(layer)]]
            assert layers == len(chosen)
            expected = torch.cat([state[0, places].mean(0) for state in chosen])
            assert torch.allclose(torch.from_numpy(found[number]), expected, atol=1e-5)


@pytest.mark.engine
@pytest.mark.parametrize("family", ["mixtral", "gpt_oss", "deepseek_v3", "phimoe"])
def test_experts_are_the_softmax_of_the_routers_logits_and_those_that_were_chosen(open_engine, tokenizer, family):
    """The logits are computed again from the router's input and its weights; the chosen are the engine's own record."""
    import torch

    with open_engine(family) as engine:
        found, layers = vectors_of(engine, tokenizer, "expert")
        chosen, _ = vectors_of(engine, tokenizer, "chosen")
        model = engine.in_process()
        assert layers == len(model.routers) > 0
        seen = []
        with model.borrowed() as module, torch.no_grad():
            for router in model.routers:
                router.register_forward_pre_hook(lambda _router, inputs: seen.append(inputs[0]))
            for number, word in enumerate(WORDS):
                ids, places = tokens_of(tokenizer, word)
                seen.clear()
                module(input_ids=torch.tensor([ids]))
                parts = []
                for router, inputs in zip(model.routers, seen, strict=True):
                    logits = inputs.reshape(len(ids), -1).float() @ router.weight.T.float()
                    if getattr(router, "bias", None) is not None:
                        logits = logits + router.bias.float()
                    parts.append(logits.softmax(-1)[places].mean(0))
                expected = torch.cat(parts)
                assert torch.allclose(torch.from_numpy(found[number]), expected, atol=1e-5)
        top_k = model.routers[0].top_k
        assert chosen.shape == found.shape
        assert chosen.sum(-1).tolist() == pytest.approx([layers * top_k] * len(WORDS), rel=1e-5)


@pytest.mark.engine
def test_padding_and_company_change_nothing(engine, tokenizer):
    together, _ = vectors_of(engine, tokenizer, "expert")
    alone = np.concatenate([vectors_of(engine, tokenizer, "expert", words=[word])[0] for word in WORDS])
    assert np.allclose(together, alone, atol=1e-5)


@pytest.mark.engine
def test_the_vocabulary_is_never_asked(engine, tokenizer):
    """Many texts would each take a copy of its matrix: the last places of a batch do not lie side by side."""

    def asked(*_):
        raise AssertionError("logits of the vocabulary")

    head = engine.in_process().module.get_output_embeddings()
    handle = head.register_forward_pre_hook(asked)
    try:
        vectors_of(engine, tokenizer)
        vectors_of(engine, tokenizer, "expert")
    finally:
        handle.remove()


@pytest.mark.engine
def test_the_model_is_given_back_without_hooks(engine, tokenizer):
    vectors_of(engine, tokenizer, "chosen")
    routers = engine.in_process().routers
    assert all(len(router._forward_hooks) == 1 for router in routers)  # the engine's own capture


@pytest.mark.engine
def test_what_a_model_cannot_give_is_refused(engine, tokenizer):
    from dataclasses import replace

    from moecap.tasks.neuron_probe.states import Units, word_vectors

    with pytest.raises(BadInputError, match=r"--task-arg layer=99: the model has the layers 0 to \d+"):
        vectors_of(engine, tokenizer, layer="99")
    dense = replace(engine.in_process(), routers=())
    with pytest.raises(NotAvailableError, match="unit=expert needs a model whose routers are known"):
        word_vectors(dense, tokenizer, WORDS, Units("expert", "last"), print)


def test_states_of_a_file_are_read_and_checked(tmp_path):
    from moecap.tasks.neuron_probe.states import file_states

    path = tmp_path / "states.npz"
    np.savez(path, X=np.arange(6.0).reshape(2, 3))
    assert file_states(path).tolist() == [[0, 1, 2], [3, 4, 5]]
    for wrong, words in (
        ({"Y": np.ones((2, 2))}, "no array X"),
        ({"X": np.ones(3)}, r"X is float64 \[3\]"),
        ({"X": np.ones((2, 2), int)}, "X is int64"),
        ({"X": np.array([[1.0, 2.0], [3.0, np.nan]])}, r"X\[1, 1\] is no finite 32-bit number"),
        ({"X": np.array([[object()]])}, "cannot be read"),
        ({"X": np.array([[1.0, 1e300]])}, r"X\[0, 1\] is no finite 32-bit number"),
    ):
        np.savez(path, **wrong)
        with pytest.raises(BadInputError, match=words):
            file_states(path)
    path.write_text("nothing")
    with pytest.raises(BadInputError, match=r"cannot be read as \.npz"):
        file_states(path)
    with pytest.raises(BadInputError, match=r"cannot be read as \.npz"):
        file_states(tmp_path / "none.npz")


def test_probabilities_that_a_router_gives_out_are_taken_as_they_are():
    """Gemma 4's router gives probabilities, weights and experts, and no logits."""
    import torch

    from moecap.tasks.neuron_probe.states import Units, _routed

    router = SimpleNamespace(top_k=2)
    logits = torch.tensor([[2.0, -1.0, 0.5, 0.0], [0.1, 0.2, 0.3, 0.9]])
    probabilities = logits.softmax(-1)
    weights, experts = probabilities.topk(2)
    for output in ((probabilities, weights, experts), (logits, weights, experts), (experts, weights, logits)):
        assert torch.allclose(_routed(router, output, Units("expert", "last")), probabilities)
        assert _routed(router, output, Units("chosen", "last")).nonzero()[:, 1].tolist() == [0, 2, 2, 3]
    half = (probabilities.bfloat16(), weights, experts)
    assert torch.allclose(_routed(router, half, Units("expert", "last")), probabilities, atol=0.01)
