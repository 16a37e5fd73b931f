"""The tables that the method leaves, and what they say once they are found whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from moecap.errors import BadInputError
from moecap.observations.task_tables import column, declared
from moecap.tasks.method import Tables
from moecap.tasks.moicl.labels import LabelTree
from moecap.tasks.moicl.mixture import Array

__all__ = ["SPLITS", "TABLES", "Arranged", "Found", "read_tables"]

SPLITS = ("train", "test")

_SEED = column("seed", pa.int32(), "number of the draw of demonstrations and training items, from 0")
_ARRANGEMENT = column(
    "arrangement", pa.string(), "how demonstrations are laid out: kN for N experts, concat_train, random_search or lens"
)
_SPLIT = column("split", pa.string(), "train (weights are learned on it) or test")
_ITEM = column("item", pa.int32(), "number of the item in its split, from 0")
_EXPERT = column("expert", pa.int32(), "number of the expert, from 0")

TABLES: Mapping[str, pa.Schema] = {
    "learning": declared(
        column("vocabulary", pa.bool_(), "whether weights were learned with sums over the whole vocabulary"),
        column("pull", pa.float64(), "strength of the quadratic pull of the weights to the uniform ones"),
    ),
    "labels": declared(
        column("label", pa.int32(), "number of the label"),
        column("place", pa.int32(), "place of the token in the label, from 0"),
        column("edge", pa.int32(), "number of the token in the tree of all labels"),
        column("node", pa.int32(), "node of the tree at which the token is chosen"),
    ),
    "items": declared(_SEED, _SPLIT, _ITEM, column("gold", pa.int32(), "the right label")),
    "experts": declared(
        _SEED,
        _ARRANGEMENT,
        _EXPERT,
        column("demonstrations", pa.int32(), "demonstrations of the expert"),
        column("changed", pa.int32(), "those of them that show a wrong label"),
        column("foreign", pa.int32(), "those of them that are of another data set"),
    ),
    "scores": declared(
        _SEED,
        _ARRANGEMENT,
        _SPLIT,
        _ITEM,
        _EXPERT,
        column("edge", pa.int32(), "the token of the tree of labels"),
        column("log_probability", pa.float64(), "what the expert gives to it, nats over the whole vocabulary"),
    ),
    "sequences": declared(
        _SEED,
        _ARRANGEMENT,
        _SPLIT,
        _ITEM,
        _EXPERT,
        column("continuation", pa.int64(), "number under which the engine's steps name it"),
        column("tokens", pa.int32(), "tokens of demonstrations and query"),
        column("query_tokens", pa.int32(), "those of the query alone, which are new where the rest is cached"),
    ),
    "answers": declared(
        _SEED,
        _ARRANGEMENT,
        column("method", pa.string(), "how the weights were found"),
        _ITEM,
        column("right", pa.bool_(), "whether the generated answer is a right one, word for word"),
        column("tokens", pa.int32(), "tokens that were generated"),
    ),
    "weights": declared(
        _SEED,
        _ARRANGEMENT,
        column("method", pa.string(), "how the weights were found"),
        _EXPERT,
        column("weight", pa.float64(), "exponent of the expert's distribution"),
    ),
    "latency": declared(
        _SEED,
        _ARRANGEMENT,
        _ITEM,
        column("first_step", pa.int64(), "first of the engine's steps for all prompts of one test item"),
        column("end_step", pa.int64(), "the step after its last one; equal to the first where none is recorded"),
        column("wall_ns", pa.int64(), "time until all answers were there, ns, by the clock of the host"),
    ),
}
"""The columns of every table."""

Key = tuple[int, str]
"""Seed and arrangement."""


@dataclass(frozen=True, slots=True)
class Arranged:
    """One layout of the demonstrations of one seed.

    Attributes:
        scores: What each expert gives to each edge by split, [items, experts, edges].
        weights: The weights by method, each [experts].
        experts: The rows of the experts, in their order.
        sequences: The rows of the sequences of the test items.
    """

    scores: dict[str, Array] = field(default_factory=dict)
    weights: dict[str, Array] = field(default_factory=dict)
    experts: pd.DataFrame = field(default_factory=pd.DataFrame)
    sequences: pd.DataFrame = field(default_factory=pd.DataFrame)


@dataclass(frozen=True, slots=True)
class Found:
    """What the tables say.

    Attributes:
        tree: The labels.
        gold: The right label of each item by seed and split, [items].
        arranged: The layouts by seed and name, in the order of the table of scores.
        latency: Rows of the queries that were sent alone.
        pull: Strength of the pull of the weights; ``None`` where they were learned over the whole vocabulary, which the
            tables do not hold.
    """

    tree: LabelTree
    gold: dict[tuple[int, str], npt.NDArray[np.int64]]
    arranged: dict[Key, Arranged]
    latency: pd.DataFrame
    pull: float | None


def read_tables(tables: Tables) -> Found:
    """The tables as arrays.

    Raises:
        BadInputError: If they are not those of a run; it names the file.
    """
    tree = _tree(tables["labels"])
    gold = {
        (seed, split): _gold(rows, len(tree.paths)) for (seed, split), rows in _by(tables["items"], "seed", "split")
    }
    arranged: dict[Key, Arranged] = {}
    for (seed, name, split), rows in _by(tables["scores"], "seed", "arrangement", "split"):
        if split not in SPLITS or (seed, split) not in gold:
            raise _bad("scores", f"split {split!r} of seed {seed} has no items")
        grid = _grid(rows, len(gold[seed, split]), len(tree.node))
        arranged.setdefault((seed, name), Arranged()).scores[split] = grid
    for key, rows in _by(tables["experts"], "seed", "arrangement"):
        if key in arranged:
            arranged[key] = replace(arranged[key], experts=rows.sort_values("expert"))
    for key, rows in _by(tables["sequences"], "seed", "arrangement"):
        if key in arranged:
            arranged[key] = replace(arranged[key], sequences=rows)
    for (_, name), one in arranged.items():
        count = next(iter(one.scores.values())).shape[1]
        rows = one.experts
        if (
            not len(rows)
            or rows["expert"].tolist() != list(range(count))
            or any(scores.shape[1] != count for scores in one.scores.values())
        ):
            raise _bad("experts", f"the experts of {name} are not those of its scores")
    for (seed, name, method), rows in _by(tables["weights"], "seed", "arrangement", "method"):
        owner, ordered = arranged.get((seed, name)), rows.sort_values("expert")
        if owner is None or ordered["expert"].tolist() != owner.experts["expert"].tolist():
            raise _bad("weights", f"the weights of {method} are not one for each expert of {name}")
        owner.weights[method] = ordered["weight"].to_numpy()
    if len(tables["learning"]) != 1:
        raise _bad("learning", "it has not one row")
    learning = tables["learning"].iloc[0]
    pull = None if learning["vocabulary"] else float(learning["pull"])
    return Found(tree, gold, arranged, tables["latency"], pull)


def _by(table: pd.DataFrame, *columns: str) -> Iterator[tuple[Any, pd.DataFrame]]:
    """The rows of each combination of values that there is, in the order in which these come."""
    return iter(table.groupby(list(columns), sort=False))


def _tree(rows: pd.DataFrame) -> LabelTree:
    """The tree of labels, whose tokens themselves are not stored; each is told by its number."""
    numbers = rows[["edge", "node"]].to_numpy(np.int64)
    if numbers.min() < 0 or numbers.max() >= len(rows):
        raise _bad("labels", "there are more edges or nodes than tokens")
    paths, node = [], np.zeros(int(rows["edge"].max()) + 1, np.int64)
    for number, (label, of_label) in enumerate(rows.sort_values(["label", "place"]).groupby("label")):
        if label != number or of_label["place"].tolist() != list(range(len(of_label))):
            raise _bad("labels", "labels and places are not numbered 0, 1, 2 and so on")
        paths.append(tuple(int(edge) for edge in of_label["edge"]))
        node[of_label["edge"]] = of_label["node"]
    whole = sorted({edge for path in paths for edge in path}) == list(range(len(node)))
    if not whole or sorted(set(node.tolist())) != list(range(int(node.max()) + 1)):
        raise _bad("labels", "edges and nodes are not numbered 0, 1, 2 and so on")
    return LabelTree((), node, tuple(paths))


def _gold(rows: pd.DataFrame, labels: int) -> npt.NDArray[np.int64]:
    rows = rows.sort_values("item")
    if rows["item"].tolist() != list(range(len(rows))) or not rows["gold"].between(0, labels - 1).all():
        raise _bad("items", "items are not numbered 0, 1, 2 and so on, or a gold is no label")
    return rows["gold"].to_numpy(np.int64)


def _grid(rows: pd.DataFrame, items: int, edges: int) -> Array:
    """Scores as [items, experts, edges], of which every cell must be there once."""
    experts = int(rows["expert"].max()) + 1
    cells = rows[["item", "expert", "edge"]].to_numpy(np.int64)
    if len(rows) != items * experts * edges or (cells < 0).any() or (cells >= (items, experts, edges)).any():
        raise _bad("scores", "there is not one score for each item, expert and edge")
    grid = np.full((items, experts, edges), np.nan)
    grid[tuple(cells.T)] = rows["log_probability"]
    if np.isnan(grid).any() or (grid > 1e-6).any():
        raise _bad("scores", "a score is missing, comes twice, or is no logarithm of a probability")
    return grid


def _bad(table: str, what: str) -> BadInputError:
    return BadInputError(f"moicl.{table}.parquet: {what}; the run has to be repeated")
