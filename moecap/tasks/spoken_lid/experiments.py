"""The experiments: which utterances train, which test, and what the two share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import TypeVar

import numpy as np

from moecap.data.audio import RATE, duration
from moecap.data.languages import LANGUAGES
from moecap.data.recordings import SOURCES, Recording, recordings
from moecap.data.speech_lists import Listed, manifest_of
from moecap.errors import BadInputError
from moecap.tasks.location import IN_FOLDER
from moecap.tasks.spoken_lid.material import synthetic_source, synthetic_tests, synthetic_training
from moecap.tasks.spoken_lid.settings import (
    ADVERSARIAL,
    CHAT,
    LETTERS,
    LISTS,
    SYNTHETIC,
    Settings,
    able_classifiers,
)
from moecap.tasks.spoken_lid.utterances import Utterance, read_utterance, speakers_of

__all__ = ["Experiment", "prepared", "refuse_forbidden"]

SPLIT_SEED = 0
"""With which recordings are drawn: the same ones for every seed of a training."""

OTHER_SPEAKER = "klettres-en_GB"
"""Of two English speakers of ``klettres-data`` the one whom training does not hear."""

SHORTEST_S = 0.3
"""Recordings of the packages that are shorter are left out, s."""

Spoken = TypeVar("Spoken", Recording, Utterance)

_FORBIDDEN = re.compile(r"common[ _-]?voice|open[ _-]?slr|\bslr\d+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Experiment:
    """Utterances for training and for tests.

    Attributes:
        name: Its name.
        source: Where the speech came from.
        labels: Languages that can be answered.
        train: Training utterances; none where a model is asked alone.
        test: Test utterances.
        classifiers: Names of its classifiers, in their order.
        opposed: What the adversarial network shall not tell apart: ``domain`` or ``speaker``.
        limited: Whether test utterances were left out.
    """

    name: str
    source: str
    labels: tuple[str, ...]
    train: tuple[Utterance, ...]
    test: tuple[Utterance, ...]
    opposed: str
    classifiers: tuple[str, ...] = ()
    limited: bool = False


def prepared(
    name: str, settings: Settings, folder: Path | None, limit: int | None, say: Callable[[str], None]
) -> Experiment:
    """An experiment with its speech.

    Args:
        name: Its name.
        settings: The settings.
        folder: The user's folder: of recordings, or from which paths in lists start.
        limit: Test utterances of each condition at most, the first ones of each language in turns; a condition is a
            domain, with speakers that training has or with others.
        say: Called with what the user should know.

    Raises:
        UsageError: If the speech is not here or not in its format.
    """
    trains = set(settings.classifiers) != {CHAT}
    if name in SYNTHETIC:
        train = synthetic_training(SYNTHETIC[name], settings.utterances) if trains else []
        found = _experiment(name, synthetic_source(), train, synthetic_tests(settings.tests), "speaker")
    elif name == LISTS:
        found = _listed(settings, folder, trains, say)
    elif name == LETTERS:
        found = _letters(settings, folder)
    else:
        found = _without(name.removeprefix("without_"), settings, folder)
    if settings.labels:
        found = replace(found, labels=_fitting(found, settings.labels))
    if len(found.labels) < 2 or (trains and len({one.language for one in found.train}) < 2):
        raise BadInputError(f"{name}: one language alone{' in the training' if found.train else ''}; give two at least")
    kept, opposed = _first(found, limit), settings.opposed or found.opposed
    classifiers = _able(found, opposed, settings)
    return replace(found, test=kept, opposed=opposed, classifiers=classifiers, limited=len(kept) < len(found.test))


def _able(found: Experiment, opposed: str, settings: Settings) -> tuple[str, ...]:
    """The classifiers that there are here.

    Raises:
        BadInputError: If there is none.
    """
    able = able_classifiers(settings, opposed, len({getattr(utterance, opposed) for utterance in found.train}))
    if not able:
        raise BadInputError(
            f"{found.name}: training has one {opposed} alone, so that {ADVERSARIAL} has nothing to oppose; take "
            "another classifier or experiment"
        )
    return able


def refuse_forbidden(listed: Iterable[Listed], track: str, say: Callable[[str], None]) -> None:
    """Warn where a list has what the shared task does not allow in training: Common Voice and OpenSLR."""
    if not track:
        return
    wrong = [one for one in listed if any(map(_FORBIDDEN.search, (one.id, str(one.path), one.domain)))]
    if wrong:
        say(
            f"{wrong[0].where}: Common Voice or OpenSLR, as {len(wrong)} lines name it; the {track} track of SIGTYP "
            "2021 allows neither in training"
        )


def _experiment(
    name: str, source: str, train: Sequence[Utterance], test: Sequence[Utterance], opposed: str
) -> Experiment:
    spoken = {utterance.language for utterance in (*train, *test)}
    labels = [code for code in LANGUAGES if code in spoken] + sorted(spoken - set(LANGUAGES))
    return Experiment(name, source, tuple(labels), tuple(train), tuple(test), opposed)


def _fitting(found: Experiment, labels: tuple[str, ...]) -> tuple[str, ...]:
    strange = {utterance.language for utterance in (*found.train, *found.test)} - set(labels)
    if strange:
        raise BadInputError(
            f"{found.name}: {sorted(strange)[0]} is spoken and none of labels; add it or leave them out"
        )
    return labels


def _first(found: Experiment, limit: int | None) -> tuple[Utterance, ...]:
    """The first tests of each condition, the conditions in turns."""
    heard = speakers_of(found.train)
    conditions: dict[tuple[str, bool], list[Utterance]] = {}
    for utterance in found.test:
        conditions.setdefault((utterance.domain, utterance.speaker in heard), []).append(utterance)
    turns = zip_longest(*(some if limit is None else _in_turns(some)[:limit] for some in conditions.values()))
    return tuple(utterance for turn in turns for utterance in turn if utterance is not None)


def _letters(settings: Settings, folder: Path | None) -> Experiment:
    """Letters and syllables in nineteen languages; English is tested by a second speaker too."""
    spoken = recordings("klettres", folder)
    others = [one for one in spoken if one.speaker == OTHER_SPEAKER]
    train, held_out = _split([one for one in spoken if one.speaker != OTHER_SPEAKER], settings)
    tests = [*held_out, *_drawn(others, settings.tests)]
    return _experiment(LETTERS, _source(["klettres"], folder), _read(train), _read(tests), "speaker")


def _without(left_out: str, settings: Settings, folder: Path | None) -> Experiment:
    """Training on two sources, tests on other recordings of both and on the third, in the languages of all three."""
    by_source = {source: recordings(source, folder) for source in SOURCES}
    by_source["klettres"] = [one for one in by_source["klettres"] if one.speaker != OTHER_SPEAKER]
    shared = set.intersection(*({one.language for one in spoken} for spoken in by_source.values()))
    spoken = {source: [one for one in found if one.language in shared] for source, found in by_source.items()}
    parts = [_split(found, settings) for source, found in spoken.items() if source != left_out]
    tests = [one for _, held_out in parts for one in held_out]
    others = [one for code in sorted(shared) for one in _drawn(_of(spoken[left_out], code), settings.tests)]
    train = [one for found, _ in parts for one in found]
    name = f"without_{left_out}"
    return _experiment(name, _source(SOURCES, folder), _read(train), _read([*tests, *_in_turns(others)]), "domain")


def _source(sources: Iterable[str], folder: Path | None) -> str:
    where = "" if folder is None else f", {IN_FOLDER}"
    return f"recorded speech of Debian packages ({', '.join(sources)}){where}"


def _of(spoken: Sequence[Spoken], language: str) -> list[Spoken]:
    return [one for one in spoken if one.language == language]


def _drawn(spoken: Sequence[Recording], size: int) -> list[Recording]:
    """Some recordings, in drawn order; those that are too short are not among them."""
    order = np.random.default_rng(SPLIT_SEED).permutation(len(spoken)).tolist()
    found: list[Recording] = []
    for place in order:
        if len(found) == size:
            break
        if duration(spoken[place].path) >= SHORTEST_S:
            found.append(spoken[place])
    return found


def _split(spoken: Sequence[Recording], settings: Settings) -> tuple[list[Recording], list[Recording]]:
    """Training and tests of each language of a source; of few recordings a third are tests."""
    train, tests = [], []
    for language in dict.fromkeys(one.language for one in spoken):
        some = _drawn(_of(spoken, language), settings.utterances + settings.tests)
        held_out = min(settings.tests, len(some) // 3)
        tests.append(some[:held_out])
        train += some[held_out : held_out + settings.utterances]
    return train, _in_turns([one for part in tests for one in part])


def _in_turns(spoken: Sequence[Spoken]) -> list[Spoken]:
    """The languages in turns, so that a limit leaves as many of each."""
    parts = [_of(spoken, language) for language in dict.fromkeys(one.language for one in spoken)]
    return [one for turn in zip_longest(*parts) for one in turn if one is not None]


def _read(spoken: Iterable[Recording]) -> list[Utterance]:
    return [
        read_utterance(f"{one.source}/{one.name}", one.language, one.source, one.speaker, one.path) for one in spoken
    ]


def _listed(settings: Settings, folder: Path | None, trains: bool, say: Callable[[str], None]) -> Experiment:
    assert settings.test is not None
    train = manifest_of(_below(folder, settings.train), folder) if settings.train and trains else []
    test = manifest_of(_below(folder, settings.test), folder)
    refuse_forbidden(train, settings.track, say)
    _tell_overlap(train, test, settings.strict, say)
    missing = {one.language for one in test} - {one.language for one in train}
    if train and missing:
        say(f"{settings.test}: {', '.join(sorted(missing))} is in no line of the training, so it cannot be answered")
    numbers = {
        speaker: f"speaker-{i}" for i, speaker in enumerate(dict.fromkeys(o.speaker for o in (*train, *test)), 1)
    }
    keeps = (bool(settings.augment), CHAT in settings.classifiers)  # what sounds are needed for beside their cepstra
    heard, asked = (
        [_heard(one, numbers, keep) for one in part] for part, keep in zip((train, test), keeps, strict=True)
    )
    if len({utterance.cepstra.shape[1] for utterance in (*heard, *asked)}) > 1:
        raise BadInputError(f"{settings.test}: features of different numbers of dimensions; give them all of one")
    rates = sorted({utterance.rate for utterance in (*heard, *asked)} - {0, RATE})
    if rates:
        say(f"sounds of {', '.join(map(str, rates))} Hz are resampled to {RATE} Hz")
    return _experiment(LISTS, f"the user's lists of utterances, {IN_FOLDER}", heard, asked, "domain")


def _heard(one: Listed, numbers: Mapping[str, str], keep: bool) -> Utterance:
    try:
        found = read_utterance(one.id, one.language, one.domain, numbers[one.speaker], one.path)
    except BadInputError as error:
        raise BadInputError(f"{one.where}: {error}") from None
    return found if keep else replace(found, samples=None)


def _below(folder: Path | None, path: Path) -> Path:
    return path if folder is None else folder / path


def _tell_overlap(train: Sequence[Listed], test: Sequence[Listed], strict: bool, say: Callable[[str], None]) -> None:
    """Refuse, or tell, that somebody speaks in the training and in the tests."""
    heard = {one.speaker for one in train}
    both = [one for one in test if one.speaker in heard]
    if both and strict:
        raise BadInputError(
            f"{both[0].where}: the speaker {both[0].speaker!r} is in the training too; take the line out, or leave out "
            "strict=true"
        )
    if both:
        say(f"{len(both)} of {len(test)} test utterances are of speakers whom training hears, first {both[0].where}")
