"""Observation files that may stay where a run was made, and what of its result then rests on its author's word."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from moecap.verification.recomputation import Verification

__all__ = ["WITHHOLDABLE", "Partial", "verify_without"]

WITHHOLDABLE = ("environment.json", "samples.jsonl", "server.log")
"""Files whose absence leaves every metric of speed and cost to be recomputed."""

_FROM_SAMPLES = ("accuracy.", "task.", "tasks.", "workload.task.")
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
        unknown = tuple(sorted(name for name in metrics if name.startswith(("accuracy.", "task."))))
    corrupt = tuple(name for name in found.corrupt if name not in away)
    return Partial(replace(found, differences=left, corrupt=corrupt), unknown)


def _rests_on_samples(statement: str) -> bool:
    return statement.startswith(_FROM_SAMPLES) or statement in _FLAGS_FROM_SAMPLES
