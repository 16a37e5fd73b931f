"""Tones in place of speech: cheap, and told apart by the same front end."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from moecap.data.audio import RATE


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tone():
    """A function from a fundamental in Hz to half a second of a buzz with vibrato, different for each seed."""

    def made(hertz, seed=0, seconds=0.5, rate=RATE):
        draw = np.random.default_rng(seed)
        time = np.arange(round(seconds * rate)) / rate
        phase = 2 * np.pi * hertz * (1 + 0.02 * draw.standard_normal()) * time + 2 * np.sin(2 * np.pi * 5 * time)
        sound = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 12))
        return (0.05 * sound + 0.002 * draw.standard_normal(len(time))).astype(np.float32)

    return made


@pytest.fixture(scope="session")
def write_sound(tone):
    """A function that writes a buzz to a path."""

    def write(path, hertz, seed=0, seconds=0.5, rate=RATE):
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone(hertz, seed, seconds, rate), rate)
        return path

    return write


@pytest.fixture(scope="session")
def kept_lists(tmp_path_factory, write_sound):
    """A folder with ``train.tsv`` and ``test.tsv``: three languages that are three fundamentals, two domains."""
    folder, draw = tmp_path_factory.mktemp("lists"), np.random.default_rng(0)
    for name, count, domains, speakers in (
        ("train", 12, ("studio", "radio"), ("ann", "bob")),
        ("test", 4, ("studio", "field"), ("ann", "cyd")),
    ):
        lines = []
        for language, hertz in (("hin", 110), ("rus", 180), ("tha", 260)):
            for number in range(count):
                path = f"{name}/{language}-{number}.wav"
                write_sound(folder / path, hertz, int(draw.integers(1 << 30)))
                cells = (f"{language}{number}", path, language, domains[number % 2], speakers[number % 2])
                lines.append("\t".join(cells))
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def lists(kept_lists, tmp_path):
    """A copy of the lists that a test can change."""
    return Path(shutil.copytree(kept_lists, tmp_path / "lists"))
