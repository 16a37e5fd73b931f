"""Sounds of one channel at 16 kHz, read from WAV, FLAC, Ogg and whatever else libsndfile reads, and written as WAV."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from math import gcd
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from moecap.errors import BadInputError, NotAvailableError

__all__ = ["RATE", "SHORTEST_S", "Sound", "duration", "read_sound", "resampled", "wav_bytes"]

RATE = 16_000
"""Samples a second of every sound here."""

SHORTEST_S = 0.1
"""A shorter sound is no utterance, s."""


class Sound(NamedTuple):
    """A sound.

    Attributes:
        samples: [n], 32-bit fractions from -1 to 1, ``RATE`` a second.
        rate: Samples a second of the file.
    """

    samples: np.ndarray
    rate: int


def read_sound(path: Path) -> Sound:
    """The sound in a file: the mean of its channels, resampled.

    Raises:
        NotAvailableError: If soundfile is not installed.
        BadInputError: If the file is not there, cannot be read, or holds less than a tenth of a second.
    """
    with _opened(path) as file:
        channels, rate = file.read(dtype="float32", always_2d=True), file.samplerate
    seconds = len(channels) / rate
    if seconds < SHORTEST_S:
        raise BadInputError(f"{path}: {seconds * 1000:.0f} ms of sound; give {SHORTEST_S * 1000:.0f} ms at least")
    samples: np.ndarray = channels.mean(1)
    if not np.isfinite(samples).all():
        raise BadInputError(f"{path}: a sample is no finite number; write the file again")
    return Sound(resampled(samples, rate), rate)


def duration(path: Path) -> float:
    """How long the sound in a file is, s.

    Raises:
        NotAvailableError: If soundfile is not installed.
        BadInputError: If the file is not there or cannot be read.
    """
    with _opened(path) as file:
        return float(file.frames / file.samplerate)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        import soundfile
    except ModuleNotFoundError:
        raise NotAvailableError("soundfile is not installed; pip install 'moecap[methods]'") from None
    if not path.is_file():
        raise BadInputError(f"{path}: no such file; mend the path")
    try:
        with soundfile.SoundFile(path) as file:
            yield file
    except (soundfile.SoundFileError, OSError) as error:
        reason = str(error).rpartition(": ")[2].rstrip(".")
        raise BadInputError(f"{path}: no sound that can be read ({reason}); give WAV, FLAC or Ogg") from None


def resampled(samples: np.ndarray, rate: int, to: int = RATE) -> np.ndarray:
    """Samples at another rate, by a polyphase filter, [n · to / rate], 32-bit fractions."""
    if rate == to:
        return samples.astype(np.float32, copy=False)
    from scipy.signal import resample_poly

    common = gcd(rate, to)
    found: np.ndarray = resample_poly(samples.astype(np.float64), to // common, rate // common).astype(np.float32)
    return found


def wav_bytes(samples: np.ndarray) -> bytes:
    """A WAV file of 16-bit samples at ``RATE``."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()
