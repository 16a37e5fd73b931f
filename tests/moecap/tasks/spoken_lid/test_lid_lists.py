"""What is read: lists, sounds, features, the packages' recordings; and what is refused with file and line."""

import numpy as np
import pytest
import soundfile

from moecap.data.audio import RATE, duration, read_sound, wav_bytes
from moecap.data.languages import SIGTYP16, language_named, language_of
from moecap.data.recordings import recordings
from moecap.data.speech_lists import answers_of, golds_of, manifest_of
from moecap.errors import BadInputError, NotAvailableError, UnknownNameError
from moecap.tasks.spoken_lid.utterances import read_utterance


def text(folder, lines, name="list.tsv", ending="\n", encoding="utf-8"):
    path = folder / name
    path.write_bytes(ending.join(lines).encode(encoding))
    return path


@pytest.mark.parametrize(("ending", "encoding"), [("\n", "utf-8"), ("\r\n", "utf-8-sig")])
def test_manifests_are_read_with_either_end_of_line_and_a_mark(tmp_path, ending, encoding):
    rows = ["a\tx/a.wav\thin\tstudio\tann", "", "b\tb.npy\trus\tradio\tbob"]
    one, other = manifest_of(text(tmp_path, rows, ending=ending, encoding=encoding), None)
    assert (one.id, one.path, one.language, one.domain, one.speaker) == (
        "a", tmp_path / "x/a.wav", "hin", "studio", "ann",
    )  # fmt: skip
    assert other.where.endswith("list.tsv, line 3")
    assert manifest_of(tmp_path / "list.tsv", tmp_path / "else")[0].path == tmp_path / "else/x/a.wav"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["a\tb.wav\thi\td\ts"], "list.tsv, line 1: no language 'hi'; did you mean hin?"),
        (["a\tb.wav\thin\td\ts", "b\tb.wav\tHIN\td\ts"], "line 2: no language 'HIN'; did you mean hin?"),
        (["a\tb.wav\tqx\td\ts"], "line 1: no language 'qx'; give three letters of ISO 639-3"),
        (["a\tb.wav\thin\td"], "line 1: 4 columns; give id, path, language, domain, speaker with tabs between them"),
        (["a\tb.wav\thin\td\t"], "line 1: the column speaker is empty"),
        (["a\tb\thin\td\ts", "", "a\tb\thin\td\ts"], "line 3: the id 'a' comes twice, first in line 1"),
        (["", " "], "list.tsv: nothing in it; give a manifest"),
    ],
)
def test_a_malformed_manifest_is_refused_with_file_and_line(tmp_path, lines, words):
    with pytest.raises(BadInputError) as refused:
        manifest_of(text(tmp_path, lines), None)
    assert words in str(refused.value)


def test_golds_are_a_manifest_or_two_columns_of_known_languages(tmp_path):
    whole = golds_of(text(tmp_path, ["a\tx\thin\tstudio\tann"]), ())[0]
    short = golds_of(text(tmp_path, ["a\thin"]), SIGTYP16)[0]
    assert (whole.domain, whole.speaker, short.language, short.domain) == ("studio", "ann", "hin", "")
    with pytest.raises(BadInputError, match="line 1: no language 'fra'; known here: kab, ind"):
        golds_of(text(tmp_path, ["a\tfra"]), SIGTYP16)


def test_answers_come_as_two_columns_or_as_json_lines(tmp_path):
    told = [(one.id, one.language) for one in answers_of(text(tmp_path, ["a\thin", "b\trus"]), ("hin", "rus"))]
    lines = ['{"id": "a", "lang": "hin", "scores": {"hin": 0.9, "rus": 0.1}}', '{"id": "b", "lang": null}']
    said = [(one.id, one.language) for one in answers_of(text(tmp_path, lines, "a.jsonl"), ("hin", "rus"))]
    assert told == [("a", "hin"), ("b", "rus")]
    assert said == [("a", "hin"), ("b", "")]


@pytest.mark.parametrize(
    ("name", "lines", "words"),
    [
        ("a.tsv", ["a\thin\tx"], "a.tsv, line 1: 3 columns; give id, language"),
        ("a.tsv", ["a\tru"], "line 1: no language 'ru'; did you mean rus?"),
        ("a.tsv", ["a\ttam"], "line 1: no language 'tam'; known here: hin, rus"),
        ("a.jsonl", ['{"id": "a"}'], "a.jsonl, line 1: no lang; give a code of ISO 639-3, or null"),
        ("a.jsonl", ['{"lang": "hin"}'], "line 1: no id"),
        ("a.jsonl", ['{"id": "a", "lang": "hin", "scores": [1]}'], "line 1: scores is no object"),
        ("a.jsonl", ['{"id": "a", "lang": "hin", "scores": {"hin": "x"}}'], "line 1: the score of hin is no number"),
        ("a.jsonl", ['{"id": "a", "lang": "hin", "scores": {"xx": 1}}'], "line 1: no language 'xx'"),
        ("a.jsonl", ["a\thin"], "line 1: no JSON"),
    ],
)
def test_malformed_answers_are_refused_with_file_and_line(tmp_path, name, lines, words):
    with pytest.raises(BadInputError) as refused:
        answers_of(text(tmp_path, lines, name), ("hin", "rus"))
    assert words in str(refused.value)


