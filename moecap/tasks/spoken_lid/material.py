"""Synthetic speech of eleven languages: names of countries and languages out of CLDR, spoken by eSpeak NG.

All that is drawn is drawn with one seed, so that every training is judged by the same utterances.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from moecap.data.audio import Sound, resampled
from moecap.data.espeak import VOICES, Said, espeak_version, speak
from moecap.errors import NotAvailableError
from moecap.tasks.spoken_lid.noise import with_noise
from moecap.tasks.spoken_lid.utterances import Utterance, heard

__all__ = ["NAMES", "OTHERS", "TRAINERS", "synthetic_source", "synthetic_tests", "synthetic_training"]

SEED = 0

TRAINERS = ("m1", "f1", "m3", "f2", "m5")
"""Voices of the training; the first of them speaks all of it where one voice does."""

OTHERS = ("f3", "m2", "f5", "m7")
"""Voices of tests that no training has."""

NAMES = 3
"""Names in an utterance."""

NOISE_DB = 10.0


@dataclass(frozen=True, slots=True)
class _Condition:
    """How a part of the tests is spoken.

    Attributes:
        domain: The name of the domain.
        speakers: Voices, in turns.
        speed: Words a minute.
        pitch: From 0 to 99.
        noisy: Whether white noise is added.
    """

    domain: str
    speakers: tuple[str, ...]
    speed: int = 160
    pitch: int = 50
    noisy: bool = False


_TESTS = (
    _Condition("clean", TRAINERS[:1]),
    _Condition("noise", TRAINERS[:1], noisy=True),
    _Condition("rate", TRAINERS[:1], speed=230, pitch=75),
    _Condition("clean", OTHERS),
    _Condition("noise_rate", OTHERS, speed=230, pitch=75, noisy=True),
)


def synthetic_source() -> str:
    """Where the speech comes from, with versions.

    Raises:
        NotAvailableError: If a package is not installed.
    """
    try:
        import babel
    except ModuleNotFoundError:
        raise NotAvailableError("babel is not installed; pip install 'moecap[methods]'") from None
    return f"synthetic speech (eSpeak NG, {espeak_version()}) of CLDR's names (babel {babel.__version__})"


def synthetic_training(voices: int, size: int) -> list[Utterance]:
    """Training utterances, as many for each language whatever the voices.

    Args:
        voices: How many of ``TRAINERS`` speak, in turns.
        size: Utterances for each language.
    """
    condition = _Condition("clean", TRAINERS[:voices])
    return list(_spoken([(condition, "train", number) for number in range(size)]))


def synthetic_tests(size: int) -> list[Utterance]:
    """Test utterances whose names no training says: ``size`` for each language under each condition."""
    return list(_spoken([(condition, "test", number) for condition in _TESTS for number in range(size)]))


def _spoken(asked: Sequence[tuple[_Condition, str, int]]) -> Iterator[Utterance]:
    told, said = [], []
    for condition, part, number in asked:
        for language, voice in VOICES.items():
            speaker = condition.speakers[number % len(condition.speakers)]
            overlap = "known" if speaker in TRAINERS else "new"
            told.append((f"{part}-{condition.domain}-{overlap}-{number}-{language}", language, condition, speaker))
            text = ", ".join(_names(language, part, number))
            said.append(Said(text, voice, speaker, condition.speed, condition.pitch))
    draw = np.random.default_rng(SEED)
    for (id, language, condition, speaker), (samples, rate) in zip(told, speak(said, SEED), strict=True):
        sound = resampled(samples, rate)
        if condition.noisy:
            sound = with_noise(sound, NOISE_DB, draw)
        yield heard(id, language, condition.domain, speaker, Sound(sound, rate))


def _names(language: str, part: str, number: int) -> list[str]:
    """Names for an utterance, the same things in every language; those of the tests are apart."""
    keys = _keys()[part]
    of = _locale(language)
    chosen = [keys[(number * NAMES + place) % len(keys)] for place in range(NAMES)]
    return [(of.territories if kind == "territory" else of.languages)[key] for kind, key in chosen]


@cache
def _keys() -> dict[str, list[tuple[str, str]]]:
    """What is named: countries and languages that have a name of their own in all eleven languages."""
    locales = [_locale(language) for language in VOICES]
    named = [
        (kind, key)
        for kind, of in (("territory", "territories"), ("language", "languages"))
        for key in sorted(set.intersection(*(set(getattr(locale, of)) for locale in locales)))
        if key.isalpha() and len({getattr(locale, of)[key] for locale in locales}) > 1
    ]
    order = np.random.default_rng(SEED).permutation(len(named)).tolist()
    shuffled = [named[i] for i in order]
    half = len(shuffled) // 2
    return {"train": shuffled[:half], "test": shuffled[half:]}


@cache
def _locale(language: str) -> Any:
    from babel import Locale

    return Locale.parse(VOICES[language].replace("en-us", "en"))
