"""Reads the file into which moecap's worker class in vLLM has put its steps (:mod:`moecap_backends.vllm_worker`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["RecordedStep", "read_steps"]


@dataclass(frozen=True, slots=True)
class RecordedStep:
    """One step as the worker recorded it.

    Attributes:
        start_ns: When it began, monotonic ns.
        duration_ns: How long it took, by the device's clock where it has one.
        sequences: vLLM's name of each sequence, with its entries before the step, the tokens that it was fed, and the
            length of its prompt.
        experts: Selected experts, [tokens, MoE layers, k]; ``None`` where they were not captured.
    """

    start_ns: int
    duration_ns: int
    sequences: list[tuple[str, tuple[int, int, int]]]
    experts: npt.NDArray[np.integer] | None


def read_steps(file: Path) -> Iterator[RecordedStep]:
    """The steps of a file, in their order."""
    with np.load(file, allow_pickle=False) as data:
        start, duration, count, captured = (data[n] for n in ("start_ns", "duration_ns", "sequences", "captured"))
        names, numbers, experts = data["request"], data["numbers"], data["experts"]
    ends = np.cumsum(count)
    row = 0
    for i, end in enumerate(ends):
        here = slice(end - count[i], end)
        fed = int(numbers[here, 1].sum())
        chosen = None
        if captured[i]:
            chosen, row = experts[row : row + fed], row + fed
        sequences = [
            (str(n), (int(a), int(b), int(c))) for n, (a, b, c) in zip(names[here], numbers[here], strict=True)
        ]
        yield RecordedStep(int(start[i]), int(duration[i]), sequences, chosen)
