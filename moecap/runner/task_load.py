"""The load that tasks make: their questions are the requests, so that accuracy and speed are of the same answers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from moecap.backend import Backend, Prompt
from moecap.config import TASKS_AS_LOAD, RunConfig
from moecap.data.texts import TEXT_SETS
from moecap.errors import BadInputError, NotAvailableError
from moecap.result import TaskRecord
from moecap.runner.asked import asked_arrivals
from moecap.runner.prompts import asked_sampling
from moecap.runner.workload import Workload, longest_conversation, refuse_idle_processes
from moecap.tasks.base import Task, TaskOptions
from moecap.tokenizer import Tokenizer

__all__ = [
    "TaskItems",
    "TaskLoad",
    "load_digest",
    "make_task_load",
    "refuse_other_prompts",
    "refuse_questions",
    "task_options",
    "task_records",
    "who_loads",
]

TaskItems = tuple[Task, Sequence[Any]]
"""A task with its items."""

OF_OTHER_LOADS = ("input_len", "length_spread", "shared_prefix_len", "turns", "turn_wait", "n", "stop", "texts")
"""Keys that say what another load is like, and nothing of one that tasks make."""


@dataclass(frozen=True, slots=True)
class TaskLoad:
    """The load of the tasks that generate.

    Attributes:
        config: The configuration with the numbers that follow from the tasks.
        tasks: All tasks of the run with their items, those that do not generate too.
        workload: What is sent.
        parts: The prompts of each task by its name, out of those of the load.
    """

    config: RunConfig
    tasks: tuple[TaskItems, ...]
    workload: Workload
    parts: dict[str, tuple[Prompt, ...]]


def who_loads(config: RunConfig, tasks: Sequence[Task]) -> RunConfig:
    """The configuration with the data set that ``auto`` stands for.

    Raises:
        BadInputError: If tasks are to make the load and none generates, or keys are given that they leave no room for.
    """
    generating = [task.name for task in tasks if task.generates]
    if config.dataset == "auto":
        config = config.model_copy(update={"dataset": TASKS_AS_LOAD if generating else TEXT_SETS[0]})
    if config.dataset != TASKS_AS_LOAD:
        return config
    if not generating:
        asked = ", ".join(config.task) or "none"
        raise BadInputError(f"--dataset tasks: no task generates (--task {asked}); name one that does, or a data set")
    default = RunConfig()
    others = [name for name in OF_OTHER_LOADS if getattr(config, name) != getattr(default, name)]
    others += ["lengths"] * (config.lengths == "asked") + ["arrival=trace"] * (config.arrival == "trace")
    if others:
        raise BadInputError(
            f"{others[0]}: the requests are the questions of {', '.join(generating)}; leave it out, or name a data set "
            "with --dataset and the questions are asked after its load"
        )
    return config


def task_options(
    config: RunConfig,
    arguments: Mapping[str, str],
    output_len: int | None,
    max_context: int,
    say: Callable[[str], None],
) -> TaskOptions:
    """How the tasks of a run are asked.

    Args:
        config: What was asked for, with the data set that gives the load.
        arguments: The user's task arguments.
        output_len: What the user gave as the length of answers, which caps those of tasks that make the load.
        max_context: Tokens that the model holds.
        say: Called with lines of progress.
    """
    capped = output_len if config.dataset == TASKS_AS_LOAD else None
    drawn = replace(asked_sampling(config), stop=(), n=1, exact=False)
    return TaskOptions(config.limit, config.data, arguments, say, config.concurrency, capped, max_context, drawn)


def make_task_load(
    config: RunConfig, tasks: Sequence[TaskItems], tokenizer: Tokenizer, max_context: int, backend: type[Backend]
) -> TaskLoad:
    """The questions of the tasks, one task after the other, as a load.

    A request of the warm-up is one of the load with its first token put last: as long, and of no use to the prefix
    cache of a server that others have used.

    Args:
        config: What was asked for.
        tasks: The tasks with their items.
        tokenizer: The model's tokenizer.
        max_context: Tokens that the model holds.
        backend: Who is asked.

    Raises:
        BadInputError: If there are too few questions, or other ones than asked for.
        NotAvailableError: If the backend cannot end their answers as they need.
    """
    warm = config.warmup.max_batches * config.concurrency
    asked = {task.name: task.prompts(items, tokenizer) for task, items in tasks if task.generates}
    numbers = iter(range(warm, warm + sum(map(len, asked.values()))))
    parts = {
        name: tuple(replace(prompt, id=_prompt_id(config, next(numbers))) for prompt in prompts)
        for name, prompts in asked.items()
    }
    prompts = tuple(prompt for part in parts.values() for prompt in part)
    if not prompts:
        raise BadInputError(f"task {', '.join(parts)}: it has no question; there is nothing to send")
    changed = config.num_requests != RunConfig().num_requests
    if "num_requests" in config.model_fields_set and changed and config.num_requests != len(prompts):
        raise BadInputError(
            f"--num-requests {config.num_requests}: the tasks have {len(prompts)} questions; leave it out and say "
            "--limit, or name a data set with --dataset"
        )
    if config.load == "closed" and len(prompts) < config.concurrency:
        raise BadInputError(
            f"{len(prompts)} questions never reach a concurrency of {config.concurrency}; ask for more questions "
            "(--limit) or less concurrency"
        )
    refuse_idle_processes(config, len(prompts))
    refuse_questions({name: asked[name] for name in parts}, backend)
    warmup = tuple(_moved(prompts[i % len(prompts)], _prompt_id(config, i)) for i in range(warm))
    due = asked_arrivals(config, len(prompts))
    longest_answer = max(prompt.output_tokens for prompt in prompts)
    return TaskLoad(
        config.model_copy(update={"num_requests": len(prompts), "output_len": longest_answer}),
        tuple(tasks),
        Workload(
            warmup=warmup,
            prompts=prompts,
            arrivals=None if due is None else tuple(float(seconds) for seconds in due),
            longest=longest_conversation(warmup, prompts, max_context),
            lengths="data",
        ),
        parts,
    )


def refuse_questions(asked: Mapping[str, Sequence[Prompt]], backend: type[Backend]) -> None:
    """Refuse questions that a backend cannot send as they are, or whose answers it cannot draw or end as they ask.

    Args:
        asked: The questions of each task by its name.
        backend: Who is asked.

    Raises:
        NotAvailableError: With what it cannot do with the answers.
        BadInputError: With a question that a server which applies the chat template would show the model otherwise.
    """
    needs = {need for prompts in asked.values() for prompt in prompts for need in prompt.sampling.needs}
    if missing := sorted(needs - backend.sampling):
        raise NotAvailableError(
            f"{missing[0]}: backend {backend.name!r} cannot do that, and the tasks' answers need it; take another "
            "backend or other tasks"
        )
    if not backend.templates:
        return
    for task, prompts in asked.items():
        plain = [prompt.id for prompt in prompts if not prompt.messages]
        if len(plain) == len(prompts) > 0:
            raise BadInputError(
                f"api=chat: the server puts the model's chat template around all that it is sent, and task {task} is "
                "asked without it; take --task-arg chat=true, or --engine-arg api=completions"
            )
        if plain:
            raise BadInputError(
                f"api=chat: question {plain[0]} is longer than the model's context holds, and the server would get it "
                "whole; take --engine-arg api=completions"
            )


def task_records(tasks: Sequence[TaskItems], tokenizer: Tokenizer, load: TaskLoad | None) -> tuple[TaskRecord, ...]:
    """What the result says of each task; ``load`` is that of the tasks where they make it."""
    in_load = load.parts if load is not None else {}
    return tuple(
        TaskRecord(name=task.name, version=task.version, in_load=task.name in in_load, **asdict(facts))
        for task, facts in ((task, task.facts(items, tokenizer)) for task, items in tasks)
    )


def refuse_other_prompts(config: RunConfig, records: Sequence[TaskRecord]) -> None:
    """Refuse prompts of tasks that are not those that the configuration names by their digest.

    Raises:
        BadInputError: With the two digests.
    """
    if config.dataset_sha256 not in (None, digest := load_digest(records)):
        raise BadInputError(
            f"dataset_sha256: the SHA-256 of the tasks' prompts is {digest}, asked for is {config.dataset_sha256}; "
            "take the same tasks, data and version of moecap"
        )


def load_digest(records: Iterable[TaskRecord]) -> str | None:
    """SHA-256 of the prompts of a load that tasks make: that of the one task, or of the digests of several, joined."""
    digests = [record.prompts_sha256 or "" for record in records if record.in_load]
    if len(digests) == 1:
        return digests[0] or None
    return hashlib.sha256("".join(digests).encode()).hexdigest() if digests else None


def _prompt_id(config: RunConfig, number: int) -> str:
    return f"{TASKS_AS_LOAD}-{config.seed}-{number}"


def _moved(prompt: Prompt, name: str) -> Prompt:
    return replace(prompt, id=name, tokens=(*prompt.tokens[1:], prompt.tokens[0]), messages=())
