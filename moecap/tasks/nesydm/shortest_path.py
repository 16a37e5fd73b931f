"""The cheapest way over a square map, from the first cell to the last one, by Dijkstra's algorithm.

Each cell costs what its kind of ground costs, the first and the last one too; a step goes to any of eight neighbours.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

__all__ = ["COSTS", "path_cost", "same_cost", "shortest_path", "shortest_paths"]

COSTS = (0.8, 1.2, 5.3, 7.7, 9.2)
"""What a cell of each kind of ground costs in the Warcraft maps."""


def shortest_path(*ground: Any) -> tuple[Any, ...]:
    """1 for each cell on the cheapest way and 0 for the others; with several cheapest ways, one of them.

    Args:
        ground: The kind of ground of each cell, row by row: whole numbers, arrays or tensors of equal shape.
    """
    if hasattr(ground[0], "cpu"):  # a tensor, wherever it lies
        import torch

        kinds = torch.stack(ground, dim=-1)
        return tuple(torch.from_numpy(_ways(kinds.cpu().numpy())).to(kinds.device).unbind(-1))
    ways = _ways(np.stack(ground, axis=-1))
    return tuple(ways[..., cell] for cell in range(len(ground)))


def _ways(kinds: np.ndarray) -> np.ndarray:
    """0 or 1 for each cell of maps of kinds of ground, [..., cells]."""
    edge = math.isqrt(kinds.shape[-1])
    ways = shortest_paths(np.array(COSTS)[kinds].reshape(-1, edge, edge))
    return ways.reshape(kinds.shape).astype(np.int64)


def shortest_paths(costs: np.ndarray) -> np.ndarray:
    """Cells on the cheapest way over each of many maps.

    All maps are one graph without edges between them, so that one call of the library's Dijkstra answers for all.

    Args:
        costs: Cost of each cell, [maps, edge, edge], all above 0.

    Returns:
        Truth values, [maps, edge, edge].
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import dijkstra

    maps, edge = len(costs), costs.shape[-1]
    cells = edge * edge
    sources, targets = _steps(edge)
    offsets = np.arange(maps)[:, None] * cells
    rows, columns = (sources + offsets).ravel(), (targets + offsets).ravel()
    prices = costs.reshape(maps, cells)[:, targets].ravel()  # a step costs what the cell costs that it enters
    graph = csr_array((prices, (rows, columns)), shape=(maps * cells, maps * cells))
    starts = offsets.ravel()
    _, before, _ = dijkstra(graph, indices=starts, min_only=True, return_predecessors=True)
    on = np.zeros(maps * cells, dtype=bool)
    here = starts + cells - 1
    while len(here):
        on[here] = True
        here = before[here]
        here = here[here >= 0]
    return on.reshape(costs.shape)


def path_cost(ways: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """What the cells of ways cost, the first and the last one included.

    Args:
        ways: 0 or 1 for each cell, [..., cells].
        ground: The kind of ground of each cell, [..., cells].
    """
    cost: np.ndarray = (np.asarray(COSTS)[ground] * ways).sum(axis=-1)
    return cost


def same_cost(labels: np.ndarray, golds: np.ndarray, concepts: np.ndarray) -> np.ndarray:
    """Whether ways cost on the true map what the gold ones cost: cheapest ways are not unique."""
    close: np.ndarray = np.isclose(path_cost(labels, concepts), path_cost(golds, concepts))
    return close


@cache
def _steps(edge: int) -> tuple[np.ndarray, np.ndarray]:
    """Source and target of each step between neighbours on a square of ``edge`` cells, diagonal ones included."""
    rows, columns = np.divmod(np.arange(edge * edge), edge)
    near = (abs(rows[:, None] - rows) <= 1) & (abs(columns[:, None] - columns) <= 1)
    np.fill_diagonal(near, False)
    sources, targets = np.nonzero(near)
    return sources, targets
