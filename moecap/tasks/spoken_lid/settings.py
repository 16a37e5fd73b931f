"""The arguments of the task ``spoken_lid``, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moecap.data.languages import SIGTYP16, language_named
from moecap.errors import BadInputError, UnknownNameError
from moecap.tasks.arguments import number_argument, truth_argument
from moecap.tasks.spoken_lid.noise import AUGMENTATIONS

__all__ = [
    "ADVERSARIAL",
    "ARGUMENTS",
    "CHAT",
    "CLASSIFIERS",
    "LETTERS",
    "LISTS",
    "RECORDED",
    "SIZES",
    "SYNTHETIC",
    "Settings",
    "able_classifiers",
    "labels_of",
    "read_settings",
    "runs_of",
]

SYNTHETIC = {"one_voice": 1, "five_voices": 5}
"""Experiments with synthetic speech, and how many voices speak the training."""

LETTERS = "letters"
RECORDED = ("without_asterisk", "without_klettres", "without_tuxpaint", LETTERS)
"""Experiments with recorded speech: tests of a source, or of a speaker, that training has not."""

LISTS = "lists"
"""The experiment with the user's own lists."""

CHAT, ADVERSARIAL = "chat", "convolution_adversarial"
CLASSIFIERS = ("statistics", "statistics_raw", "convolution", ADVERSARIAL, CHAT)

TRACKS = ("constrained", "unconstrained")

_FOR_ALL = {
    "classifiers": "statistics,statistics_raw,convolution,convolution_adversarial",
    "seeds": "3",
    "utterances": "60",
    "tests": "12",
    "epochs": "30",
    "batch": "16",
    "rate": "0.001",
    "channels": "64",
    "crop": "100",
    "reversal": "1",
    "max_tokens": "16",
}
"""Values of the arguments where neither the user nor a size gives one."""

ARGUMENTS = (*_FOR_ALL, "experiments", "train", "test", "labels", "augment", "opposed", "track", "strict")

