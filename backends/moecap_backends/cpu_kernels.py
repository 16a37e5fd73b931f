"""Which of PyTorch's two CPU kernels multiplies the weights when a single token is fed: oneDNN's or PyTorch's own.

Feeding one token is a matrix-vector product in every layer. In bf16 and fp16 one of the two kernels can take half the
time of the other, and which one depends on the processor; PyTorch always takes oneDNN. So the two are timed on the
model itself when it is opened, the faster one serves the passes over one token, and the result names it. All other
passes keep oneDNN.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from moecap.errors import BadInputError

__all__ = ["OneTokenKernel"]

CHOICES = ("auto", "on", "off")
ROUNDS = 3
ADVANTAGE = 0.8
"""PyTorch's own kernel serves if it takes at most this share of oneDNN's time: noise decides no near tie."""


class OneTokenKernel:
    """The kernel for passes over a single token.

    Args:
        choice: ``on`` or ``off`` for oneDNN, or ``auto`` to time both.
        feed_one: Feeds one token to the model.
        reduced: Whether the weights are in bf16 or fp16 on a CPU; otherwise ``auto`` keeps oneDNN untimed.

    Raises:
        BadInputError: If the choice is unknown.
    """

    def __init__(self, choice: str, feed_one: Callable[[], Any], reduced: bool) -> None:
        if choice not in CHOICES:
            raise BadInputError(f"engine argument onednn={choice}: not one of {', '.join(CHOICES)}")
        self._onednn = choice != "off"
        self.note = f"oneDNN {'on' if self._onednn else 'off'}, as asked" if choice != "auto" else "oneDNN on"
        if choice == "auto" and reduced and torch.backends.mkldnn.is_available():
            with_onednn, without = self._time(feed_one)
            self._onednn = without > ADVANTAGE * with_onednn
            times = f"{with_onednn * 1e3:.1f} ms a pass with it, {without * 1e3:.1f} ms without"
            self.note = f"oneDNN {'on' if self._onednn else 'off'}: {times}"

    @contextmanager
    def around(self, tokens: int) -> Iterator[None]:
        """Around a pass over that many tokens."""
        if tokens != 1 or self._onednn:
            yield
            return
        with _onednn(False):
            yield

    def _time(self, feed_one: Callable[[], Any]) -> tuple[float, float]:
        """Median seconds of a pass with oneDNN and without, taken in turns after one pass each."""
        times: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(1 + ROUNDS):
            for enabled, seconds in times.items():
                with _onednn(enabled):
                    start = time.perf_counter()
                    feed_one()
                    seconds.append(time.perf_counter() - start)
        return statistics.median(times[True][1:]), statistics.median(times[False][1:])


@contextmanager
def _onednn(enabled: bool) -> Iterator[None]:
    before = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = enabled
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = before
