"""Real speech: a synthesiser's voices, and the recordings that Debian's package klettres-data installs."""

from collections import Counter

import numpy as np
import pytest

from moecap.data.espeak import VOICES, Said, speak
from moecap.errors import RunError
from moecap.tasks.base import TaskOptions
from moecap.tasks.spoken_lid.experiments import prepared
from moecap.tasks.spoken_lid.material import OTHERS, TRAINERS, synthetic_tests, synthetic_training
from moecap.tasks.spoken_lid.pooled import PooledClassifier
from moecap.tasks.spoken_lid.settings import CLASSIFIERS, read_settings
from moecap.tasks.spoken_lid.task import SpokenLid
from moecap.tasks.spoken_lid.utterances import speakers_of


def test_the_synthesiser_says_the_same_twice_and_other_things_by_other_voices():
    said = [Said("Frankreich, Spanien", voice, "f1") for voice in ("de", "en-us")] + [Said("Frankreich", "de", "m3")]
    once, again = ([samples for samples, rate in speak(said, 1)] for _ in range(2))
    for one, other in zip(once, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert [0.5 * 22050 < len(samples) < 5 * 22050 for samples in once] == [True] * 3
    assert not np.array_equal(once[0], once[1])
    assert max(abs(samples).max() for samples in once) <= 1
    with pytest.raises(RunError, match=r"eSpeak NG failed \(it has no voice xx\+f1\)"):
        list(speak([Said("a", "xx", "f1")], 1))


@pytest.fixture(scope="module")
def spoken():
    return synthetic_training(1, 15), synthetic_training(5, 15), synthetic_tests(4)


def test_trainings_of_one_and_of_five_voices_are_equally_large_and_tests_have_other_voices_and_words(spoken):
    one, five, tests = spoken
    assert Counter(u.language for u in one) == Counter(u.language for u in five) == Counter(dict.fromkeys(VOICES, 15))
    assert speakers_of(one) == {"m1"}
    assert speakers_of(five) == set(TRAINERS)
    parts = Counter((u.domain, u.speaker in speakers_of(five)) for u in tests)
    assert parts == Counter(
        {("clean", True): 44, ("noise", True): 44, ("rate", True): 44, ("clean", False): 44, ("noise_rate", False): 44}
    )
    assert speakers_of(tests) - speakers_of(five) == set(OTHERS)
    assert len({u.id for u in (*one, *tests)}) == len(one) + len(tests)
    seconds = {d: np.mean([u.seconds for u in tests if u.domain == d]) for d in ("clean", "rate")}
    assert seconds["rate"] < 0.85 * seconds["clean"]  # 230 words a minute, not 160


def test_a_voice_that_was_heard_is_told_far_better_than_others(spoken):
    one, _, tests = spoken
    classifier = PooledClassifier(normalises=False)
    classifier.fit(one)
    right = {}
    for utterance, answer in zip(tests, classifier.answer(tests), strict=True):
        if utterance.domain == "clean":
            right.setdefault(utterance.speaker == "m1", []).append(utterance.language == answer)
    heard, others = np.mean(right[True]), np.mean(right[False])
    assert heard > 0.5  # chance is 1/11
    assert others < heard - 0.15


@pytest.mark.recordings
def test_letters_of_a_speaker_who_was_heard_are_told_and_the_other_english_speaker_is_not():
    """The confound of one speaker a language, on recorded speech."""
    settings = read_settings({"experiments": "letters", "utterances": "20", "tests": "5"})
    experiment = prepared("letters", settings, None, None, print)
    assert len(experiment.labels) == 19
    train, tests = speakers_of(experiment.train), speakers_of(experiment.test)
    assert tests - train == {"klettres-en_GB"}
    assert not {u.id for u in experiment.train} & {u.id for u in experiment.test}
    classifier = PooledClassifier(normalises=False)
    classifier.fit(experiment.train)
    right = {True: [], False: []}
    for utterance, answer in zip(experiment.test, classifier.answer(experiment.test), strict=True):
        right[utterance.speaker in train].append(utterance.language == answer)
    assert np.mean(right[True]) > 0.85  # chance is 1/19
    assert np.mean(right[False]) < 0.5


def test_a_source_is_left_out_of_training_and_speakers_are_apart(tmp_path, write_sound):
    hertz = {"en": 110, "es": 150, "fr": 190, "it": 250, "ru": 320}
    speakers = {"en": "en_US_f_Allison", "es": "es_MX_f_Allison", "fr": "fr_CA_f_June", "ru": "ru_RU_f_Ivr"}
    for number in range(9):
        for code, voice in speakers.items():
            write_sound(tmp_path / f"asterisk/sounds/{voice}/say-{number}.wav", hertz[code], number, rate=8000)
            write_sound(tmp_path / f"klettres/{code}/alpha/a-{number}.ogg", hertz[code] + 20, number)
            suffix = "" if code == "en" else f"_{code}"
            write_sound(tmp_path / f"tuxpaint/stamps/a/thing{number}_desc{suffix}.ogg", hertz[code] + 40, number)
        write_sound(tmp_path / f"klettres/it/alpha/a-{number}.ogg", hertz["it"], number)
        write_sound(tmp_path / f"klettres/en_GB/alpha/a-{number}.ogg", hertz["it"], number)
        write_sound(tmp_path / f"klettres/en/alpha/short-{number}.ogg", 100, number, seconds=0.2)
    settings = read_settings({"experiments": "without_asterisk", "utterances": "5", "tests": "3"})
    experiment = prepared("without_asterisk", settings, tmp_path, None, print)
    assert experiment.labels == ("eng", "fra", "rus", "spa")  # Italian is not in all three
    assert {u.domain for u in experiment.train} == {"klettres", "tuxpaint"}
    assert Counter(u.language for u in experiment.train) == Counter(dict.fromkeys(experiment.labels, 10))
    assert Counter(u.domain for u in experiment.test) == Counter(asterisk=12, klettres=8, tuxpaint=8)  # a third of 8
    known = {u.speaker for u in experiment.train}
    assert {u.speaker for u in experiment.test if u.domain == "asterisk"} == {"Allison", "June", "Ivr"}
    assert not {u.speaker for u in experiment.test if u.domain == "asterisk"} & known
    assert not any("short" in u.id for u in (*experiment.train, *experiment.test))
    assert (experiment.opposed, experiment.classifiers) == ("domain", CLASSIFIERS[:4])
    with_allison = prepared("without_klettres", settings, tmp_path, None, print)
    assert {u.language for u in with_allison.train if u.speaker == "Allison"} == {"eng", "spa"}


def test_every_size_has_arguments_that_can_be():
    for name in SpokenLid.sizes:
        options = TaskOptions(None, None, {"size": name}, print)
        read_settings(SpokenLid().arguments_in_force(options))
        assert SpokenLid().needs({"size": name}) == frozenset()