SIZES: Mapping[str, Mapping[str, str]] = {
    "default": {
        "experiments": ",".join(SYNTHETIC),
        "classifiers": _FOR_ALL["classifiers"],
        "seeds": "3",
        "utterances": "60",
        "tests": "12",
        "epochs": "30",
        "channels": "64",
    },
    "ci": {
        "experiments": "five_voices",
        "classifiers": "statistics,convolution_adversarial",
        "seeds": "1",
        "utterances": "20",
        "tests": "5",
        "epochs": "15",
    },
    "full": {
        "experiments": ",".join((*SYNTHETIC, *RECORDED)),
        "seeds": "5",
        "utterances": "80",
        "tests": "40",
    },
    "gpu": {
        "experiments": LISTS,
        "train": "train.tsv",
        "test": "test.tsv",
        "labels": "sigtyp16",
        "track": "constrained",
        "seeds": "5",
        "batch": "64",
        "channels": "512",
        "crop": "300",
    },
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run does.

    Attributes:
        experiments: Names of the experiments.
        classifiers: Names of the classifiers.
        seeds: How many seeds, of what is drawn in training.
        utterances: Training utterances for each language, and of recorded speech for each source too.
        tests: Test utterances for each language under each condition.
        epochs: Passes of a network over the training.
        batch: Utterances a step.
        rate: Learning rate.
        channels: Channels of each convolution.
        crop: Frames of an utterance that a step looks at; 0 for all.
        reversal: Weight of the reversed gradient at the end.
        max_tokens: Most tokens of an answer of a model that is asked.
        train: The user's manifest of the training.
        test: The user's manifest of the tests.
        labels: Languages that can be answered; those of the data if empty.
        augment: Ways in which training utterances are changed.
        opposed: ``domain`` or ``speaker``, where the user says so.
        track: ``constrained`` or ``unconstrained``; empty outside the shared task.
        strict: Whether a speaker in both training and tests is an error.
    """

    experiments: tuple[str, ...]
    classifiers: tuple[str, ...]
    seeds: int
    utterances: int
    tests: int
    epochs: int
    batch: int
    rate: float
    channels: int
    crop: int
    reversal: float
    max_tokens: int
    train: Path | None
    test: Path | None
    labels: tuple[str, ...]
    augment: tuple[str, ...]
    opposed: str
    track: str
    strict: bool


def read_settings(arguments: Mapping[str, str]) -> Settings:
    """What the arguments mean.

    Args:
        arguments: Those of the size under those that the user gives.

    Raises:
        UnknownNameError: If an experiment, classifier or augmentation is none.
        BadInputError: If a value is none that can be.
    """
    given = {**_FOR_ALL, **arguments}
    experiments = _names(given, "experiments", (*SYNTHETIC, *RECORDED, LISTS))
    classifiers = _names(given, "classifiers", CLASSIFIERS)
    if (LISTS in experiments) != ("test" in given):
        raise BadInputError(f"the experiment {LISTS} and --task-arg test=FILE go together; give both or none")
    if LISTS in experiments and "train" not in given and set(classifiers) != {CHAT}:
        raise BadInputError("a classifier is trained on --task-arg train=FILE; give it, or take classifiers=chat")
    return Settings(
        experiments=experiments,
        classifiers=classifiers,
        seeds=_whole(given, "seeds", 1, 20),
        utterances=_whole(given, "utterances", 2),
        tests=_whole(given, "tests", 1),
        epochs=_whole(given, "epochs", 1),
        batch=_whole(given, "batch", 1),
        rate=_real(given, "rate"),
        channels=_whole(given, "channels", 1),
        crop=_whole(given, "crop", 0),
        reversal=_real(given, "reversal"),
        max_tokens=_whole(given, "max_tokens", 1),
        train=Path(given["train"]) if "train" in given else None,
        test=Path(given["test"]) if "test" in given else None,
        labels=labels_of(given.get("labels", "")),
        augment=_names(given, "augment", AUGMENTATIONS),
        opposed=_one_of(given, "opposed", ("domain", "speaker")),
        track=_one_of(given, "track", TRACKS),
        strict=truth_argument(given, "strict") is True,
    )


def runs_of(classifier: str, settings: Settings, first_seed: int) -> range:
    """The seeds with which a classifier is trained: one where nothing is drawn."""
    drawn = classifier.startswith("convolution") or (settings.augment and classifier != CHAT)
    return range(first_seed, first_seed + (settings.seeds if drawn else 1))


def able_classifiers(settings: Settings, opposed: str, kinds: int) -> tuple[str, ...]:
    """The classifiers that there are: without two domains, or speakers, there is nothing to oppose.

    Args:
        settings: The settings.
        opposed: What the adversarial network shall not tell apart: ``domain`` or ``speaker``.
        kinds: How many different ones the training has.
    """
    several = kinds > 1 or (bool(settings.augment) and opposed == "domain")
    return tuple(name for name in settings.classifiers if several or name != ADVERSARIAL)


def labels_of(text: str) -> tuple[str, ...]:
    """Languages by their codes with commas, or by the name ``sigtyp16``; none for an empty text.

    Raises:
        BadInputError: If a code is none, or there is one alone.
    """
    if text == "sigtyp16":
        return SIGTYP16
    found = tuple(dict.fromkeys(language_named(code, f"--task-arg labels={text}") for code in text.split(",") if code))
    if len(found) == 1:
        raise BadInputError(f"--task-arg labels={text}: one language alone; give two at least, or sigtyp16")
    return found


def _names(given: Mapping[str, str], name: str, known: tuple[str, ...]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(part for part in given.get(name, "").split(",") if part))
    if unknown := [one for one in found if one not in known]:
        raise UnknownNameError(f"{name.removesuffix('s')} of spoken_lid", unknown[0], known)
    if name in given and not found:
        raise BadInputError(f"--task-arg {name}=: no name; give {', '.join(known)}, or some of them")
    return found


def _one_of(given: Mapping[str, str], name: str, known: tuple[str, ...]) -> str:
    if name in given and given[name] not in known:
        raise BadInputError(f"--task-arg {name}={given[name]}: not {' or '.join(known)}")
    return given.get(name, "")


def _whole(given: Mapping[str, str], name: str, least: int, most: int | None = None) -> int:
    found = number_argument(given, name, least, most)
    assert found is not None
    return found


def _real(given: Mapping[str, str], name: str) -> float:
    try:
        value = float(given[name])
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise BadInputError(f"--task-arg {name}={given[name]}: give a number from 0 on")
    return value
