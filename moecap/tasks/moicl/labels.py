"""Labels of one or several tokens: at each the mixture is renormalised over those that some label continues with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moecap.errors import BadInputError
from moecap.tasks.moicl.mixture import Array, Choices, mixed

__all__ = ["Edge", "LabelTree"]


@dataclass(frozen=True, slots=True)
class Edge:
    """One token that may follow.

    Attributes:
        before: The tokens of a label that come before it; none for a first token.
        token: The token.
    """

    before: tuple[int, ...]
    token: int


@dataclass(frozen=True, slots=True)
class LabelTree:
    """The tokens of all labels as a tree. Where one token alone can follow nothing is chosen, and no edge is kept.

    Attributes:
        edges: Every token that is a choice, each once, in the order of the labels.
        node: The node from which each edge starts, [edges].
        paths: The edges of each label in order.
        labels: The tokens of each label.
    """

    edges: tuple[Edge, ...]
    node: npt.NDArray[np.int64]
    paths: tuple[tuple[int, ...], ...]
    labels: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def of(cls, labels: Sequence[tuple[int, ...]]) -> LabelTree:
        """The tree of labels as token ids.

        Raises:
            BadInputError: If a label is empty, or begins as another one whole: then no token tells the two apart.
        """
        edges: dict[Edge, int] = {}
        nodes: dict[tuple[int, ...], int] = {}
        paths = []
        follows: dict[tuple[int, ...], set[int]] = {}
        for label in labels:
            for place, token in enumerate(label):
                follows.setdefault(label[:place], set()).add(token)
        for number, label in enumerate(labels):
            others = [other for i, other in enumerate(labels) if i != number]
            if not label or any(other[: len(label)] == label for other in others):
                raise BadInputError(f"label {number} is empty or the beginning of another label; choose other labels")
            steps = [Edge(label[:i], token) for i, token in enumerate(label) if len(follows[label[:i]]) > 1]
            for edge in steps:
                nodes.setdefault(edge.before, len(nodes))
                edges.setdefault(edge, len(edges))
            paths.append(tuple(edges[edge] for edge in steps))
        return cls(tuple(edges), np.array([nodes[edge.before] for edge in edges]), tuple(paths), tuple(labels))

    def log_probabilities(self, scores: Array, weights: Array) -> Array:
        """The mixture's log-probability of each label, nats.

        Args:
            scores: What each expert gives to each edge, [items, experts, edges].
            weights: One an expert, [experts].

        Returns:
            [items, labels]; over the labels they add up to 1.
        """
        logs = np.empty((scores.shape[0], scores.shape[2]))
        for node in range(int(self.node.max()) + 1):
            own = np.flatnonzero(self.node == node)
            logs[:, own] = mixed(scores[:, :, own], weights)
        return np.stack([logs[:, list(path)].sum(1) for path in self.paths], axis=1)

    def choices(self, scores: Array, gold: npt.NDArray[np.int64]) -> Choices:
        """The points at which labelled items choose a token, for the learning of weights.

        Args:
            scores: What each expert gives to each edge, [items, experts, edges].
            gold: The right label of each item, [items].
        """
        widest = int(np.bincount(self.node).max())
        points: list[Array] = []
        absent, right = [], []
        for item, label in enumerate(gold):
            for edge in self.paths[label]:
                own = np.flatnonzero(self.node == self.node[edge])
                point = np.zeros((scores.shape[1], widest))
                point[:, : len(own)] = scores[item][:, own]
                points.append(point)
                absent.append(np.arange(widest) >= len(own))
                right.append(int(np.flatnonzero(own == edge)[0]))
        return Choices(np.stack(points), np.stack(absent), np.array(right), len(gold))
