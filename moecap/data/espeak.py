"""Synthetic speech by eSpeak NG, which the package espeakng-loader brings for most platforms (GPL-3, a program apart).

The synthesiser keeps state from one utterance to the next, so that a new process speaks a whole list in its order: the
same list gives the same samples. The process is this module; it reads what to say as JSON from its input and writes the
samples of each to its output.
"""

from __future__ import annotations

import ctypes
import json
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata, util
from typing import NamedTuple

import numpy as np

from moecap.errors import NotAvailableError, RunError

__all__ = ["VOICES", "Said", "espeak_version", "speak"]

VOICES = {
    "ind": "id", "eus": "eu", "tam": "ta", "kan": "kn", "tel": "te", "hin": "hi", "mar": "mr", "por": "pt",
    "rus": "ru", "eng": "en-us", "tha": "th",
}  # fmt: skip
"""The voice of each language of SIGTYP 2021 that eSpeak NG speaks, eleven of the sixteen."""

_SYNCHRONOUS = 2
_WORDS_A_MINUTE, _PITCH = 1, 3
_UTF8 = 1
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Said(NamedTuple):
    """What is to be said, and how.

    Attributes:
        text: The words.
        voice: The language's voice, such as ``en-us``.
        speaker: A variant of the voice, such as ``f2``.
        speed: Words a minute.
        pitch: From 0 to 99; 50 is usual.
    """

    text: str
    voice: str
    speaker: str
    speed: int = 160
    pitch: int = 50


def espeak_version() -> str:
    """The package and its version.

    Raises:
        NotAvailableError: If it is not installed.
    """
    if util.find_spec("espeakng_loader") is None:
        raise NotAvailableError("espeakng-loader is not installed; pip install 'moecap[methods]'")
    return f"espeakng-loader {metadata.version('espeakng-loader')}"


def speak(said: Sequence[Said], seed: int) -> Iterator[tuple[np.ndarray, int]]:
    """The samples of each, [n], 32-bit fractions from -1 to 1, with their number a second.

    Args:
        said: What is to be said; all of it decides about each.
        seed: Of the synthesiser's own noise.

    Raises:
        NotAvailableError: If the synthesiser is not installed.
        RunError: If it fails.
    """
    espeak_version()
    asked = json.dumps({"seed": seed, "said": said}).encode()
    done = subprocess.run([sys.executable, "-P", "-m", __name__], input=asked, capture_output=True, check=False)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise RunError(f"eSpeak NG failed ({reason}); reinstall it (pip install --force-reinstall espeakng-loader)")
    yield from _unpacked(done.stdout)


def _unpacked(output: bytes) -> Iterator[tuple[np.ndarray, int]]:
    (rate,) = struct.unpack_from("<i", output)
    place = 4
    while place < len(output):
        (n,) = struct.unpack_from("<i", output, place)
        samples = np.frombuffer(output, "<i2", n, place + 4)
        yield samples.astype(np.float32) / 32768, rate
        place += 4 + 2 * n


def _serve() -> None:
    """Say what the input asks for."""
    import espeakng_loader

    asked = json.load(sys.stdin)
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
    if rate <= 0:
        raise SystemExit("it cannot read its data")
    heard: list[bytes] = []

    def hear(samples: ctypes._Pointer[ctypes.c_short], n: int, _events: int | None) -> int:
        if samples and n > 0:
            heard.append(ctypes.string_at(samples, 2 * n))
        return 0

    callback = _CALLBACK(hear)
    library.espeak_SetSynthCallback(callback)
    output = sys.stdout.buffer
    output.write(struct.pack("<i", rate))
    for one in (Said(*values) for values in asked["said"]):
        heard.clear()
        name = f"{one.voice}+{one.speaker}"
        if library.espeak_SetVoiceByName(name.encode()):
            raise SystemExit(f"it has no voice {name}")
        library.espeak_ng_SetRandSeed(asked["seed"])
        library.espeak_SetParameter(_WORDS_A_MINUTE, one.speed, 0)
        library.espeak_SetParameter(_PITCH, one.pitch, 0)
        text = one.text.encode() + b"\0"
        library.espeak_Synth(text, len(text), 0, 1, 0, _UTF8, None, None)
        samples = b"".join(heard)
        output.write(struct.pack("<i", len(samples) // 2) + samples)


if __name__ == "__main__":
    _serve()
