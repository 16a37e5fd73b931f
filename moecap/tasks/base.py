"""What an accuracy task is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from moecap.backend import CAPABILITIES, Backend, Engine
from moecap.errors import NotAvailableError
from moecap.observations.recorder import Recorder
from moecap.plugins import BACKENDS, TASKS, load_plugin, plugin_names
from moecap.tokenizer import Tokenizer

__all__ = ["Task", "TaskOptions", "load_task", "refuse_mismatch"]


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """How a task is run.

    Attributes:
        limit: Items to run, the first ones of the data set; ``None`` for all.
        data: Folder with the data set in its published format, or ``None`` for the cache.
        arguments: The user's task arguments.
        progress: Called with one line of progress.
    """

    limit: int | None
    data: Path | None
    arguments: Mapping[str, str]
    progress: Callable[[str], None]


class Task(ABC):
    """A task that gives an accuracy. Subclasses are registered under the entry-point group ``moecap.tasks``."""

    name: ClassVar[str]
    title: ClassVar[str]
    requires: ClassVar[frozenset[str]]
    metric: ClassVar[str]
    paper: ClassVar[str]
    source: ClassVar[str]

    @abstractmethod
    def items(self, options: TaskOptions) -> Sequence[Any]:
        """Load the items; called before anything starts, so that bad input costs nothing.

        Raises:
            UsageError: If the data is not here or not in its format.
        """

    def lengths(self, items: Sequence[Any], tokenizer: Tokenizer) -> Iterator[tuple[str, int]]:
        """Id of each item and the most tokens that one sequence of it takes, for the check before anything starts.

        A task that cuts its own prompts to the model's context has nothing to check, which is the default.
        """
        return iter(())

    @abstractmethod
    def run(
        self,
        items: Sequence[Any],
        engine: Engine,
        tokenizer: Tokenizer,
        recorder: Recorder,
        done: Callable[[int], None],
    ) -> Iterator[Mapping[str, Any]]:
        """Ask the engine and yield a sample for each item: ``task, id, prompt, answer, gold, scores``."""


def load_task(name: str) -> Task:
    """A task by its registered name.

    Raises:
        UnknownNameError: If there is none of that name.
    """
    task: Task = load_plugin(TASKS, name)()
    unknown = task.requires - CAPABILITIES
    if unknown:
        raise NotAvailableError(f"task {name!r} requires {', '.join(sorted(unknown))}, which no backend can declare")
    return task


def refuse_mismatch(task: Task, backend: type[Backend]) -> None:
    """Refuse a task whose needs a backend does not meet, naming the backends that would do.

    Raises:
        NotAvailableError: Before anything is started.
    """
    missing = task.requires - backend.capabilities
    if missing:
        able = [n for n in plugin_names(BACKENDS) if task.requires <= load_plugin(BACKENDS, n).capabilities]
        would = f"backends that would do: {', '.join(able)}" if able else "no installed backend would do"
        raise NotAvailableError(
            f"task {task.name!r} needs {', '.join(sorted(missing))}, which backend {backend.name!r} lacks; {would}"
        )
