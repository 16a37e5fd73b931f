"""The front end: invariants of cepstra and statistics, and an independent calculation of both."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dct
from sklearn.covariance import EmpiricalCovariance

from moecap.data.audio import RATE, resampled
from moecap.tasks.spoken_lid.features import CEPSTRA, CROP_S, LAGS, mfcc, normalised, statistics_of
from moecap.tasks.spoken_lid.noise import faster, with_noise
from moecap.tasks.spoken_lid.pooled import PooledClassifier
from moecap.tasks.spoken_lid.utterances import Utterance


def mel(hertz):
    return 1127 * np.log1p(hertz / 700)


def by_hand(samples):
    """Kaldi's recipe in NumPy: no mean, pre-emphasis, Hamming, power of 512 bins, 40 triangles in mel, log, DCT."""
    samples = samples.astype(np.float64) * 32768
    length, shift = RATE * 25 // 1000, RATE // 100
    frames = np.stack([samples[s : s + length] for s in range(0, len(samples) - length + 1, shift)])
    frames = frames - frames.mean(1, keepdims=True)
    frames = frames - 0.97 * np.concatenate([frames[:, :1], frames[:, :-1]], 1)
    frames *= 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(length) / (length - 1))
    power = abs(np.fft.rfft(frames, 512)) ** 2
    centres = np.linspace(mel(50), mel(8000), 42)
    at = mel(np.arange(256) * RATE / 512)
    weights = np.stack(
        [
            np.clip(np.minimum((at - low) / (mid - low), (high - at) / (high - mid)), 0, None)
            for low, mid, high in zip(centres[:-2], centres[1:-1], centres[2:], strict=True)
        ]
    )
    energies = np.log(np.maximum(power[:, :256] @ weights.T, np.finfo(np.float32).eps))
    return dct(energies, norm="ortho")[:, :CEPSTRA]


def test_cepstra_are_those_of_the_recipe_by_hand(tone):
    sound = tone(150)
    found = mfcc(sound)
    assert found.shape == (1 + (len(sound) - 400) // 160, CEPSTRA)
    np.testing.assert_allclose(found, by_hand(sound), atol=0.02)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.1, 4.0))
def test_louder_changes_the_first_cepstrum_alone_and_nothing_after_normalisation(seed, gain):
    sound = (0.1 * np.random.default_rng(seed).standard_normal(RATE // 2)).astype(np.float32)
    once, louder = mfcc(sound), mfcc(np.float32(gain) * sound)
    np.testing.assert_allclose(louder[:, 1:], once[:, 1:], atol=2e-2)
    np.testing.assert_allclose(louder[:, 0] - once[:, 0], np.sqrt(40) * 2 * np.log(gain), atol=2e-2)
    np.testing.assert_allclose(normalised(louder), normalised(once), atol=2e-2)


@pytest.mark.parametrize("level", [0.0, 0.5])
def test_silence_gives_finite_numbers(level):
    cepstra = mfcc(np.full(RATE // 5, level, np.float32))
    assert np.isfinite(cepstra).all()
    assert (normalised(cepstra) == 0).all()
    assert np.isfinite(statistics_of(cepstra)).all()
    assert np.isfinite(statistics_of(normalised(cepstra))).all()


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 2**31))
def test_normalised_cepstra_have_mean_0_and_deviation_1(frames, dimensions, seed):
    cepstra = np.random.default_rng(seed).normal(3, 5, (frames, dimensions)).astype(np.float32)
    found = normalised(cepstra)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(found.std(0), float(frames > 1), atol=1e-3)
    vector = statistics_of(cepstra)
    pairs = min(dimensions, 8)
    assert vector.shape == (dimensions * (3 + len(LAGS)) + pairs * (pairs + 1) // 2,)
    assert np.isfinite(vector).all()


def test_statistics_by_independent_means(tone):
    cepstra = mfcc(tone(200)).astype(np.float64)
    vector = statistics_of(cepstra)
    np.testing.assert_allclose(vector[:CEPSTRA], cepstra.mean(0))
    np.testing.assert_allclose(vector[CEPSTRA : 2 * CEPSTRA], cepstra.std(0))
    np.testing.assert_allclose(vector[2 * CEPSTRA : 3 * CEPSTRA], (cepstra[1:] - cepstra[:-1]).std(0))
    covariance = EmpiricalCovariance().fit(cepstra[:, :8]).covariance_
    np.testing.assert_allclose(vector[60:96], covariance[np.triu_indices(8)])
    column = cepstra[:, 4] - cepstra[:, 4].mean()
    lagged = np.correlate(column, column, "full")[len(column) - 1 + LAGS[1]] / (len(column) - LAGS[1]) / column.var()
    assert vector[96 + CEPSTRA + 4] == pytest.approx(lagged)


def test_an_utterance_at_22050_hz_has_the_cepstra_of_one_at_16000_hz(tone):
    sound = tone(150, seconds=1.0)
    again = resampled(resampled(sound, RATE, 22050), 22050)
    assert len(again) == pytest.approx(len(sound), abs=2)
    one, other = (mfcc(s)[3:-3] for s in (sound, again))
    assert np.corrcoef(one[:, 1:].ravel(), other[:, 1:].ravel())[0, 1] > 0.98


def test_of_a_long_utterance_the_beginning_is_looked_at(tone):
    long = tone(150, seconds=CROP_S + 2)
    np.testing.assert_array_equal(mfcc(long), mfcc(long[: round(CROP_S * RATE)]))


def test_noise_has_the_power_that_is_asked_for_and_speed_shortens(tone):
    sound = tone(150, seconds=2.0)
    noise = with_noise(sound, 10.0, np.random.default_rng(0)) - sound
    assert 10 * np.log10((sound**2).mean() / (noise**2).mean()) == pytest.approx(10, abs=0.2)
    assert len(faster(sound, 110)) == pytest.approx(len(sound) / 1.1, abs=2)
    assert faster(sound, 100) is sound
    sine = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE).astype(np.float32)
    peak = [np.argmax(abs(np.fft.rfft(s, 1 << 16))) for s in (sine, faster(sine, 110))]
    assert peak[1] / peak[0] == pytest.approx(1.1, abs=0.002)


def test_the_regression_sees_nothing_of_the_rounding_of_what_normalising_takes_out():
    draw = np.random.default_rng(0)

    def made(number):
        cepstra = draw.standard_normal((40, 20)).astype(np.float32)
        cepstra[:, 0] += np.sin(np.arange(40) * (0.2 + 0.3 * (number % 3)))
        return Utterance("", "hin rus tha".split()[number % 3], "", "", cepstra, 0.4, 0)

    classifier = PooledClassifier(normalises=True)
    classifier.fit([made(number) for number in range(60)])
    tests = [made(number) for number in range(60)]
    shifted = [Utterance("", t.language, "", "", np.float32(3) * t.cepstra + np.float32(300), 0.4, 0) for t in tests]
    assert classifier.answer(shifted) == classifier.answer(tests)
