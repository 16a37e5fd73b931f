"""Captions out of CoNLL-U, JSON lines and stamps: what is read, and what is refused with file and line."""

import json
import subprocess
import sys

import pytest

from moecap.data.conllu import TaggedWord, conllu_sentences
from moecap.data.stamps import stamps
from moecap.errors import BadInputError, NotAvailableError, UnknownNameError
from moecap.tasks.groundedness.captions import digit_captions, file_captions, spread, stamp_captions, with_classes
from moecap.tasks.groundedness.tagging import tagged


def row(number, form, upos, misc="_"):
    return f"{number}\t{form}\t_\t{upos}\t_\t_\t_\t_\t_\t{misc}"


GERMAN = [
    "# sent_id = de-1",
    "# lang = de",
    "# context = A ball in the tub.",
    "# text = Ein Ball im Bad.",
    row(1, "Ein", "DET"),
    row(2, "Ball", "NOUN"),
    row("3-4", "im", "_"),
    row(3, "in", "ADP"),
    row(4, "dem", "DET"),
    row("4.1", "der", "DET"),
    row(5, "Bad", "NOUN", "SpaceAfter=No"),
    row(6, ".", "PUNCT"),
    "",
]
FRENCH = ["# context = dog", "# lang = fr", row(1, "chien", "NOUN", "X=1|SpaceAfter=No"), row(2, "!", "PUNCT"), ""]


def conllu(folder, lines, ending="\n"):
    path = folder / "captions.conllu"
    path.write_text(ending.join(lines), encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_conllu_words_stand_in_their_text_and_a_contraction_has_no_class(tmp_path, ending):
    one, other = conllu_sentences(conllu(tmp_path, GERMAN + FRENCH, ending))
    assert [one.text[w.start : w.end] for w in one.words] == ["Ein", "Ball", "im", "Bad", "."]
    assert [w.upos for w in one.words] == ["DET", "NOUN", "", "NOUN", "PUNCT"]
    assert (other.text, other.words) == ("chien!", (TaggedWord(0, 5, "NOUN"), TaggedWord(5, 6, "PUNCT")))
    assert other.where.endswith(f"line {len(GERMAN) + 3}")


def test_conllu_captions_name_context_and_language(tmp_path):
    (first,), (second,) = file_captions(conllu(tmp_path, GERMAN + FRENCH), None)
    assert (first.id, first.language, first.about) == ("de-1", "de", "A ball in the tub.")
    assert (second.id, second.language, second.about) == ("1", "fr", "dog")


@pytest.mark.parametrize(
    ("lines", "line", "message"),
    [
        ([*GERMAN[:4], "1 Ein _ DET"], 5, "1 columns in place of 10"),
        ([*GERMAN[:4], row("x", "Ein", "DET")], 5, "'x' is no word's number"),
        ([*GERMAN[:4], row(2, "Ball", "NOUN")], 5, "word 2 where word 1 is due"),
        ([*GERMAN[:4], row(1, "Ein", "ART")], 5, "'ART' is no universal part of speech"),
        ([*GERMAN[:4], row(1, "Eine", "DET")], 5, "'Eine' is not in the rest of its text"),
        ([*GERMAN[:2], *GERMAN[3:]], 4, "does not say what it is about"),
        ([GERMAN[2], *GERMAN[4:]], 2, "no language"),
        ([*GERMAN[:7]], 7, "ends before word 4"),
        ([*GERMAN, *GERMAN], 18, "named 'de-1' too"),
    ],
)
def test_what_is_wrong_in_conllu_is_named_with_its_line(tmp_path, lines, line, message):
    path = conllu(tmp_path, [*lines, ""])
    with pytest.raises(BadInputError, match=message) as caught:
        file_captions(path, None)
    assert f"{path}, line {line}:" in str(caught.value)


def lines(folder, *rows):
    path = folder / "captions.jsonl"
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows), encoding="utf-8")
    return path


GOOD = {"context": "dog", "caption": "A dog.", "lang": "fr", "upos": [["A", "DET"], ["dog", "NOUN"], [".", "PUNCT"]]}


def test_json_lines_bring_their_classes_or_have_them_found(tmp_path):
    untagged = {"id": "x", "context": "Hund", "caption": "A red dog.", "lang": "en"}
    (first,), (second,) = file_captions(lines(tmp_path, GOOD, untagged), None)
    assert [w.upos for w in first.words] == ["DET", "NOUN", "PUNCT"]
    (found,) = with_classes([second])
    assert [(found.text[w.start : w.end], w.upos) for w in found.words] == [
        ("A", "DET"),
        ("red", "ADJ"),
        ("dog", "NOUN"),
        (".", "PUNCT"),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("{", "no JSON"),
        ({"context": " "}, "no text under 'context'"),
        ({"caption": 3}, "no text under 'caption'"),
        ({"lang": None}, "no text under 'lang'"),
        ({"upos": None}, "no 'upos', and no tagger of 'fr'"),
        ({"upos": ["DET"]}, "no list of pairs"),
        ({"upos": []}, "no list of pairs"),
        ({"upos": [["cat", "NOUN"]]}, "'cat' is not in the rest of its text"),
        ({"upos": [["dog", "N"]]}, "'N' is no universal part of speech"),
        ({"image": "a.png", "context": ...}, "an image without a 'context'"),
    ],
)
def test_what_is_wrong_in_json_lines_is_named_with_its_line(tmp_path, change, message):
    bad = change if isinstance(change, str) else {k: v for k, v in (GOOD | change).items() if v is not ...}
    path = lines(tmp_path, GOOD | {"id": "0"}, bad)
    with pytest.raises(BadInputError, match=message) as caught:
        file_captions(path, None)
    assert f"{path}, line 2:" in str(caught.value)