def test_lists_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(BadInputError, match=r"absent\.tsv: cannot be read \(No such file"):
        manifest_of(tmp_path / "absent.tsv", None)
    with pytest.raises(BadInputError, match="not UTF-8 at byte 0"):
        golds_of(text(tmp_path, ["é\thin"], encoding="latin-1"), ())


def test_sounds_become_one_channel_at_16000_hz_whatever_they_were(tmp_path, tone):
    for form, rate, channels in (("WAV", 8000, 1), ("FLAC", 22050, 2), ("OGG", 44100, 2)):
        path = tmp_path / f"a.{form.lower()}"
        samples = np.stack([tone(150, rate=rate, seconds=1.0)] * channels, 1)
        soundfile.write(path, samples, rate, format=form)
        found = read_sound(path)
        assert (found.rate, found.samples.dtype, found.samples.ndim) == (rate, np.float32, 1)
        assert len(found.samples) == pytest.approx(RATE, abs=2)
        assert duration(path) == pytest.approx(1.0, abs=1e-3)
        spectrum = abs(np.fft.rfft(found.samples))
        assert spectrum[:4000].sum() > 0.7 * spectrum.sum()


def test_a_wav_file_holds_the_samples(tmp_path, tone):
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(tone(150)))
    np.testing.assert_allclose(read_sound(path).samples, tone(150), atol=1 / 32768)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no sound", "no sound that can be read"),
        (b"", "no sound that can be read"),
        (wav_bytes(np.zeros(RATE // 20, np.float32)), "50 ms of sound; give 100 ms at least"),
        (None, "no such file"),
    ],
)
def test_files_that_are_no_utterance_are_refused(tmp_path, content, words):
    path = tmp_path / "a.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInputError) as refused:
        read_sound(path)
    assert words in str(refused.value)
    assert "a.wav" in str(refused.value)


def test_features_are_read_and_others_refused(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.ones((30, 13), np.float64))
    found = read_utterance("a", "hin", "d", "s", path)
    assert (found.cepstra.shape, found.seconds, found.rate, found.samples) == ((30, 13), 0.3, 0, None)
    for array, words in (
        (np.ones((3, 13)), "3 frames; give 10 at least"),
        (np.ones(30), "no table of finite numbers"),
        (np.full((30, 2), np.nan), "no table of finite numbers"),
        (np.array([{}]), "no array that can be read"),
    ):
        np.save(path, array)
        with pytest.raises(BadInputError, match=words):
            read_utterance("a", "hin", "d", "s", path)


def test_codes_and_folders_name_languages():
    assert [language_of(name) for name in ("pt_BR", "nds", "en_GB", "ml")] == ["por", "nds", "eng", "mal"]
    assert language_named("xyz", "here") == "xyz"
    assert language_of("xx") is None


def test_recordings_are_found_as_the_packages_install_them(tmp_path, write_sound):
    names = (
        "asterisk/sounds/en_US_f_Allison/hello.wav",
        "asterisk/sounds/es_MX_f_Allison/digits/1.wav",
        "asterisk/sounds/fr_CA_f_June/silence/1.wav",
        "asterisk/sounds/fr_CA_f_June/beep.wav",
        "klettres/en_GB/alpha/a-1.ogg",
        "klettres/pt_BR/syllab/ba.ogg",
        "tuxpaint/stamps/animals/cat_desc.ogg",
        "tuxpaint/stamps/animals/cat_desc_fr.ogg",
        "tuxpaint/stamps/animals/cat_desc_pt_BR.wav",
        "tuxpaint/stamps/animals/cat.ogg",
    )
    unknown = (
        "asterisk/sounds/xx_XX_f_Allison/hello.wav",
        "klettres/xx/alpha/a-1.ogg",
        "tuxpaint/stamps/animals/cat_desc_xx.ogg",
    )
    for seed, name in enumerate((*names, *unknown)):
        write_sound(tmp_path / name, 150, seed, rate=8000)
    same = tmp_path / "tuxpaint/stamps/animals/filled/cat_desc_fr.ogg"  # a copy, which would be training and test
    same.parent.mkdir()
    same.write_bytes((tmp_path / "tuxpaint/stamps/animals/cat_desc_fr.ogg").read_bytes())
    found = {source: recordings(source, tmp_path) for source in ("asterisk", "klettres", "tuxpaint")}
    assert [(one.name, one.language, one.speaker) for one in found["asterisk"]] == [
        ("en_US_f_Allison/hello", "eng", "Allison"),
        ("es_MX_f_Allison/digits/1", "spa", "Allison"),
    ]
    assert [(one.language, one.speaker) for one in found["klettres"]] == [
        ("eng", "klettres-en_GB"),
        ("por", "klettres-pt_BR"),
    ]
    assert [(one.name, one.language) for one in found["tuxpaint"]] == [
        ("animals/cat-en", "eng"),
        ("animals/cat-fr", "fra"),
        ("animals/cat-pt_BR", "por"),
    ]
    with pytest.raises(NotAvailableError, match="apt-get install klettres-data"):
        recordings("klettres", tmp_path / "empty")
    with pytest.raises(UnknownNameError, match="asterisk, klettres, tuxpaint"):
        recordings("radio")
