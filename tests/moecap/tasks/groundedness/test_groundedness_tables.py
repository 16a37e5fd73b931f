"""Numbers of groundedness from its tables, by hand; tables that no run leaves are refused."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from moecap.errors import BadInputError
from moecap.observations.reader import Ragged, Routing, Steps
from moecap.observations.schema import Phase
from moecap.tasks.groundedness.measures import groundedness_measures
from moecap.tasks.groundedness.section import groundedness_section
from moecap.tasks.groundedness.tables import TABLES
from moecap.tasks.method import Passes

CONDITIONS = ("null", "context", "shuffled")


def empty(name):
    return TABLES[name].empty_table().to_pandas()


def tables_of(captions, *, conditions=CONDITIONS, mass_known=True, per_picture=1):
    """Tables of captions: each has a language and words (class, type, log-probability of its tokens by condition)."""
    words, tokens = [], []
    for number, (language, said) in enumerate(captions):
        for place, (upos, kind, _) in enumerate(said):
            words.append((number, number // per_picture, place, language, upos, kind))
    for at, condition in enumerate(conditions):
        for number, (_, said) in enumerate(captions):
            rows = [(place, logs) for place, (_, _, of) in enumerate(said) for logs in of[condition]]
            for token, (place, log_p) in enumerate(rows):
                text, known = at * len(captions) + number, mass_known
                tokens.append((condition, number, token, place, False, log_p, 0.0, known, text, 5 + token))
    frames = {"words": words, "tokens": tokens}
    return {
        name: pd.DataFrame(rows, columns=TABLES[name].names) if (rows := frames.get(name)) else empty(name)
        for name in TABLES
    }


def same(*tokens):
    return dict.fromkeys(CONDITIONS, tokens)


def word(upos, kind, null, context, shuffled=(-1.0,)):
    return upos, kind, {"null": null, "context": context, "shuffled": shuffled}


TEN = [
    ("en", [word("NOUN", 0, (-3.0, -1.0), (-1.5, -0.5), (-0.5, -0.5)), word("DET", 1, (-1.0,), (-0.75,))]),
    ("en", [word("NOUN", 0, (-2.0, -2.0), (-1.0, -1.0), (-0.5, -0.5)), word("DET", 1, (-1.0,), (-1.25,))]),
] * 5


def test_means_by_hand():
    """Nouns: 2 and 2 nats; determiners: 0.25 and -0.25; a caption: 2.25 and 1.75."""
    found = groundedness_measures(tables_of(TEN), None)
    assert (found["noun"].value, found["noun"].n) == (2, 10)
    assert found["en_noun"] == found["noun"]
    assert (found["noun"].low, found["noun"].high) == (2, 2)
    assert found["det"].value == 0
    assert found["det"].low == pytest.approx(-found["det"].high, abs=0.05)
    assert (found["sentence"].value, found["sentence"].n) == (2, 10)
    assert found["open_minus_closed"].value == 2
    assert found["noun_shuffled"].value == 3  # 4 nats after nothing, 1 after the text of another caption
    assert found["noun_net"].value == -1
    assert (found["types"].value, found["types"].n) == (0, 2)
    assert found["kendall_tau"].reason == "no two languages have three classes of 10 words in common"
    assert found["experts_words"].reason == "the engine did not tell the experts of the tokens that it scored"
    assert "adj" not in found
    assert found["tokens_per_second"].reason == "the engine records no passes"


def test_captions_of_one_picture_are_drawn_together():
    """Gains of 0 and 4 nats in turns: as pairs of one picture their mean is 2 in every resample."""
    captions = [("en", [word("NOUN", 0, (-5.0,), (-5.0 + gain,))]) for gain in (0.0, 4.0)] * 10
    apart = groundedness_measures(tables_of(captions), None)
    together = groundedness_measures(tables_of(captions, per_picture=2), None)
    for name in ("sentence", "noun"):
        assert apart[name].low < 1.5
        assert apart[name].high > 2.5
        assert (together[name].low, together[name].high, together[name].n) == (2, 2, 20)


def test_a_class_of_few_words_has_no_number():
    found = groundedness_measures(tables_of(TEN[:8]), None)
    assert found["noun"].reason == "no language has 10 words of the class"


LOGS = st.floats(-9, -0.01)


@given(st.lists(st.lists(LOGS, min_size=1, max_size=4), min_size=1, max_size=5), st.floats(-3, 0))
@settings(max_examples=10, deadline=None)
def test_the_words_of_a_caption_sum_to_what_the_caption_gains(words, gain):
    """Sentence PMI is log p(caption | context) - log p(caption), whatever the words and their tokens are."""
    said = [word("NOUN", 0, tuple(w), (*w[:-1], w[-1] + gain), tuple(w)) for w in words]
    found = groundedness_measures(tables_of([("en", said)] * 10), None)
    assert found["sentence"].value == pytest.approx(gain * len(words), abs=1e-9)
    assert found["noun"].value * len(words) == pytest.approx(found["sentence"].value, abs=1e-9)
    assert found["sentence_shuffled"].value == pytest.approx(0, abs=1e-12)  # a model against itself
    assert found["noun_shuffled"].value == pytest.approx(0, abs=1e-12)


@given(st.lists(LOGS, min_size=1, max_size=4), st.lists(LOGS, min_size=1, max_size=4))
@settings(max_examples=10, deadline=None)
def test_splitting_a_word_into_tokens_changes_nothing_where_the_models_agree_on_the_word(null, context):
    split = [
        (
            "en",
            [word("NOUN", 0, tuple(null) + (-1.0,) * (4 - len(null)), tuple(context) + (-1.0,) * (4 - len(context)))],
        )
    ]
    for said in split:
        said[1][0][2]["shuffled"] = (-1.0,) * 4
    whole = [("en", [word("NOUN", 0, *((sum(said[1][0][2][c]),) for c in CONDITIONS))]) for said in split]
    one, other = (groundedness_measures(tables_of(captions * 10), None)["noun"].value for captions in (split, whole))
    assert one == pytest.approx(other, abs=1e-9)


def test_without_the_mass_of_white_space_nothing_is_corrected_and_the_page_says_so():
    tables = tables_of(TEN, mass_known=False)
    found = groundedness_measures(tables, None)
    assert found["corrected"].value == 0
    text = groundedness_section(tables, found).body
    assert "the whitespace correction is not applied" in text
    corrected = groundedness_section(tables_of(TEN), groundedness_measures(tables_of(TEN), None)).body
    assert "not applied" not in corrected


def test_languages_are_compared_by_the_ranking_of_their_classes():
    """Class means by hand: en 3, 2, 1 nats; de 2, 3, 1: one of three pairs of classes is turned."""
    gains = {"en": {"NOUN": 3.0, "ADJ": 2.0, "DET": 1.0}, "de": {"NOUN": 2.0, "ADJ": 3.0, "DET": 1.0}}
    captions = [
        (
            language,
            [
                word(upos, 3 * (language == "de") + n, (-5.0,), (-5.0 + gain,))
                for n, (upos, gain) in enumerate(of.items())
            ],
        )
        for language, of in gains.items()
    ] * 10
    found = groundedness_measures(tables_of(captions), None)
    x, y = (list(of.values()) for of in gains.values())
    assert (found["kendall_tau"].value, found["kendall_tau"].n) == (pytest.approx(1 / 3), 1)
    assert found["weighted_tau"].value == pytest.approx(stats.weightedtau(x, y).statistic)
    assert found["spearman"].value == pytest.approx(0.5)
    assert (found["noun"].value, found["noun"].n) == (pytest.approx(2.5), 2)
    assert found["noun_spread"].value == pytest.approx(math.sqrt(0.5))
    assert found["noun"].low is None
    assert found["kendall_tau_net"].value == pytest.approx(1 / 3)  # another's text gives every word the same


def test_a_type_counts_from_fifty_occurrences_on():
    captions = [
        ("en", [word("NOUN", 0, (-4.0,), (-1.0,)), word("NOUN", n % 2 + 1, (-4.0,), (-4.0,))]) for n in range(98)
    ]
    found = groundedness_measures(tables_of(captions), None)
    assert (found["types"].value, found["types"].n) == (1, 3)
    assert (found["type_noun"].value, found["type_noun"].n) == (3, 1)
    assert found["noun"].value == 1.5


# Experts


def scored_passes(routing, length=1):
    """Steps that score one text each, whose tokens have the given experts, [texts, length, layers, k]."""
    experts = np.asarray(routing, np.uint8)
    texts = len(experts)
    ones, counts = np.arange(texts + 1), np.full(texts, length)
    steps = Steps(
        stage=np.array(["score"] * texts),
        start_ns=np.arange(texts),
        duration_ns=np.ones(texts, np.int64),
        seq_request=Ragged(np.arange(texts), ones),
        seq_start=Ragged(np.zeros(texts, np.int64), ones),
        seq_new=Ragged(counts, ones),
        seq_phase=Ragged(np.full(texts, Phase.SCORE), ones),
        logits_tokens=np.ones(texts, np.int64),
        distinct_experts=Ragged(np.ones(texts, np.int64), ones),
    )
    flat = experts.reshape(-1, *experts.shape[2:])
    return Passes(steps, Routing(flat, np.repeat(np.arange(texts, dtype=np.int32), length), "test"), 4)


def expert_tables(kinds):
    """A caption of one word of one token for each kind, (class, type); the texts of ``context`` are numbered from 0."""
    tables = tables_of([("en", [(upos, kind, same(-1.0))]) for upos, kind in kinds], conditions=("context", "null"))
    tables["tokens"]["position"] = 0
    null = tables["tokens"]["condition"] == "null"
    tables["tokens"] = pd.concat([tables["tokens"][null], tables["tokens"][~null]], ignore_index=True)
    return tables


def test_classes_on_experts_of_their_own_differ_and_by_how_much_is_known():
    """Nouns use expert 0 and verbs expert 1: each against the half-and-half of all is H(1/4) - 1/2 bits."""
    kinds = [("NOUN", n) for n in range(20)] + [("VERB", 20 + n) for n in range(20)]
    found = groundedness_measures(expert_tables(kinds), scored_passes([[[[0]]]] * 20 + [[[[1]]]] * 20))
    expected = 0.8112781244591328 - 0.5
    assert found["experts_noun"].value == pytest.approx(expected)
    assert found["experts_verb"].value == pytest.approx(expected)
    assert found["experts_noun_entropy"].value == 0
    assert found["experts_noun_chance_by_word"].high < expected / 2
    assert found["experts_noun_chance_by_type"].high < expected / 2
    assert (found["experts_words"].value, found["experts_noun"].n) == (40, 20)
    assert (found["tokens_per_second"].value, found["tokens_per_second"].n) == (1e9, 40)  # a token a pass of 1 ns


def test_a_router_that_knows_the_form_alone_lies_within_chance_by_type():
    """Two classes of two types each, every type on an expert of its own: classes mean nothing beyond the types."""
    kinds = [(upos, kind) for upos, kind in (("NOUN", 0), ("NOUN", 1), ("VERB", 2), ("VERB", 3)) for _ in range(20)]
    found = groundedness_measures(expert_tables(kinds), scored_passes([[[[kind]]] for _, kind in kinds]))
    assert found["experts_noun"].value > found["experts_noun_chance_by_word"].high
    chance = found["experts_noun_chance_by_type"]
    assert chance.low <= found["experts_noun"].value <= chance.high
    assert found["experts_noun_entropy"].value == pytest.approx(0.5)


def test_the_same_experts_for_all_do_not_differ():
    kinds = [("NOUN", n) for n in range(20)] + [("VERB", 20 + n) for n in range(20)]
    found = groundedness_measures(expert_tables(kinds), scored_passes([[[[2, 3]]]] * 40))
    assert found["experts_noun"].value == found["experts_noun_chance_by_word"].high == 0


# What no run leaves


def change(table, column, row, value):
    def changed(tables):
        frame = tables[table].copy()
        frame.loc[row, column] = value
        return tables | {table: frame}

    return changed


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (change("words", "upos", 0, "ART"), "'ART' in column upos"),
        (change("words", "language", 0, "<b>"), "column language"),
        (change("words", "language", 0, "de"), "column language"),
        (change("words", "word", 1, 0), "comes twice"),
        (change("words", "picture", 0, 5), "one picture"),
        (change("words", "type", 1, 0), "gives words of two classes one number"),
        (change("tokens", "token", 0, 7), "column token does not count"),
        (change("tokens", "caption", 0, 3), "column token does not count"),
        (change("tokens", "condition", 29, "none"), "has other tokens"),
        (change("tokens", "word", 30, 9), "has other tokens"),
        (change("tokens", "log_p", 4, 0.5), "above 0"),
        (change("tokens", "mass", 4, 0.5), "above 0"),
        (lambda tables: tables | {"words": tables["words"][:2]}, "a token is of a word that"),
        (lambda tables: tables | {"tokens": tables["tokens"][tables["tokens"]["condition"] == "null"]}, "are not null"),
    ],
)
def test_tables_that_contradict_themselves_are_refused(changed, message):
    with pytest.raises(BadInputError, match=message):
        groundedness_measures(changed(tables_of(TEN)), None)


def digit_table(rows):
    return tables_of([]) | {"digits": pd.DataFrame(rows, columns=TABLES["digits"].names)}


def test_digits_need_the_words_of_the_template():
    forms = ("the", "thin", "page", "has", "an", "eight", ".")
    rows = [(0, n, form, 2.0, 1.0, 3.0, 2.0, 2.5, 1.5) for n, form in enumerate(forms)]
    with pytest.raises(BadInputError, match="holds no 'a'"):
        groundedness_measures(digit_table(rows), None)
    rows += [(1, n, form, 4.0, 1.0, 3.0, 2.0, 2.5, 1.5) for n, form in enumerate((*forms[:4], "a", "one", "."))]
    found = groundedness_measures(digit_table(rows), None)
    assert [found[f"digits_{key}"].value for key in ("an", "a", "num", "sentence")] == [1, 3, 2, 14]
    assert found["digits_an_shuffled"].value == -1
    assert (found["digits_num_closed_form"].value, found["digits_sentence_closed_form"].value) == (1.5, 10.5)
    with pytest.raises(BadInputError, match="does not count 7 words"):
        groundedness_measures(digit_table([*rows, rows[0]]), None)
