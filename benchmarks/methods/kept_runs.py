"""Runs that the scripts of the methods make once: one that is complete is not made again, so that a script goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.settings import with_settings

__all__ = ["kept_run", "told"]


def kept_run(folder: Path, task: str, *arguments: str, **options: Any) -> dict[str, Any]:
    """The result of a run of a task on the embedded model, which is made unless it is there and complete.

    Args:
        folder: Its run directory; one that is there and not complete is kept under another name.
        task: Name of the task.
        arguments: Of the task, ``NAME=VALUE``.
        options: Other options of the run than all items, eight requests and the backend transformers.
    """
    path = folder / "result.json"
    if not path.exists() or json.loads(path.read_text())["status"] != "complete":
        if folder.exists():
            folder.rename(folder.with_name(f"{folder.name}~{len(list(folder.parent.glob(folder.name + '~*'))) + 1}"))
        common = {"backend": "transformers", "task": (task,), "task_arg": arguments, "limit": 0, "num_requests": 8}
        outcome = run(with_settings(common | options | {"output": str(folder)}, ()), Reporter())
        if outcome.error is not None:
            raise SystemExit(outcome.problem)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def told(metric: dict[str, Any] | None) -> str:
    """A metric with its interval; nothing where it has no value."""
    if metric is None or metric["value"] is None:
        return ""
    if metric["low"] is None:
        return f"{metric['value']:.3f}"
    return f"{metric['value']:.3f} ({metric['low']:.3f} to {metric['high']:.3f})"
