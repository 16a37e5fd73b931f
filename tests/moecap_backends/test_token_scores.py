"""Log-probability of each token of a given answer, and of a set of tokens in its place, by the transformers backend."""

import numpy as np
import pytest
from tiny_models import VOCABULARY

from moecap.backend import Continuation
from moecap.observations.recorder import Recorder
from moecap.tokenizer import Tokenizer
from moecap_backends.transformers import TransformersEngine

pytestmark = pytest.mark.engine

SPACES = (5, 9, 200)
TEXTS = [((3, 7, 11), (23, 29, 5)), ((3, 7), (9,)), (tuple(range(40, 80)), (1, 200, 3, 4)), ((3, 7, 11), (23, 29, 6))]


@pytest.fixture(scope="module")
def scored(tiny_model):
    """The scores of four answers in one call, one model, and its whole distributions from a plain forward pass."""
    import torch

    from moecap.backend import EngineJob
    from moecap.models.config_file import read_config_file
    from moecap.models.reading import read_model

    folder = tiny_model("mixtral")
    spec = read_model(read_config_file(folder / "config.json"), folder.name, weights="fp32", kv="fp32")
    with TransformersEngine(EngineJob(folder, spec, "cpu", "fp32", 2, 0, {}, lambda _line: None)) as engine:
        asked = [Continuation(str(n), *text, SPACES) for n, text in enumerate(TEXTS)]
        asked.append(Continuation("all", *TEXTS[0], tuple(range(VOCABULARY))))
        asked.append(Continuation("none", *TEXTS[0]))
        scores = engine.score(asked, Recorder(stage="score"), lambda _done: None)
        plain = []
        for context, target in TEXTS:
            with torch.inference_mode():
                logits = engine._model(torch.tensor([[*context, *target]])).logits[0].double()
            plain.append(logits.log_softmax(-1)[len(context) - 1 : -1].numpy())
    return scores, plain


def test_each_token_has_its_log_probability_and_their_sum_is_the_answers(scored):
    for score, logp, (_, target) in zip(scored[0], scored[1], TEXTS, strict=False):
        expected = [row[token] for row, token in zip(logp, target, strict=True)]
        assert score.tokens == pytest.approx(expected, abs=1e-4)
        assert sum(score.tokens) == pytest.approx(score.log_likelihood, abs=1e-4)


def test_a_set_of_tokens_has_the_sum_of_their_probabilities(scored):
    for score, logp in zip(scored[0], scored[1], strict=False):
        expected = np.log(np.exp(logp[:, list(SPACES)]).sum(-1))
        assert score.mass == pytest.approx(expected, abs=1e-4)


def test_the_whole_vocabulary_is_certain_and_no_set_has_no_mass(scored):
    assert scored[0][4].mass == pytest.approx([0.0] * 3, abs=1e-5)
    assert scored[0][5].mass == ()
    assert scored[0][5].tokens == scored[0][0].tokens


def test_tokens_that_begin_with_white_space_are_found_whatever_the_tokenizer_is(tiny_model, tmp_path):
    from tokenizers import Tokenizer as Library
    from tokenizers import decoders, models, pre_tokenizers

    by_bytes = Tokenizer(tiny_model("mixtral"))
    opening = {by_bytes.decode([token]) for token in by_bytes.space_tokens}
    assert {" ", "\n", "\t"} <= opening
    assert all(text.isspace() for text in opening)
    words = ["<unk>", "a", "b", "\u2581", "\u2581a", "\u010dap", "\u2581\u010d"]
    library = Library(models.Unigram([(word, -1.0) for word in words], unk_id=0))
    library.pre_tokenizer, library.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    library.save(str(tmp_path / "tokenizer.json"))
    assert [words[token] for token in Tokenizer(tmp_path).space_tokens] == ["\u2581", "\u2581a", "\u2581\u010d"]


def test_tokens_know_their_characters(tiny_model):
    tokenizer = Tokenizer(tiny_model("mixtral"))
    spans = tokenizer.encode_spans("a é")
    assert tuple(token for token, _, _ in spans) == tokenizer.encode("a é")
    assert [span[1:] for span in spans] == [(0, 1), (1, 2), (2, 3), (2, 3)]
