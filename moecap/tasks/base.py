"""What an accuracy task is."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from moecap.backend import CAPABILITIES, NATURAL, Backend, Engine, Prompt, Sampling
from moecap.data.hub import HubFiles
from moecap.errors import BadInputError, NotAvailableError, UnknownNameError
from moecap.models.spec import ModelSpec
from moecap.observations.recorder import Recorder, RequestRecord
from moecap.plugins import BACKENDS, TASKS, load_plugin, plugin_names
from moecap.tokenizer import Tokenizer

__all__ = [
    "Task",
    "TaskFacts",
    "TaskFamily",
    "TaskOptions",
    "first_items",
    "load_task",
    "prompts_digest",
    "refuse_mismatch",
]

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """How a task is run.

    Attributes:
        limit: Items to run, the first ones of the data set; ``None`` for all.
        data: Folder with the data set in its published format, or ``None`` for the cache.
        arguments: The user's task arguments.
        progress: Called with one line of progress.
        concurrency: Requests in flight where the task generates.
        output_len: Most tokens of an answer, where the user gave a bound.
        max_context: Tokens that the model holds; ``None`` where that is not known.
        sampling: How answers are drawn, where the task does not say.
    """

    limit: int | None
    data: Path | None
    arguments: Mapping[str, str]
    progress: Callable[[str], None]
    concurrency: int = 1
    output_len: int | None = None
    max_context: int | None = None
    sampling: Sampling = NATURAL

    @property
    def folder(self) -> Path:
        """The folder with the data, of a task whose data is in no package."""
        assert self.data is not None, "a task without its data was not refused"
        return self.data


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """What a result says of a task beside its scores; what does not apply is ``None``.

    Attributes:
        items: Items that were asked for.
        prompts_sha256: SHA-256 over all its prompts in their order, as text with a zero byte after each.
        few_shot: Solved examples before each question.
        few_shot_seed: Seed with which they were drawn.
        chat: Whether the model's chat template was applied.
        source: Where the data came from, with its version or revision.
        limited: Whether a limit or an argument left items out; ``None`` where the task does not know.
        chat_date: The day that the chat template was told, YYYY-MM-DD; ``None`` where it did not ask.
    """

    items: int
    prompts_sha256: str | None = None
    few_shot: int | None = None
    few_shot_seed: int | None = None
    chat: bool | None = None
    source: str = ""
    limited: bool | None = None
    chat_date: str | None = None


class Task(ABC):
    """A task that gives an accuracy. Subclasses are registered under the entry-point group ``moecap.tasks``."""

    name: ClassVar[str]
    title: ClassVar[str]
    requires: ClassVar[frozenset[str]]
    metric: ClassVar[str]
    paper: ClassVar[str]
    source: ClassVar[str]
    hub: ClassVar[HubFiles | None] = None
    """Files on the Hugging Face hub that are its data, where no package carries it."""
    arguments: ClassVar[tuple[str, ...]] = ()
    """Names of the task's own arguments, beside those that all of its kind take."""
    narrowing: ClassVar[tuple[str, ...]] = ()
    """Those of its arguments that choose a part of its items."""
    version: ClassVar[str] = "1"
    """Changes whenever the same model could get another score: another prompt, data set or way of grading."""
    generates: bool = False
    """Whether it asks an engine to generate, so that its requests can be the load: ``prompts`` gives them then."""
    limited: bool | None = None
    """Whether the limit or an argument left items out, once they are loaded; ``None`` where that is not known."""

    data_source: str = ""
    """Where the data came from, once the items are loaded."""
    stopped: bool = False
    """Whether the run ends before its time."""

    def is_narrowed(self, options: TaskOptions) -> bool:
        """Whether an argument chooses a part of the items."""
        return any(name in options.arguments for name in self.narrowing)

    @property
    def takes(self) -> tuple[str, ...]:
        """Names of all its arguments."""
        return (*self.arguments, *(("revision",) if self.hub else ()))

    def needs(self, arguments: Mapping[str, str]) -> frozenset[str]:
        """What of ``requires`` it needs with the user's arguments; all of it, unless a task says otherwise."""
        return self.requires

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

    def training_bytes(self, items: Sequence[Any], tokenizer: Tokenizer, spec: ModelSpec, dtype: str) -> int:
        """Memory that training in the engine's model takes beside its weights, for the check before anything starts.

        Args:
            items: The items.
            tokenizer: The model's tokenizer.
            spec: The model.
            dtype: Number format of its activations.

        Returns:
            Bytes; 0 of a task that trains nothing in it, which is the default.
        """
        return 0

    def facts(self, items: Sequence[Any], tokenizer: Tokenizer) -> TaskFacts:
        """What the result says of these items."""
        return TaskFacts(len(items), source=self.data_source or self.source, limited=self.limited)

    def prompts(self, items: Sequence[Any], tokenizer: Tokenizer) -> Sequence[Prompt]:
        """The requests of a task that generates, one an item in their order; none of another."""
        return ()

    def samples(
        self, items: Sequence[Any], prompts: Sequence[Prompt], requests: Sequence[RequestRecord], tokenizer: Tokenizer
    ) -> Iterator[Mapping[str, Any]]:
        """The samples of a task that generates, from requests that a load has sent.

        Args:
            items: The items.
            prompts: What was sent for each, [items].
            requests: What was recorded of these prompts, and perhaps of others; an item whose request has not ended
                gives no sample.
            tokenizer: The model's tokenizer.
        """
        return iter(())

    def stop_asking(self) -> None:
        """Hear that the run ends before its time: from now on ``samples`` asks nobody anything more."""
        self.stopped = True

    def restated(self, item: Any, sample: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What a sample must say of its item, for a verification with the data set; ``None`` where nothing is known.

        Args:
            item: The item of the sample's ``id``.
            sample: The sample, whose answers and log-likelihoods are the engine's.
        """
        return None

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


def first_items(limit: int | None, ask: Callable[[int | None], Sequence[Item]]) -> tuple[Sequence[Item], bool]:
    """The first items of a data set, and whether there are more.

    Args:
        limit: How many at most; ``None`` for all.
        ask: Gives the items, a number of them at most.
    """
    if limit is None:
        return ask(None), False
    found = ask(limit + 1)
    return found[:limit], len(found) > limit


def prompts_digest(texts: Sequence[str]) -> str:
    """SHA-256 over prompts in their order, a zero byte after each; half a surrogate pair counts as a question mark."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode("utf-8", "replace") + b"\0")
    return digest.hexdigest()


class TaskFamily(ABC):
    """Many tasks behind one registered name, each of them called ``FAMILY:NAME``.

    What it says of itself is what a list of the tasks shows; each of its tasks says it for itself.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    requires: ClassVar[frozenset[str]]
    metric: ClassVar[str]
    paper: ClassVar[str]
    source: ClassVar[str]
    example: ClassVar[str]
    """Name of one of its tasks."""

    @abstractmethod
    def member(self, name: str) -> Task:
        """The task of that name; its data is not read yet.

        Raises:
            UsageError: If there is none, or what it needs is not installed.
        """


def load_task(name: str) -> Task:
    """A task by its registered name, or ``FAMILY:NAME``.

    Raises:
        UnknownNameError: If there is none of that name.
        BadInputError: If the name is that of a family.
    """
    plugin, colon, member = name.partition(":")
    found: Task | TaskFamily = load_plugin(TASKS, plugin)()
    if isinstance(found, TaskFamily):
        if not member:
            raise BadInputError(f"{plugin} is a family of tasks: name one of them, such as {plugin}:{found.example}")
        task = found.member(member)
    elif colon:
        raise UnknownNameError("task", name, plugin_names(TASKS), f"{plugin!r} is one task and no family")
    else:
        task = found
    unknown = task.requires - CAPABILITIES
    if unknown:
        raise NotAvailableError(f"task {name!r} requires {', '.join(sorted(unknown))}, which no backend can declare")
    return task


def refuse_mismatch(task: Task, backend: type[Backend], arguments: Mapping[str, str] | None = None) -> None:
    """Refuse a task whose needs a backend does not meet, naming the backends that would do.

    Args:
        task: The task.
        backend: The backend.
        arguments: The user's arguments of the task.

    Raises:
        NotAvailableError: Before anything is started.
    """
    needs = task.needs(arguments or {})
    missing = needs - backend.capabilities
    if missing:
        able = [n for n in plugin_names(BACKENDS) if needs <= load_plugin(BACKENDS, n).capabilities]
        would = f"backends that would do: {', '.join(able)}" if able else "no installed backend would do"
        raise NotAvailableError(
            f"task {task.name!r} needs {', '.join(sorted(missing))}, which backend {backend.name!r} lacks; {would}"
        )