@pytest.fixture
def stamped(tmp_path):
    """Three pictures in the format of Tux Paint's stamps, two with the same captions, and a sound without a picture."""
    folder = tmp_path / "stamps"
    for name, picture, said in (
        ("animals/dog", "dog.png", "A red dog.\nde.utf8=Ein roter Hund.\nnl.utf8=Een rode hond.\npt_BR.utf8=Um cão.\n"),
        ("animals/dog2", "dog2.svg", "A red dog.\nde.utf8=Ein roter Hund.\nnl.utf8=Een rode hond.\n"),
        ("toys/ball", "ball.png", "A ball.\n\nde.utf8=Ein Ball.\nnl.utf8=\n"),
        ("toys/noise", "noise.ogg", "A noise.\n"),
    ):
        path = folder / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(said, encoding="utf-8")
        path.with_name(picture).write_bytes(b"")
    return folder


def test_stamps_have_a_caption_by_language(stamped):
    found = stamps(stamped)
    assert [stamp.name for stamp in found] == ["animals/dog", "animals/dog2", "toys/ball"]
    assert found[0].captions == {
        "en": "A red dog.",
        "de": "Ein roter Hund.",
        "nl": "Een rode hond.",
        "pt_BR": "Um cão.",
    }
    assert found[2].captions == {"en": "A ball.", "de": "Ein Ball."}


def test_captions_of_stamps_are_about_the_english_one_and_the_same_ones_count_once(stamped):
    assert [[c.id for c in picture] for picture in stamp_captions(stamped, ["en", "nl"])] == [
        ["animals/dog-en", "animals/dog-nl"]
    ]
    english, german = stamp_captions(stamped, ["en", "de"])[1]
    assert (english.text, english.about) == ("A ball.", "Ein Ball.")
    assert (german.text, german.about) == ("Ein Ball.", "A ball.")


def test_what_stamps_cannot_give_is_refused(stamped, tmp_path):
    with pytest.raises(UnknownNameError, match="tagger of the language"):
        stamp_captions(stamped, ["en", "ja"])
    with pytest.raises(BadInputError, match="a language comes twice"):
        stamp_captions(stamped, ["en", "en"])
    with pytest.raises(NotAvailableError, match="apt-get install tuxpaint-stamps-default"):
        stamps(tmp_path / "nowhere")
    (stamped / "toys" / "ball.txt").write_text("A ball.\nBall\n", encoding="utf-8")
    with pytest.raises(BadInputError, match=r"ball\.txt, line 2: not LANGUAGE\.utf8=CAPTION"):
        stamps(stamped)


def test_a_part_of_the_pictures_is_spread_over_all_and_keeps_them_whole():
    pictures = [[f"{n}{c}" for c in "ab"] for n in range(6)]
    assert spread(pictures, 7) == ["0a", "0b", "2a", "2b", "4a", "4b"]
    assert spread(pictures, 1) == ["0a"]
    assert spread(pictures, 99) == [c for picture in pictures for c in picture]


def test_the_template_makes_forty_captions_with_classes():
    found = [caption for (caption,) in digit_captions()]
    assert len({c.text for c in found}) == 40
    assert len({c.about for c in found}) == 20
    eight = next(c for c in found if c.text == "the thin page shows an eight.")
    assert eight.about == "A handwritten 8 in fine strokes."
    assert [(eight.text[w.start : w.end], w.upos) for w in eight.words][3:] == [
        ("shows", "VERB"),
        ("an", "DET"),
        ("eight", "NUM"),
        (".", "PUNCT"),
    ]


@pytest.mark.parametrize(
    ("language", "text", "classes"),
    [
        ("en", "The sign for a red 8", "DET NOUN ADP DET ADJ NUM"),
        ("en", "he has been there", "PRON  AUX ADV"),  # "has" may be a verb or an auxiliary: it has no class
        ("de", "Ein Schwert im Stein", "DET NOUN  NOUN"),  # "im" is two words
        ("de", "Das kleine Haus ist nicht alt", "DET ADJ NOUN AUX PART ADJ"),
        ("nl", "Een klein konijn slaapt in de tuin", "DET ADJ NOUN VERB ADP DET NOUN"),
        ("nl", "Dat is een hond", "PRON AUX DET NOUN"),
    ],
)
def test_tags_become_universal_parts_of_speech(language, text, classes):
    assert " ".join(word.upos for word in tagged(language, text)) == classes


def test_the_numbers_are_computed_again_without_what_the_run_needed():
    """Whoever verifies a result needs neither torch nor the tagger."""
    heavy = "[m for m in ('torch', 'sklearn', 'scipy', 'HanTa', 'transformers') if m in sys.modules]"
    code = f"import sys; import moecap.tasks.groundedness.task; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
