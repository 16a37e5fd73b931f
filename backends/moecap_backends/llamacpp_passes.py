"""The passes of llama.cpp's model, as a library records them that is loaded before its server."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources, util
from pathlib import Path

import numpy as np
import numpy.typing as npt

from moecap.errors import NotAvailableError, RunError

__all__ = ["Pass", "PassFile"]

SOURCE = "llamacpp_passes.c"
COMPILERS = ("cc", "gcc", "clang")
WORD = 4

IntArray = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Pass:
    """One computed graph.

    Attributes:
        start_ns: When it began, monotonic ns.
        duration_ns: How long it took, by the host's clock.
        tokens: Token ids that it fed, [tokens].
        positions: Their places in their sequences, [tokens].
        experts: By number of the layer the experts that its router selected, [rows, k]; the last layer of the model
            has rows for those tokens alone whose logits are asked for.
    """

    start_ns: int
    duration_ns: int
    tokens: IntArray
    positions: IntArray
    experts: dict[int, IntArray]


class PassFile:
    """The library and the file that it writes, both in the folder of a server's log until they are closed.

    Args:
        log: The server's log.

    Raises:
        NotAvailableError: If there is no C compiler, or it fails.
    """

    def __init__(self, log: Path) -> None:
        self._file = log.absolute().with_name(f"{log.stem}-passes.bin")
        self._library = log.absolute().with_name(f"{log.stem}-passes.so")
        self._read = 0
        log.parent.mkdir(parents=True, exist_ok=True)
        _compile(self._library)

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables with which a server records."""
        found = util.find_spec("xllamacpp.xllamacpp")
        assert found is not None and found.origin is not None
        before = os.environ.get("LD_PRELOAD")
        loaded = f"{self._library}:{before}" if before else str(self._library)
        return {"LD_PRELOAD": loaded, "MOECAP_PASSES": str(self._file), "MOECAP_GGML": found.origin}

    def take(self) -> Iterator[Pass]:
        """Passes that have ended since the last call.

        Raises:
            RunError: If the file does not hold whole passes.
        """
        with self._file.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        self._read += len(data)
        return _passes(data)

    def skip(self) -> None:
        """Forget what has been recorded so far."""
        self._read = self._file.stat().st_size

    def close(self) -> None:
        """Remove both files."""
        for path in (self._file, self._library):
            path.unlink(missing_ok=True)


def _compile(library: Path) -> None:
    named = os.environ.get("CC")
    compiler = next((found for name in ([named] if named else COMPILERS) if (found := shutil.which(name))), None)
    if compiler is None:
        raise NotAvailableError(
            f"engine argument routing: {f'CC={named} is no program' if named else 'there is no C compiler'}; install "
            "one (Debian: apt-get install gcc libc6-dev), or leave it out"
        )
    with resources.as_file(resources.files("moecap_backends") / SOURCE) as source:
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip() or "nothing")
        raise NotAvailableError(f"engine argument routing: {compiler} fails: {said}; mend it, or leave it out")


def _passes(data: bytes) -> Iterator[Pass]:
    at = 0

    def words(count: int) -> IntArray:
        nonlocal at
        if count < 0 or at + count * WORD > len(data):
            raise RunError("llama.cpp's passes are not whole in their file; run it again, or without routing=true")
        found = np.frombuffer(data, np.int32, count, at)
        at += count * WORD
        return found

    while at < len(data):
        start, duration = (int(value) for value in words(4).view(np.int64))
        tokens, layers = (int(value) for value in words(2))
        fed, positions, experts = words(tokens), words(tokens), {}
        for _ in range(layers):
            layer, rows, k = (int(value) for value in words(3))
            experts[layer] = words(rows * k if min(rows, k) >= 0 else -1).reshape(rows, k)
        yield Pass(start, duration, fed, positions, experts)
