"""One experiment with every classifier, and the facts that it leaves."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from moecap.tasks.spoken_lid.chat import Heard
from moecap.tasks.spoken_lid.experiments import Experiment
from moecap.tasks.spoken_lid.noise import augmented
from moecap.tasks.spoken_lid.pooled import PooledClassifier
from moecap.tasks.spoken_lid.settings import CHAT, Settings
from moecap.tasks.spoken_lid.tables import ANSWERED
from moecap.tasks.spoken_lid.utterances import Utterance
from moecap.tasks.table_rows import TableRows

__all__ = ["ask", "describe", "parts_of", "study"]

_Trained = tuple[int, Callable[[Sequence[Utterance]], list[str]]]
"""How many numbers were trained, and what gives the language of each utterance."""


def parts_of(classifier: str, settings: Settings) -> int:
    """Into how many parts a training falls, after each of which it tells."""
    return settings.epochs if classifier.startswith("convolution") else 1


def describe(experiment: Experiment, settings: Settings, facts: TableRows) -> None:
    """Leave what an experiment is, what it is trained on and its tests."""
    facts.row(
        "experiments",
        *(experiment.name, experiment.source, experiment.opposed, ",".join(settings.augment)),
        *(settings.epochs, settings.batch, settings.rate, settings.channels, settings.crop, settings.reversal),
    )
    for language in experiment.labels:
        facts.row("labels", experiment.name, language)
    seconds: defaultdict[tuple[str, str, str], float] = defaultdict(float)
    for one in experiment.train:
        seconds[one.language, one.domain, one.speaker] += one.seconds
    numbers = Counter((one.language, one.domain, one.speaker) for one in experiment.train)
    for group, number in numbers.items():
        facts.row("training", experiment.name, *group, number, float(seconds[group]))
    for one in experiment.test:
        facts.row("tests", experiment.name, one.id, one.language, one.domain, one.speaker, one.seconds, one.rate)


def study(
    experiment: Experiment, classifier: str, seed: int, settings: Settings, facts: TableRows, done: Callable[[], None]
) -> None:
    """Train a classifier and leave its answers to the tests.

    Args:
        experiment: The utterances.
        classifier: ``statistics``, ``statistics_raw``, ``convolution`` or ``convolution_adversarial``.
        seed: Decides all that is drawn.
        settings: How it is trained.
        facts: Gets the rows.
        done: Called after each epoch of a network, and once after another training.
    """
    key = (experiment.name, classifier, seed)
    train = augmented(experiment.train, settings.augment, seed)
    begin = time.monotonic()
    train_it = _pooled if classifier.startswith("statistics") else _network
    parameters, answer = train_it(experiment, classifier, seed, train, settings, facts, done)
    trained = time.monotonic()
    answers = answer(experiment.test)
    facts.row("fits", *key, parameters, trained - begin, time.monotonic() - trained)
    for one, language in zip(experiment.test, answers, strict=True):
        facts.row("answers", *key, one.id, ANSWERED, language)


def ask(
    experiment: Experiment, seed: int, facts: TableRows, hear: Callable[[Sequence[Utterance]], Sequence[Heard]]
) -> None:
    """Ask a model for the language of each test, and leave its answers."""
    begin = time.monotonic()
    answers = hear(experiment.test)
    facts.row("fits", experiment.name, CHAT, seed, 0, 0.0, time.monotonic() - begin)
    for one, heard in zip(experiment.test, answers, strict=True):
        facts.row("answers", experiment.name, CHAT, seed, one.id, heard.outcome, heard.language)


def _pooled(
    _experiment: Experiment,
    classifier: str,
    _seed: int,
    train: Sequence[Utterance],
    _settings: Settings,
    _facts: TableRows,
    done: Callable[[], None],
) -> _Trained:
    pooled = PooledClassifier(normalises=classifier == "statistics")
    parameters = pooled.fit(train)
    done()
    return parameters, pooled.answer


def _network(
    experiment: Experiment,
    classifier: str,
    seed: int,
    train: Sequence[Utterance],
    settings: Settings,
    facts: TableRows,
    done: Callable[[], None],
) -> _Trained:
    from moecap.tasks.spoken_lid.training import NetworkClassifier, Schedule

    schedule = Schedule(
        settings.epochs, settings.batch, settings.rate, settings.channels, settings.crop, settings.reversal
    )
    by_speaker = experiment.opposed == "speaker"

    def opposed(utterance: Utterance) -> str:
        return utterance.speaker if by_speaker else utterance.domain

    adversarial = classifier == "convolution_adversarial"
    network = NetworkClassifier(experiment.labels, opposed if adversarial else None, schedule, seed)
    parameters = network.fit(train, done)
    for number, epoch in enumerate(network.epochs, 1):
        facts.row("epochs", experiment.name, classifier, seed, number, *epoch)
    return parameters, network.answer
