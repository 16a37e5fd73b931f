"""Remarks on what an accuracy rests on: how many items, whole prompts, whole answers, and under which load."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from moecap.config import RunConfig
from moecap.result import Flag, TaskRecord

__all__ = ["accuracy_flags"]


def accuracy_flags(
    workload: RunConfig, tasks: Sequence[TaskRecord], samples: Sequence[Mapping[str, Any]]
) -> Iterator[Flag]:
    """The flags of the tasks of a run.

    Args:
        workload: The configuration, as the result states it.
        tasks: The tasks.
        samples: What they found.
    """
    cut_short = workload.limit is not None
    limited = [record.name for record in tasks if record.limited or (record.limited is None and cut_short)]
    if limited:
        why = f"--limit {workload.limit}" if cut_short else "--task-arg"
        yield Flag(
            name="limited_tasks",
            level="warning",
            text=f"The accuracy of {', '.join(limited)} rests on a part of the items and not on all of them ({why}): "
            "such a result is in no main ranking.",
        )
    counts = Counter(str(sample.get("task")) for sample in samples)
    cut = Counter(str(sample.get("task")) for sample in samples if sample.get("cut"))
    for task, number in cut.items():
        yield Flag(
            name="prompts_cut",
            level="warning",
            text=f"{number} of {counts[task]} prompts of {task} were longer than the model's context holds with the "
            "answer, and were cut: the accuracy is that of questions of which a part is missing.",
        )
    truncated = Counter(
        str(sample.get("task"))
        for sample in samples
        if sample.get("outcome") == "truncated" and not sample.get("scored_when_truncated")
    )
    for task, number in truncated.items():
        yield Flag(
            name="answers_truncated",
            level="warning",
            text=f"{number} of {counts[task]} answers of {task} were cut off at their most tokens and count as wrong; "
            "a larger --task-arg max_tokens, or --output-len where it is given, would let them end.",
        )
    generated = {str(sample.get("task")) for sample in samples if sample.get("kind") == "generative"}
    apart = [record.name for record in tasks if not record.in_load and record.name in generated]
    if apart:
        yield Flag(
            name="accuracy_apart",
            level="info",
            text=f"The answers of {', '.join(apart)} were generated after the load and not under it: speed and cost "
            "are those of other requests.",
        )
