"""Step times for a simulation: a deployment's tabulated once, then read off one step at a time.

A step's time is a sum (:mod:`moecap.projection.step_time`), whose parts depend on little each:

- everything but the scores on the numbers of decoding sequences and of prompt tokens: a table of 2 dimensions;
- the scores of decode tokens on each sequence's context, in proportion to the sequences: a table of 1;
- the scores of a prompt's chunk on where it starts and how long it is: a table of 2.

Between the points of a table values are interpolated linearly in all dimensions. Grids are geometric, eight points to a
doubling, so that the error stays below 1 %.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
import numpy.typing as npt

from moecap.projection.coefficients import Coefficients
from moecap.projection.kernels import eager_kernels, replayed_tokens
from moecap.projection.step_time import StepTime, step_time
from moecap.projection.work import StepShape, WorkModel

__all__ = ["StepTable"]

Floats = npt.NDArray[np.float64]

_PER_DOUBLING = 8
_CORNER = 4.0


class StepTable:
    """Times of the steps of a deployment.

    Args:
        model: The work of the deployment.
        coefficients: Efficiencies and costs.
        sequences: Most sequences that decode at once.
        tokens: Most prompt tokens in a step.
        context: The longest context.
    """

    def __init__(
        self, model: WorkModel, coefficients: Coefficients, *, sequences: int, tokens: int, context: int
    ) -> None:
        engine, spec = model.deployment.engine, model.deployment.spec
        costs = coefficients.engine(engine)
        self._step, self._sequence = costs.step, costs.sequence / model.deployment.parallelism.data
        self._sequences, self._tokens = _grid(sequences), _grid(tokens)
        self._contexts, self._starts = _grid(context), _grid(context)
        batch, fed = np.meshgrid(self._sequences, self._tokens, indexing="ij")
        shapes = StepShape.of(batch.ravel(), 1.0, fed.ravel(), np.where(fed.ravel() > 0, 1.0, 0.0))
        work = model.work(shapes)
        self._replayed, self._everywhere = (k * coefficients.shared.prompt_kernel for k in eager_kernels(spec))
        self._most = replayed_tokens(engine, model.deployment.replayed_tokens) * model.deployment.parallelism.data
        rest = _device(step_time(work, coefficients, engine))
        self._device: list[list[float]] = [row.tolist() for row in rest.reshape(batch.shape)]
        one = step_time(model.work(StepShape.of(1.0, np.maximum(self._contexts, 1.0))), coefficients, engine)
        self._scores: list[float] = one.scores.tolist()
        start, new = np.meshgrid(self._starts, self._tokens, indexing="ij")
        chunk = model.work(StepShape.of(0.0, 1.0, new.ravel(), 1.0, start.ravel()))
        prompt_scores = step_time(chunk, coefficients, engine).prompt_scores
        self._prompt: list[list[float]] = [row.tolist() for row in prompt_scores.reshape(start.shape)]
        self._axes = {name: axis.tolist() for name, axis in self._named().items()}

    def decode(self, sequences: int, context: float) -> float:
        """Seconds of a step that feeds one token to each of some sequences, at their mean context."""
        if sequences == 0:
            return 0.0
        device = _plane(self._axes["sequences"], self._axes["tokens"], self._device, sequences, 0.0)
        return device + sequences * self.scores(context) + self._step + self._sequence * sequences

    def scores(self, context: float) -> float:
        """Seconds that the scores of one sequence take."""
        return _line(self._axes["contexts"], self._scores, context)

    def mixed(self, sequences: int, context: float, chunks: list[tuple[int, int]], ending: int) -> float:
        """Seconds of a step that also feeds chunks of prompts.

        Args:
            sequences: Sequences that decode.
            context: Their mean context.
            chunks: Where each chunk starts and how many tokens it has.
            ending: Prompts that end in this step.
        """
        fed = float(sum(new for _, new in chunks))
        device = _plane(self._axes["sequences"], self._axes["tokens"], self._device, sequences, fed)
        device += sequences * self.scores(context) if sequences else 0.0
        for start, new in chunks:
            device += _plane(self._axes["starts"], self._axes["tokens"], self._prompt, start, new)
        eager = self._replayed if sequences + fed <= self._most else self._everywhere
        slower = float((device**_CORNER + eager**_CORNER) ** (1.0 / _CORNER))
        return slower + self._step + self._sequence * (sequences + ending)

    def _named(self) -> dict[str, Floats]:
        return {
            "sequences": self._sequences,
            "tokens": self._tokens,
            "contexts": self._contexts,
            "starts": self._starts,
        }


def _device(time: StepTime) -> Floats:
    """Seconds of the device without scores and without what the host's launching adds."""
    parts = time.attention + time.experts + time.network + time.head + time.activations + time.collectives
    return np.asarray(parts + time.kernels, np.float64)


def _grid(most: int) -> Floats:
    """0 and then points at equal ratios up to the largest, whole where they are small."""
    doublings = max(1.0, np.log2(max(most, 2)))
    points = np.unique(np.rint(np.geomspace(1.0, max(most, 2), round(doublings * _PER_DOUBLING) + 1)))
    return np.concatenate([[0.0], points])


def _line(axis: list[float], values: list[float], at: float) -> float:
    low = min(bisect_right(axis, at), len(axis) - 1) - 1
    share = (at - axis[low]) / (axis[low + 1] - axis[low])
    return values[low] + share * (values[low + 1] - values[low])


def _plane(rows: list[float], columns: list[float], values: list[list[float]], row: float, column: float) -> float:
    low = min(bisect_right(rows, row), len(rows) - 1) - 1
    share = (row - rows[low]) / (rows[low + 1] - rows[low])
    first, second = _line(columns, values[low], column), _line(columns, values[low + 1], column)
    return first + share * (second - first)
