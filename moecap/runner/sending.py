"""What a run sends: the load, made of a data set or by the tasks, and the tasks' questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from moecap.backend import Backend
from moecap.config import RunConfig
from moecap.data.recording import Recording
from moecap.errors import BadInputError
from moecap.models.spec import ModelSpec
from moecap.result import TaskRecord
from moecap.runner.asked import repeat_config
from moecap.runner.task_load import (
    TaskItems,
    TaskLoad,
    load_digest,
    refuse_other_prompts,
    refuse_questions,
    task_records,
)
from moecap.runner.workload import Workload, make_workload, read_load
from moecap.tasks.base import Task, TaskOptions
from moecap.tokenizer import Tokenizer

__all__ = ["Sending", "make_sending"]


@dataclass(frozen=True, slots=True)
class Sending:
    """Everything that is sent.

    Attributes:
        tasks: The accuracy tasks with their items.
        task_records: What the result says of each of them.
        task_load: The load, where the tasks make it.
        workload: The load.
        again: The loads of the second and later repeats.
        longest: Tokens of the longest sequence with what is answered, of the load and of questions that follow it.
        longest_scored: Tokens of the longest given answer with its context, which are scored and never generated.
        dataset_sha256: Digest of the file of the data set, or of the tasks' prompts; ``None`` for a data set that
            moecap knows by name.
    """

    tasks: tuple[TaskItems, ...]
    task_records: tuple[TaskRecord, ...]
    task_load: TaskLoad | None
    workload: Workload
    longest: int
    longest_scored: int
    dataset_sha256: str | None
    again: tuple[Workload, ...] = ()

    @property
    def loads(self) -> tuple[Workload, ...]:
        """The load of each repeat."""
        return self.workload, *self.again


def make_sending(
    config: RunConfig,
    recording: Recording,
    tasks: Sequence[Task],
    options: TaskOptions,
    task_load: TaskLoad | None,
    backend: type[Backend],
    tokenizer: Tokenizer,
    spec: ModelSpec,
) -> Sending:
    """Load the items of the tasks and make the load.

    Args:
        config: What was asked for.
        recording: The data set.
        tasks: The accuracy tasks.
        options: How they are asked.
        task_load: The load that the tasks make, with their items; ``None`` for one of the data set.
        backend: Who is asked.
        tokenizer: The model's tokenizer.
        spec: The model.

    Raises:
        UsageError: If items or requests do not fit the model or the backend, or are other ones than asked for.
    """
    if task_load is not None:
        items, workload = task_load.tasks, task_load.workload
        scored = _longest_scored(items, tokenizer, spec)
        records = task_records(items, tokenizer, task_load)
        refuse_other_prompts(config, records)
        return Sending(items, records, task_load, workload, workload.longest, scored, load_digest(records))
    items = tuple((task, task.items(options)) for task in tasks)
    scored = _longest_scored(items, tokenizer, spec)
    following = {task.name: task.prompts(of, tokenizer) for task, of in items}
    refuse_questions(following, backend)
    records = task_records(items, tokenizer, None)
    workload = make_workload(config, recording, backend, tokenizer, spec.max_context)
    drawn = [repeat_config(config, number) for number in range(1, config.repeats)]
    again = tuple(make_workload(c, read_load(c), backend, tokenizer, spec.max_context) for c in drawn)
    asked = [prompt for prompts in following.values() for prompt in prompts]
    longest = max((len(prompt.tokens) + prompt.output_tokens for prompt in asked), default=0)
    longest = max(longest, *(load.longest for load in (workload, *again)))
    return Sending(items, records, None, workload, longest, scored, recording.sha256, again)


def _longest_scored(tasks: Sequence[TaskItems], tokenizer: Tokenizer, spec: ModelSpec) -> int:
    """Tokens of the longest item that is scored, its last one, which is never fed, included; 0 where there is none.

    Raises:
        BadInputError: If the model's context cannot hold an item, before the load is measured and not after.
    """
    longest = 0
    for task, items in tasks:
        for name, tokens in task.lengths(items, tokenizer):
            if tokens > spec.max_context:
                raise BadInputError(
                    f"task {task.name!r}: item {name!r} takes {tokens} tokens, the model holds {spec.max_context}; "
                    "leave the task out or choose a model with a longer context"
                )
            longest = max(longest, tokens + 1)
    return longest
