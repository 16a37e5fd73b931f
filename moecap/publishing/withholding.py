"""Observation files that may stay where a run was made, and what of its result then rests on its author's word."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from moecap.tasks.method import of_method
from moecap.verification.recomputation import Verification

__all__ = ["WITHHOLDABLE", "Partial", "scored_by_samples", "verify_without"]

WITHHOLDABLE = ("environment.json", "samples.jsonl", "server.log")
"""Files whose absence leaves every metric of speed and cost to be recomputed."""

_STATED_OF_SAMPLES = ("tasks.", "workload.task.")
_FLAGS_FROM_SAMPLES = ("flags.prompts_cut", "flags.answers_truncated", "flags.accuracy_apart")


@dataclass(frozen=True, slots=True)
class Partial:
    """The outcome of a recomputation from a part of the files.

    Attributes:
        verification: What was found in the files that are there.
        not_recomputed: Metrics that rest on files that are not.
    """

    verification: Verification
    not_recomputed: tuple[str, ...]


def verify_without(found: Verification, withheld: Collection[str], metrics: Collection[str]) -> Partial:
    """What a verification says where files stayed away on purpose.

    Args:
        found: The verification of the directory as it is.
        withheld: Files that are not there, out of :data:`WITHHOLDABLE`; any other one that is missing stays corrupt.
        metrics: Names of the result's metrics.
    """
    away = set(withheld) & set(WITHHOLDABLE)
    if "samples.jsonl" not in away:
        left = found.differences
        unknown: tuple[str, ...] = ()
    else:
        left = tuple(d for d in found.differences if not _rests_on_samples(d.metric))
        unknown = tuple(sorted(name for name in metrics if scored_by_samples(name)))
    corrupt = tuple(name for name in found.corrupt if name not in away)
    return Partial(replace(found, differences=left, corrupt=corrupt), unknown)


def scored_by_samples(metric: str) -> bool:
    """Whether a metric rests on samples: every score of a task, but for what follows from the tables of a method."""
    return metric.startswith("accuracy.") or (metric.startswith("task.") and not of_method(metric))


def _rests_on_samples(statement: str) -> bool:
    of_task = statement.startswith(_STATED_OF_SAMPLES) or statement in _FLAGS_FROM_SAMPLES
    return of_task or scored_by_samples(statement)
