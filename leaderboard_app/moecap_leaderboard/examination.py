"""What the rules find in a folder of submitted files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from moecap.errors import BadInputError, MoecapError
from moecap.facts import result_facts
from moecap.observations.reader import read_observations
from moecap.publishing.disclosure import Finding, find_private
from moecap.publishing.withholding import WITHHOLDABLE, Partial, verify_without
from moecap.result import RESULT_FILE, Result, read_result
from moecap.verification.recomputation import verify_run
from moecap_leaderboard.rules import RULES
from moecap_leaderboard.rules.rule import Evidence

__all__ = ["Examination", "examine"]

Examination = dict[str, Any]
"""``rules`` (a report), ``recomputed`` (each metric as stated, as recomputed, and their difference), ``withheld`` and
``not_recomputed`` (names)."""


def examine(folder: Path, sent: Sequence[str]) -> Examination:
    """Recompute a result and apply every rule that follows from what was sent.

    Args:
        folder: ``result.json`` and the files that came with it.
        sent: Names of these.

    Raises:
        BadInputError: If the result does not fit its schema.
    """
    result = read_result(folder)
    absent = [name for name in result.observations if name not in sent]
    withheld = tuple(name for name in absent if name in WITHHOLDABLE)
    evidence = Evidence(
        result=result,
        sent=tuple(sent),
        withheld=withheld,
        missing=tuple(name for name in absent if name not in WITHHOLDABLE),
        surplus=tuple(name for name in sent if name not in result.observations),
        partial=verify_without(verify_run(folder), withheld, result.metrics) if sent else None,
        observations=None,
        facts=None,
        private=tuple(_private(folder, sent)),
    )
    evidence = _with_observations(evidence, folder)
    return {
        "rules": [rule.report(evidence) for rule in RULES],
        "recomputed": _compared(result, evidence.partial),
        "withheld": list(withheld),
        "not_recomputed": list(evidence.partial.not_recomputed) if evidence.partial else sorted(result.metrics),
    }


def _private(folder: Path, sent: Sequence[str]) -> Iterator[Finding]:
    for name in (RESULT_FILE, *sent):
        with suppress(BadInputError):  # a file that cannot be read breaks other rules
            yield from find_private(folder / name, ())


def _with_observations(evidence: Evidence, folder: Path) -> Evidence:
    if evidence.partial is None or evidence.partial.verification.problem:
        return evidence
    try:
        return replace(evidence, observations=read_observations(folder), facts=result_facts(evidence.result))
    except MoecapError:  # named by the rule of recomputation
        return evidence


def _compared(result: Result, partial: Partial | None) -> dict[str, dict[str, float | None]]:
    if partial is None:
        return {}
    found = partial.verification.recomputed
    return {
        name: _pair(stored.value, found[name].value if name in found else None)
        for name, stored in result.metrics.items()
        if name not in partial.not_recomputed
    }


def _pair(stored: float | None, own: float | None) -> dict[str, float | None]:
    difference = own - stored if own is not None and stored is not None else None
    return {"stored": stored, "recomputed": own, "difference": difference}
