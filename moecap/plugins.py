"""Backends, tasks and commands found through entry points; the built-in ones use the same door.

Listing names imports nothing: a plugin's module is imported only when its object is asked for.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from moecap.errors import NotAvailableError, UnknownNameError

__all__ = ["BACKENDS", "COMMANDS", "TASKS", "load_plugin", "plugin_names"]

BACKENDS = "moecap.backends"
TASKS = "moecap.tasks"
COMMANDS = "moecap.commands"

_KINDS = {BACKENDS: "backend", TASKS: "task", COMMANDS: "command"}


@cache
def _points(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


def plugin_names(group: str) -> list[str]:
    """Names of the plugins of a group, sorted; imports none of them."""
    return sorted(_points(group))


def load_plugin(group: str, name: str) -> Any:
    """Import a plugin's object.

    Raises:
        UnknownNameError: If no plugin of that name is installed.
        NotAvailableError: If its module cannot be imported, with the reason.
    """
    points = _points(group)
    if name not in points:
        raise UnknownNameError(_KINDS[group], name, points)
    try:
        return points[name].load()
    except (ImportError, AttributeError) as error:
        dist = points[name].dist
        origin = f" (from {dist.name} {dist.version})" if dist else ""
        raise NotAvailableError(
            f"{_KINDS[group]} {name!r}{origin} cannot be loaded: {error}; reinstall that package"
        ) from error
