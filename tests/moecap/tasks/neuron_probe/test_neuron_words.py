"""Words with their attributes: paradigms, treebanks, tables and files, and splits in which no lemma is in two."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moecap.data.conllu import conllu_sentences
from moecap.data.morphology import attributes_of_ud, attributes_of_unimorph
from moecap.data.unimorph import unimorph_words
from moecap.errors import BadInputError, MoecapError, NotAvailableError, UnknownNameError
from moecap.tasks.neuron_probe.published_words import folder_words
from moecap.tasks.neuron_probe.splits import SPLITS, Cell, cell_of, splits_by_lemma
from moecap.tasks.neuron_probe.verbs import verb_words
from moecap.tasks.neuron_probe.words import Word, file_words

SENTENCE = """# text = Il va au cinéma.
1\tIl\til\tPRON\t_\tGender=Masc|Number=Sing|Person=3\t2\tnsubj\t_\t_
2\tva\taller\tVERB\t_\tMood=Ind|Number=Sing|Person=3|Tense=Pres|VerbForm=Fin\t0\troot\t_\t_
3-4\tau\t_\t_\t_\t_\t_\t_\t_\t_
3\tà\tà\tADP\t_\t_\t5\tcase\t_\t_
4\tle\tle\tDET\t_\tDefinite=Def|Gender=Masc|Number=Sing\t5\tdet\t_\t_
5\tcinéma\t_\tNOUN\t_\tGender=Masc|Number=Sing\t2\tobl\t_\tSpaceAfter=No
6\t.\t.\tPUNCT\t_\t_\t2\tpunct\t_\t_

