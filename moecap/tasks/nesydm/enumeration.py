"""Exact sums over all concepts, for programs whose groups of concepts are few enough to be listed.

The groups of a program do not meet, so that probabilities of labels multiply and entropies add.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from moecap.errors import BadInputError
from moecap.tasks.nesydm.programs import Program

__all__ = ["Worlds", "refuse_many"]

MOST_WORLDS = 200_000
"""Combinations of the values of a group's concepts."""


def refuse_many(program: Program) -> None:
    """Refuse a program whose concepts cannot be listed.

    Raises:
        BadInputError: If a group of its concepts has too many combinations.
    """
    for concepts, _ in program.parts():
        if program.values ** len(concepts) > MOST_WORLDS:
            raise BadInputError(
                f"{program.name} has {program.values}^{len(concepts)} combinations of concepts, too many to list, as "
                "all predictors but nesydm do; give --task-arg predictors=nesydm"
            )


class Worlds:
    """Every combination of values of each group of a program's concepts, by the outputs that follow.

    Args:
        program: The program.
        device: Where the tables lie.

    Raises:
        BadInputError: If a group has too many.
    """

    def __init__(self, program: Program, device: str = "cpu") -> None:
        refuse_many(program)
        self.concepts = program.concepts
        self._groups = [_Group(program, *block, device) for block in program.parts()]

    def log_probability(self, log_probabilities: Tensor, labels: Tensor) -> Tensor:
        """Logarithm of the probability of a label under independent concepts (weighted model count), [B].

        Args:
            log_probabilities: Natural logarithms, [B, C, V].
            labels: [B, Y].
        """
        total = log_probabilities.new_zeros(len(labels))
        for group in self._groups:
            total = total + group.fitting(log_probabilities, labels).logsumexp(-1)
        return total

    def conditional_entropy(self, log_probabilities: Tensor, labels: Tensor) -> Tensor:
        """Entropy of the concepts given the label, a concept, in nats: H[p(c | x, y)] / C, [B].

        Args:
            log_probabilities: Natural logarithms of independent concepts, [B, C, V].
            labels: [B, Y], of which each can follow from some concepts.
        """
        total = log_probabilities.new_zeros(len(labels))
        for group in self._groups:
            given = group.fitting(log_probabilities, labels).log_softmax(-1)
            finite = torch.where(torch.isfinite(given), given, 0.0)  # 0 · log 0 is 0
            total = total - (given.exp() * finite).sum(-1)
        return total / self.concepts


class _Group:
    """The worlds of one group of concepts: a row of them for each outcome, filled up to equal length."""

    def __init__(self, program: Program, concepts: Sequence[int], outputs: Sequence[int], device: str) -> None:
        self._concepts, self._outputs = list(concepts), list(outputs)
        listed = torch.cartesian_prod(*[torch.arange(program.values)] * len(concepts)).reshape(-1, len(concepts))
        whole = torch.zeros(len(listed), program.concepts, dtype=torch.long)
        whole[:, self._concepts] = listed
        self._powers = (program.output_values ** torch.arange(len(outputs))).to(device)
        codes = (program(whole)[:, self._outputs] * self._powers.cpu()).sum(-1)
        order = codes.argsort(stable=True)
        outcomes, row, sizes = codes[order].unique_consecutive(return_inverse=True, return_counts=True)
        place = torch.arange(len(order)) - (sizes.cumsum(0) - sizes)[row]
        worlds = torch.zeros(len(outcomes), int(sizes.max()), len(concepts), dtype=torch.long)
        worlds[row, place] = listed[order]
        self._outcomes, self._worlds, self._sizes = outcomes.to(device), worlds.to(device), sizes.to(device)

    def fitting(self, log_probabilities: Tensor, labels: Tensor) -> Tensor:
        """Log-probability of each world that gives the label's outputs, [B, worlds]; minus infinity elsewhere."""
        codes = (labels[:, self._outputs] * self._powers).sum(-1)
        row = torch.searchsorted(self._outcomes, codes).clamp(max=len(self._outcomes) - 1)
        worlds = self._worlds[row]  # [B, worlds, concepts]
        of_concept = log_probabilities[:, self._concepts].gather(2, worlds.transpose(1, 2))
        sizes = torch.where(self._outcomes[row] == codes, self._sizes[row], 0)
        beyond = torch.arange(worlds.shape[1], device=worlds.device) >= sizes[:, None]
        return of_concept.sum(1).masked_fill(beyond, -torch.inf)
