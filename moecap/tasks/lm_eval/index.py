"""The harness's index of its tasks, kept in the cache: to read some fourteen thousand files takes seconds each time."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moecap.data.cache import cache_root
from moecap.errors import NotAvailableError
from moecap.files import write_text

__all__ = ["read_manager"]


def read_manager() -> Any:
    """The harness's manager of tasks with its whole index, from the cache where that is of the files as they are.

    A cache that cannot be written costs time and nothing else.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    import lm_eval.tasks
    from lm_eval.tasks import TaskManager

    folder = Path(lm_eval.tasks.__file__).parent
    try:
        path = cache_root() / "lm_eval" / f"index-{_digest(folder)}.json"
    except NotAvailableError:
        return TaskManager()
    if (kept := _read(path, folder)) is not None:
        manager = TaskManager(include_defaults=False)
        manager._index = kept
        return manager
    manager = TaskManager()
    _keep(path, folder, manager.task_index)
    return manager


def _digest(folder: Path) -> str:
    """What changes whenever a file of the index or its place does."""
    digest = hashlib.sha256(str(folder).encode())
    for top, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if name.endswith(".yaml"):
                status = Path(top, name).stat()
                digest.update(f"{top}/{name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _read(path: Path, folder: Path) -> dict[str, Any] | None:
    """The index that is kept; ``None`` where there is none, or it cannot be read."""
    from lm_eval.tasks._index import Entry, Kind

    try:
        kept = json.loads(path.read_bytes())
        return {
            name: Entry(name, Kind[kind], None if place is None else folder / place, config, set(tags))
            for name, (kind, place, config, tags) in kept.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _keep(path: Path, folder: Path, index: Mapping[str, Any]) -> None:
    rows = {
        name: [
            entry.kind.name,
            None if entry.yaml_path is None else str(entry.yaml_path.relative_to(folder)),
            entry.cfg,
            sorted(entry.tags),
        ]
        for name, entry in index.items()
    }
    try:
        path.parent.mkdir(exist_ok=True)
        for old in path.parent.glob("index-*.json"):
            old.unlink(missing_ok=True)
        write_text(path, json.dumps(rows))
    except (OSError, TypeError, ValueError):  # no room, or a configuration that JSON does not hold
        return