"""


def word(number, lemma, value, language="xx"):
    return Word(f"{language}-{number}", language, f"f{number}", lemma, {"Number": value}, f"f{number}")


@given(st.lists(st.integers(0, 30), min_size=1, max_size=80), st.integers(0, 5))
def test_no_lemma_is_in_two_splits(lemmas, seed):
    words = [word(i, f"l{lemma}", "SG") for i, lemma in enumerate(lemmas)]
    splits = splits_by_lemma(words, seed)
    of = {
        lemma: set(splits[[i for i, w in enumerate(words) if w.lemma == lemma]]) for lemma in {w.lemma for w in words}
    }
    assert all(len(found) == 1 for found in of.values())


def test_a_tenth_of_the_lemmas_is_for_dev_and_a_tenth_for_test_and_another_seed_takes_others():
    words = [word(i, f"l{i}", "SG") for i in range(200)]
    one, other = (splits_by_lemma(words, seed) for seed in (0, 1))
    assert np.bincount(one).tolist() == [160, 20, 20]
    assert (one != other).any()


def test_a_value_needs_enough_words_in_each_split():
    values = ["SG"] * 100 + ["PL"] * 100 + ["DU"] * 10
    words = [word(i, f"l{i}", value) for i, value in enumerate(values)]
    splits = np.array([("train", "dev", "test").index(("train", "train", "dev", "test")[i % 4]) for i in range(210)])
    cell = cell_of(words, range(210), splits, "Number", 20)
    assert isinstance(cell, Cell)
    assert cell.values == ("PL", "SG")
    for split in SPLITS:
        assert [words[row].attributes["Number"] for row in cell.rows[split]] == [
            cell.values[g] for g in cell.gold[split]
        ]
        assert cell.counts(split).min() >= 20
    assert cell_of(words, range(210), splits, "Number", 30) == "no value has 30 words in each split; two are needed"
    assert cell_of(words, range(210), splits, "Tense", 1) == "no value has 1 words in each split; two are needed"


def test_verb_forms_have_the_attributes_of_their_paradigm():
    words, limited = verb_words(["es", "fr"], 360, None)
    assert limited
    assert len(words) == 720
    assert len({w.form for w in words if w.language == "fr"}) == 360
    tenses = [w.attributes.get("Tense") for w in words if w.language == "es"]
    assert all(abs(tenses.count(tense) - 120) <= 5 for tense in ("PRS", "PST", "FUT"))
    for w in words:
        if (
            w.language == "es"
            and w.form.endswith(("aremos", "eremos", "iremos"))
            and w.attributes.get("Tense") == "FUT"
        ):
            assert w.attributes == {"Number": "PL", "Person": "1", "Tense": "FUT"}
    french = {w.form: w for w in words if w.language == "fr"}
    alike = [w for w in french.values() if w.form.endswith("ais") and w.attributes.get("Tense") == "PST"]
    assert alike
    assert all("Person" not in w.attributes and w.attributes["Number"] == "SG" for w in alike)  # je, tu


def test_reflexive_verbs_are_left_out_and_two_readings_give_the_same_words():
    one, other = (verb_words(["pt"], 50, None)[0] for _ in range(2))
    assert one == other
    assert not any(w.lemma.endswith("se") for w in one)
    with pytest.raises(UnknownNameError, match="language of mlconjug3_verbs"):
        verb_words(["xx"], 10, None)


def test_attributes_of_treebanks_are_named_as_in_unimorph():
    features = ["Number=Sing", "Tense=Imp", "Case=Ine", "Gender=Fem,Masc", "Number[psor]=Plur", "PronType=Prs"]
    assert attributes_of_ud(features) == {"Number": "SG", "Tense": "PST", "Aspect": "IPFV", "Case": "IN+ESS"}
    assert attributes_of_ud(["Gender=Masc", "Gender=Fem", "Number=Plur"]) == {"Number": "PL"}  # a contraction
    named = attributes_of_unimorph("V;IND;PST;1;SG;IPFV;PSS3S;{x/y}".split(";"))
    assert named == {"Mood": "IND", "Tense": "PST", "Person": "1", "Number": "SG", "Aspect": "IPFV"}


def test_a_treebank_gives_words_in_their_sentence_with_merged_contractions(tmp_path):
    (tmp_path / "UD_French-X").mkdir()
    (tmp_path / "UD_French-X" / "fr_x-ud-dev.conllu").write_text(SENTENCE)
    (tmp_path / "UD_French-X" / "fr_x-ud-train.conllu").write_text(SENTENCE)
    (tmp_path / "it_y-ud-dev.conllu").write_text(SENTENCE)
    words, what, limited = folder_words(tmp_path, (), 100)
    assert (what, limited) == ("treebanks of Universal Dependencies", False)
    assert [w.language for w in words] == ["fr"] * 8 + ["it"] * 4
    found = {w.form: w for w in words[:4]}
    assert set(found) == {"Il", "va", "au", "cinéma"}
    assert found["au"].attributes == {"Definiteness": "DEF", "Gender": "MASC", "Number": "SG"}
    assert found["va"].attributes["Tense"] == "PRS"
    assert (found["au"].lemma, found["cinéma"].lemma) == ("à le", "cinéma")
    for w in words:
        assert w.text[w.start : w.start + len(w.form)] == w.form
    assert len(folder_words(tmp_path, ("fr",), 3)[0]) == 3
    assert folder_words(tmp_path, ("fr",), 3)[2]


def test_a_table_of_unimorph_gives_forms_of_one_lemma(tmp_path):
    (tmp_path / "spa").write_text(
        "hablar\thablo\tV;IND;PRS;1;SG\nhablar\thablaba\tV;IND;PST;1;SG;IPFV\nhablar\thablaba\tV;IND;PST;3;SG;IPFV\n\n"
        "ser\tfui\tV;IND;PST;1;SG\nir\tfui\tV;IND;PST;1;SG\nhablar\the hablado\tV;IND;PRS;1;SG;PRF\n"
    )
    (tmp_path / "ita").write_text("parlare\tparlo\tV;IND;PRS;1;SG\tparl|o\n")
    words, what, _ = folder_words(tmp_path, (), 100)
    assert what == "tables of UniMorph"
    found = {w.form: w for w in words}
    assert set(found) == {"hablo", "hablaba", "parlo"}
    assert found["hablaba"].attributes == {"Mood": "IND", "Tense": "PST", "Number": "SG", "Aspect": "IPFV"}
    assert found["parlo"].lemma == "parlare"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("fr_x.conllu", SENTENCE.replace("Number=Sing", "Number", 1), r"fr_x\.conllu, line 2: 'Number' in the column"),
        ("fr_x.conllu", SENTENCE.replace("\t0\troot", "", 1), r"fr_x\.conllu, line 3: 8 columns in place of 10"),
        ("spa", "a\tb\tV;SG\nonly\ttwo\n", r"spa, line 2: not lemma, form and features"),
        ("spa", "a\tb\tV;;SG\n", r"spa, line 1: 'V;;SG' has an empty feature"),
    ],
)
def test_a_line_that_is_none_of_the_format_is_named(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(BadInputError, match=words):
        folder_words(tmp_path, (), 100)


def test_folders_that_hold_nothing_or_both_are_refused(tmp_path):
    with pytest.raises(NotAvailableError, match="holds no file of CoNLL-U"):
        folder_words(tmp_path, (), 10)
    (tmp_path / "fr_x.conllu").write_text(SENTENCE)
    with pytest.raises(NotAvailableError, match="holds no language 'it'; it has fr"):
        folder_words(tmp_path, ("it",), 10)
    (tmp_path / "spa").write_text("a\tb\tV;SG\n")
    with pytest.raises(BadInputError, match=r"treebanks .* and tables"):
        folder_words(tmp_path, (), 10)
    with pytest.raises(MoecapError, match="cannot be read"):
        list(unimorph_words(tmp_path / "none"))


def test_a_treebanks_words_keep_lemma_and_features(tmp_path):
    (tmp_path / "x.conllu").write_text(SENTENCE)
    (sentence,) = conllu_sentences(tmp_path / "x.conllu")
    assert [w.lemma for w in sentence.words] == ["il", "aller", "à le", "", "."]
    assert sentence.words[0].features == ("Gender=Masc", "Number=Sing", "Person=3")


GOOD = {"id": "a", "lang": "fr", "form": "va", "lemma": "aller", "row": 0, "feats": {"Number": "SG"}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"form": ""}, "line 2: no form"),
        ({"lemma": None}, "line 2: no lemma"),
        ({"feats": {"Number": 1}}, "line 2: no feats"),
        ({"feats": {"Num ber": "SG"}}, "line 2: attribute 'Num ber' is not of letters"),
        ({"row": 2}, "line 2: row 2 is none of the 2 rows"),
        ({"row": True}, "line 2: row True is none"),
        ({"id": "a"}, "line 2: a second word 'a'"),
        ({"text": "il va", "start": 0}, "line 2: the form 'va' does not stand at character 0"),
    ],
)
def test_a_line_of_words_that_is_wrong_is_named(tmp_path, change, words):
    path = tmp_path / "words.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in (GOOD, {**GOOD, "id": "b", **change})))
    with pytest.raises(BadInputError, match=words):
        file_words(path, 2)


def test_words_of_a_file_without_states_stand_in_their_text(tmp_path):
    path = tmp_path / "words.jsonl"
    path.write_text(json.dumps({**GOOD, "text": "il va", "start": 3}))
    assert file_words(path, None) == [Word("a", "fr", "va", "aller", {"Number": "SG"}, "il va", 3, None)]
