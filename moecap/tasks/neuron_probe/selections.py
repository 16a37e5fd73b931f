"""Units that were selected elsewhere, scored: JSON lines in, overlaps with their probabilities out.

A line: ``{"lang": "fr", "attribute": "Number", "dims": [17, 4, ...]}``, with ``seed`` where there are several.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moecap.data.published import json_lines
from moecap.errors import BadInputError
from moecap.metrics.value import Metric
from moecap.tasks.neuron_probe.pairs import Selected, pairs_of
from moecap.tasks.neuron_probe.scores import pair_metrics
from moecap.tasks.neuron_probe.tables import NAME
from moecap.tasks.neuron_probe.words import NAMES

__all__ = ["scored_selections"]


def scored_selections(path: Path, units: int, count: int) -> tuple[list[Mapping[str, Any]], dict[str, Metric]]:
    """A sample of every pair of languages, and the overlaps.

    Args:
        path: The file.
        units: Units in all, D.
        count: Units of each line, k.

    Raises:
        BadInputError: With file and line of what is wrong.
    """
    if units < count:
        raise BadInputError(f"--task-arg dim={units}: {count} units cannot be selected of so few")
    if not path.is_file():
        raise BadInputError(f"{path}: no such file; give JSON lines with lang, attribute and dims")
    selections: dict[tuple[str, str, int], Selected] = {}
    for where, row in json_lines(path):
        one = _selected(where, row, units, count)
        if selections.setdefault((one.language, one.attribute, one.seed), one) is not one:
            raise BadInputError(f"{where}: a second line for {one.attribute} of {one.language!r}; leave one out")
    pairs = pairs_of(selections.values(), units)
    if not pairs:
        raise BadInputError(f"{path}: no attribute of two languages, so nothing can overlap; give two or more")
    samples: list[Mapping[str, Any]] = [
        {
            "task": NAME,
            "kind": NAME,
            "part": pair.attribute,
            "id": f"{'-'.join(pair.languages)}-{pair.attribute}" + (f"-{pair.seed}" if pair.seed else ""),
            "shared": pair.shared,
            "overlap": pair.overlap,
            "probability": pair.probability,
            "adjusted": pair.adjusted,
            "significant": pair.significant,
            "scores": {},
        }
        for pair in pairs
    ]
    return samples, pair_metrics(pairs, count / units)


def _selected(where: str, row: Mapping[str, Any], units: int, count: int) -> Selected:
    for name, kind in (("lang", "language"), ("attribute", "attribute")):
        if not isinstance(row.get(name), str) or not NAMES[kind].fullmatch(row[name]):
            raise BadInputError(f"{where}: no {name}; give it as letters and digits")
    dims, seed = row.get("dims"), row.get("seed", 0)
    if not isinstance(dims, list) or not all(_is_whole(dim) and dim < units for dim in dims):
        raise BadInputError(f"{where}: dims are not whole numbers from 0 to {units - 1}")
    if len(set(dims)) < len(dims):
        twice = next(dim for place, dim in enumerate(dims) if dim in dims[:place])
        raise BadInputError(f"{where}: dim {twice} comes twice; each unit can be selected once")
    if len(dims) != count:
        raise BadInputError(f"{where}: {len(dims)} dims in place of {count}; give so many, or --task-arg k={len(dims)}")
    if not _is_whole(seed):
        raise BadInputError(f"{where}: seed {seed!r} is not a whole number from 0")
    return Selected(row["lang"], row["attribute"], seed, frozenset(dims))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
