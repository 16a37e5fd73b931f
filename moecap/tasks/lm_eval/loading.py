"""Builds tasks of lm-eval with their data, and the requests of their items."""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moecap.errors import BadInputError, MoecapError, NotAvailableError
from moecap.tasks.arguments import number_argument, refuse_unknown_arguments, truth_argument
from moecap.tasks.base import TaskOptions
from moecap.tasks.lm_eval.catalogue import Leaf, manager
from moecap.tasks.lm_eval.data import BUILTIN, DataSource, at_hand, whence

__all__ = ["ARGUMENTS", "Conversation", "Item", "Settings", "load_items"]

ARGUMENTS = ("num_fewshot", "fewshot_seed", "chat", "max_length")
"""Arguments that every task of the harness takes here."""

FEWSHOT_SEED = 1234
"""Seed of the drawing of examples, the harness's own."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user says of a task of the harness.

    Attributes:
        shots: Solved examples before each question; ``None`` for the task's own number.
        seed: Seed with which they are drawn.
        chat: Whether the model's chat template is applied.
        max_length: Tokens of the model's context that are used; ``None`` for all.
    """

    shots: int | None = None
    seed: int = FEWSHOT_SEED
    chat: bool = False
    max_length: int | None = None

    @classmethod
    def of(cls, arguments: Mapping[str, str]) -> Settings:
        """Read ``--task-arg``.

        Raises:
            UnknownNameError: If there is no such argument.
            BadInputError: If a value is none that it can have.
        """
        refuse_unknown_arguments("lm-eval's tasks", arguments, ARGUMENTS)
        seed = number_argument(arguments, "fewshot_seed", 0)
        return cls(
            number_argument(arguments, "num_fewshot", 0),
            FEWSHOT_SEED if seed is None else seed,
            truth_argument(arguments, "chat") or False,
            number_argument(arguments, "max_length", 1),
        )


@dataclass(frozen=True, slots=True)
class Conversation:
    """A context that the model's chat template is still to make a text of.

    Attributes:
        messages: ``role`` and ``content`` of each turn.
        add_generation_prompt: Whether the model answers next, or goes on with the last turn.
    """

    messages: tuple[Mapping[str, str], ...]
    add_generation_prompt: bool


@dataclass(frozen=True, slots=True)
class Item:
    """One document of a task with what the model is asked for it.

    Attributes:
        id: Name of the task and the document's place in it.
        task: The task of the harness.
        doc: The document.
        requests: The harness's requests, whose contexts are texts or :class:`Conversation`.
        shots: Solved examples before the question.
        source: Where the document comes from.
    """

    id: str
    task: Any
    doc: Any
    requests: tuple[Any, ...]
    shots: int
    source: str


def load_items(
    name: str, leaves: Sequence[Leaf], settings: Settings, options: TaskOptions
) -> tuple[tuple[Item, ...], bool]:
    """The items of a task, or of each task of a group, ``options.limit`` of each, and whether it left any out.

    Args:
        name: Name in the harness.
        leaves: The tasks behind it.
        settings: The user's settings.
        options: What the run says.

    Raises:
        UsageError: If data is not here, or the task is none that can be run.
    """
    for leaf in leaves:
        _refuse(leaf)
    sources = _sources(leaves, settings, options.data)
    options.progress(f"lm_eval:{name}: building the requests of {len(leaves)} task{'s' * (len(leaves) > 1)}")
    with _quiet(), _seeded(), at_hand(sources, options.data) as used:
        loaded = _loaded(name)
        items: list[Item] = []
        limited = False
        for task in loaded.values():
            shots = _set_shots(task, settings)
            task.set_fewshot_seed(settings.seed)
            task.build_all_requests(
                limit=options.limit,
                apply_chat_template=settings.chat,
                fewshot_as_multiturn=settings.chat,
                chat_template=_keep if settings.chat else None,
            )
            source = used.get(f"{task.DATASET_PATH} {task.DATASET_NAME}", "made by the task")
            items += _items(task, shots, source)
            limited |= options.limit is not None and len(task.eval_docs) > options.limit
    return tuple(items), limited


def _refuse(leaf: Leaf) -> None:
    if leaf.config.get("unsafe_code"):
        raise NotAvailableError(
            f"lm-eval's {leaf.name} runs code that the model wrote, which moecap does not; take another task"
        )
    if leaf.config.get("doc_to_image") or leaf.config.get("doc_to_audio"):
        raise NotAvailableError(f"lm-eval's {leaf.name} asks about images or sounds, and moecap sends text alone")
    if int(leaf.config.get("repeats") or 1) > 1:
        raise NotAvailableError(
            f"lm-eval's {leaf.name} asks each question {leaf.config['repeats']} times, which is not built; "
            "take a task that asks once"
        )


def _sources(leaves: Sequence[Leaf], settings: Settings, data: Path | None) -> dict[tuple[str, str | None], DataSource]:
    sources: dict[tuple[str, str | None], DataSource] = {}
    needed: dict[tuple[str, str | None], list[str]] = {}
    for leaf in leaves:
        path, name = leaf.config.get("dataset_path"), leaf.config.get("dataset_name")
        if not isinstance(path, str) or path in BUILTIN or leaf.config.get("custom_dataset"):
            continue
        shots = leaf.shots if settings.shots is None else settings.shots
        wanted = (leaf.eval_split, leaf.example_split if shots else None)
        needed.setdefault((path, name), []).extend(split for split in wanted if split)
    for (path, name), splits in needed.items():
        sources[path, name] = whence(path, name, data, splits)
    return sources


def _loaded(name: str) -> dict[str, Any]:
    try:
        tasks: dict[str, Any] = manager().load(name)["tasks"]
    except MoecapError:
        raise
    except Exception as error:  # whatever a task's own code and the library of data sets raise
        reason = (str(error).strip().splitlines() or [""])[0]
        raise NotAvailableError(
            f"lm-eval's {name} cannot be built ({type(error).__name__}: {reason:.300}); mend that, or take another task"
        ) from error
    return tasks


def _set_shots(task: Any, settings: Settings) -> int:
    """Set the number of examples by the harness's own rule: a task that fixes none keeps to it."""
    own = task.get_config("num_fewshot")
    if settings.shots is not None and own == 0 and settings.shots > 0:
        raise BadInputError(f"--task-arg num_fewshot={settings.shots}: lm-eval's {task.task_name} fixes it at 0")
    shots = own or 0 if settings.shots is None else settings.shots
    task.set_config("num_fewshot", shots)
    return int(shots)


def _items(task: Any, shots: int, source: str) -> Iterator[Item]:
    documents: dict[int, list[Any]] = {}
    for request in task.instances:
        documents.setdefault(request.doc_id, []).append(request)
    for number, requests in documents.items():
        requests.sort(key=lambda request: request.idx)
        yield Item(f"{task.task_name}/{number}", task, requests[0].doc, tuple(requests), shots, source)


def _keep(messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> Conversation:
    """Stands for the chat template until the model's tokenizer is at hand."""
    return Conversation(tuple(messages), add_generation_prompt)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bars and notices of the harness and of ``datasets``."""
    import datasets

    shown = datasets.utils.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        if shown:
            datasets.enable_progress_bars()


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """The seeds that the harness sets before it builds tasks; what others draw goes on where it was."""
    states: tuple[Callable[[], None], ...] = _states()
    random.seed(0)
    np.random.seed(1234)
    try:
        yield
    finally:
        for restore in states:
            restore()


def _states() -> tuple[Callable[[], None], ...]:
    python, array = random.getstate(), np.random.get_state()
    return (lambda: random.setstate(python), lambda: np.random.set_state(array))
