"""A bound on YAML that anyone may have written: aliases and merges can make a thousand million nodes of a few lines."""

from __future__ import annotations

from typing import Any

import yaml

__all__ = ["refuse_yaml_bomb"]

MOST_NODES = 100_000
"""Values, keys, lists and mappings of a document, with every alias spelled out."""

MOST_DEPTH = 64


def refuse_yaml_bomb(content: str | bytes, loader: Any = yaml.SafeLoader) -> None:
    """Walk the events of a document, which takes constant stack, before anything is built from it.

    Args:
        content: The document.
        loader: The loader that will build it.

    Raises:
        ValueError: If it nests too deeply, or would have too many nodes.
        yaml.YAMLError: If it is no YAML.
    """
    sizes: dict[str | None, int] = {}
    open_nodes: list[tuple[str | None, int]] = []
    total = 0
    for event in yaml.parse(content, Loader=loader):
        if isinstance(event, yaml.AliasEvent):
            total += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.NodeEvent):
            total += 1
            if isinstance(event, yaml.ScalarEvent):
                sizes |= {event.anchor: 1} if event.anchor else {}
            else:
                open_nodes.append((event.anchor, total))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = total - before + 1
        if len(open_nodes) > MOST_DEPTH:
            raise ValueError(f"it nests too deeply: more than {MOST_DEPTH} lists and mappings inside each other")
        if total > MOST_NODES:
            raise ValueError(f"it has more than {MOST_NODES:,} values, with its aliases spelled out")
