"""What is done to sounds: white noise, another speed, and both drawn for training data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moecap.data.audio import RATE, Sound, resampled
from moecap.errors import BadInputError, UnknownNameError
from moecap.tasks.spoken_lid.utterances import Utterance, heard

__all__ = ["AUGMENTATIONS", "augmented", "faster", "with_noise"]

AUGMENTATIONS = ("noise", "speed")

NOISE_DB = (5.0, 20.0)
"""Between what the ratio of signal to noise is drawn for training data, dB."""

SPEEDS = (90, 110)
"""Speeds of training data, %."""


def with_noise(samples: np.ndarray, decibels: float, draw: np.random.Generator) -> np.ndarray:
    """A sound with white noise.

    Args:
        samples: [n].
        decibels: Power of the sound over that of the noise.
        draw: Draws the noise.
    """
    power = float(np.mean(samples.astype(np.float64) ** 2)) / 10 ** (decibels / 10)
    noise = draw.standard_normal(len(samples)) * np.sqrt(power)
    found: np.ndarray = (samples + noise).astype(np.float32)
    return found


def faster(samples: np.ndarray, percent: int) -> np.ndarray:
    """A sound played at another speed, which moves its pitch too.

    Args:
        samples: [n].
        percent: The speed; 100 changes nothing.
    """
    return resampled(samples, percent, 100)


def augmented(utterances: Sequence[Utterance], ways: Sequence[str], seed: int) -> list[Utterance]:
    """As many utterances, each as it was or changed in one of the ways, as is drawn; a changed one is a domain apart.

    Args:
        utterances: The utterances.
        ways: Names out of ``AUGMENTATIONS``.
        seed: Decides what is drawn.

    Raises:
        UnknownNameError: If a way is none.
        BadInputError: If an utterance has no sound.
    """
    if unknown := [way for way in ways if way not in AUGMENTATIONS]:
        raise UnknownNameError("augmentation", unknown[0], AUGMENTATIONS)
    if not ways:
        return list(utterances)
    draw = np.random.default_rng(seed)
    return [_changed(utterance, draw.choice(["", *ways]), draw) for utterance in utterances]


def _changed(utterance: Utterance, way: str, draw: np.random.Generator) -> Utterance:
    if utterance.samples is None:
        raise BadInputError(f"{utterance.id}: features of an utterance cannot be augmented; give sounds")
    if not way:
        return utterance
    if way == "noise":
        samples = with_noise(utterance.samples, draw.uniform(*NOISE_DB), draw)
    else:
        samples = faster(utterance.samples, int(draw.choice(SPEEDS)))
    domain = f"{utterance.domain}+{way}"
    return heard(utterance.id, utterance.language, domain, utterance.speaker, Sound(samples, utterance.rate or RATE))
