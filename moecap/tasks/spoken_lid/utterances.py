"""Utterances with their cepstra, and what of them is known beside the language: domain and speaker."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moecap.data.audio import RATE, SHORTEST_S, Sound, read_sound
from moecap.errors import BadInputError
from moecap.packed_files import read_array
from moecap.tasks.spoken_lid.features import FRAME_S, mfcc

__all__ = ["Utterance", "heard", "read_utterance", "speakers_of"]


@dataclass(frozen=True, slots=True)
class Utterance:
    """An utterance.

    Attributes:
        id: Its name.
        language: Its language.
        domain: The kind of its recording.
        speaker: Who speaks.
        cepstra: [T, D], as the front end gives them.
        seconds: How long it is.
        rate: Samples a second of its file; 0 of features.
        samples: Its sound at 16 kHz, [n]; ``None`` of features.
    """

    id: str
    language: str
    domain: str
    speaker: str
    cepstra: np.ndarray
    seconds: float
    rate: int
    samples: np.ndarray | None = None


def heard(id: str, language: str, domain: str, speaker: str, sound: Sound) -> Utterance:
    """An utterance from its sound."""
    seconds = len(sound.samples) / RATE
    return Utterance(id, language, domain, speaker, mfcc(sound.samples), seconds, sound.rate, sound.samples)


def read_utterance(id: str, language: str, domain: str, speaker: str, path: Path) -> Utterance:
    """An utterance from a file of sound, or of features in NumPy's format (``.npy``), [frames, dimensions].

    Raises:
        BadInputError: If the file cannot be read or holds less than a tenth of a second.
    """
    if path.suffix != ".npy":
        return heard(id, language, domain, speaker, read_sound(path))
    try:
        cepstra = read_array(path)
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path}: no array that can be read ({error}); write it with numpy.save") from None
    numbers = isinstance(cepstra, np.ndarray) and cepstra.ndim == 2 and cepstra.dtype.kind in "fiu"
    if not numbers or cepstra.shape[1] == 0 or not np.isfinite(cepstra).all():
        raise BadInputError(f"{path}: no table of finite numbers; give [frames, dimensions]")
    if len(cepstra) * FRAME_S < SHORTEST_S:
        raise BadInputError(f"{path}: {len(cepstra)} frames; give {round(SHORTEST_S / FRAME_S)} at least")
    return Utterance(id, language, domain, speaker, cepstra.astype(np.float32), len(cepstra) * FRAME_S, 0)


def speakers_of(utterances: Iterable[Utterance]) -> set[str]:
    """Everyone who speaks in them."""
    return {utterance.speaker for utterance in utterances}
