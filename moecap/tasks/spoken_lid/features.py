"""Cepstra of an utterance (kaldi-native-fbank), their normalisation, and statistics of fixed length.

Shapes: T frames, D cepstra.
"""

from __future__ import annotations

import numpy as np

from moecap.data.audio import RATE
from moecap.errors import NotAvailableError

__all__ = ["CEPSTRA", "CROP_S", "FRAME_S", "LAGS", "covariances", "mfcc", "normalised", "statistics_of"]

CEPSTRA = 20
"""D, of a sound; features that a user brings may have another one."""

FRAME_S = 0.01
"""Seconds from one frame to the next."""

CROP_S = 8.0
"""Of a longer utterance only the beginning is looked at, s."""

LAGS = (3, 6, 12, 24)
"""Frames between which the autocorrelation of a cepstrum is taken."""

PAIRS = 8
"""First cepstra whose covariances are taken."""

_LEAST_DEVIATION = 1e-5
"""A cepstrum that deviates less from its mean is constant: a digital silence has rounding errors only."""


def mfcc(samples: np.ndarray) -> np.ndarray:
    """Mel-frequency cepstra, [T, 20]: frames of 25 ms each 10 ms, pre-emphasis 0.97, Hamming, 40 bands, 50 to 8000 Hz.

    Args:
        samples: [n], from -1 to 1, 16,000 a second.

    Raises:
        NotAvailableError: If kaldi-native-fbank is not installed.
    """
    try:
        import kaldi_native_fbank as kaldi
    except ModuleNotFoundError:
        raise NotAvailableError("kaldi-native-fbank is not installed; pip install 'moecap[methods]'") from None
    options = kaldi.MfccOptions()
    frames, mel = options.frame_opts, options.mel_opts
    frames.samp_freq, frames.frame_length_ms, frames.frame_shift_ms = RATE, 25, 1000 * FRAME_S
    frames.window_type, frames.preemph_coeff, frames.dither = "hamming", 0.97, 0  # nothing random
    mel.num_bins, mel.low_freq, mel.high_freq = 40, 50, RATE / 2
    options.num_ceps, options.use_energy, options.cepstral_lifter = CEPSTRA, False, 0
    front_end = kaldi.OnlineMfcc(options)
    kept = samples[: round(CROP_S * RATE)]
    front_end.accept_waveform(RATE, (kept * np.float32(32768)).tolist())  # 16-bit range, for which its floor is meant
    front_end.input_finished()
    return np.stack([front_end.get_frame(i) for i in range(front_end.num_frames_ready)]).astype(np.float32)


def normalised(cepstra: np.ndarray) -> np.ndarray:
    """Cepstra of mean 0 and deviation 1 over the utterance, [T, D]; a constant one is 0."""
    deviation = cepstra.std(0)
    moving = deviation > _LEAST_DEVIATION * np.maximum(1, abs(cepstra).max(0))
    centred = (cepstra - cepstra.mean(0)) / np.where(moving, deviation, 1)
    found: np.ndarray = np.where(moving, centred, 0).astype(np.float32)
    return found


def statistics_of(cepstra: np.ndarray) -> np.ndarray:
    """Mean, deviation, deviation of the change, covariances of the first cepstra, and autocorrelations, [..., flat].

    A lag that is longer than the utterance, and a cepstrum that is constant, correlate with 0.
    """
    mean, deviation = cepstra.mean(0), cepstra.std(0)
    change = np.diff(cepstra, axis=0).std(0) if len(cepstra) > 1 else np.zeros_like(mean)
    centred = cepstra - mean
    variance = np.maximum((centred**2).mean(0), 1e-10)
    lagged = [
        (centred[lag:] * centred[:-lag]).mean(0) / variance if len(cepstra) > lag else np.zeros_like(mean)
        for lag in LAGS
    ]
    return np.concatenate([mean, deviation, change, covariances(centred), *lagged])


def covariances(centred: np.ndarray) -> np.ndarray:
    """Covariances of each pair of the first eight cepstra, each pair once with the variances, flat.

    Args:
        centred: Cepstra of mean 0, [T, D].
    """
    some = centred[:, :PAIRS]
    found: np.ndarray = (some.T @ some / len(some))[np.triu_indices(some.shape[1])]
    return found
