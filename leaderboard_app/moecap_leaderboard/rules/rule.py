"""What a rule is, what it looks at, and what it finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from moecap.metrics.summary import RunFacts
from moecap.observations.reader import Observations
from moecap.publishing.disclosure import Finding as Disclosed
from moecap.publishing.withholding import Partial
from moecap.result import Result
from moecap.verification.statements import Difference

__all__ = ["Evidence", "Finding", "Rule", "failed", "finding_report", "flagged", "passed", "skipped"]

Outcome = Literal["passed", "failed", "flagged", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: a rule holds, is broken, is broken and only shown to be so, or has no subject.

    Attributes:
        outcome: Which of these.
        detail: What is the case, in one line; empty where the rule simply holds.
        differences: Numbers as stated and as recomputed.
    """

    outcome: Outcome
    detail: str = ""
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was sent.

    Attributes:
        result: The result.
        sent: Names of the observation files that came with it.
        withheld: Files that it names and that may stay at home.
        missing: Other files that it names and that did not come.
        surplus: Files that came and that it does not name.
        partial: What recomputation found; ``None`` where nothing came to recompute from.
        observations: The observations; ``None`` where they could not be read.
        facts: Model and hardware as the metrics take them; ``None`` likewise.
        private: What looks like a key, a home folder, a path or an address in what came.
    """

    result: Result
    sent: tuple[str, ...]
    withheld: tuple[str, ...]
    missing: tuple[str, ...]
    surplus: tuple[str, ...]
    partial: Partial | None
    observations: Observations | None
    facts: RunFacts | None
    private: tuple[Disclosed, ...] = ()

    @property
    def on_accelerator(self) -> bool:
        """Whether the hardware is an accelerator, whose datasheet bounds what can be."""
        return self.result.hardware.profile.kind == "accelerator"

    def value(self, metric: str) -> float | None:
        """The stated value of a metric; ``None`` where there is none."""
        found = self.result.metrics.get(metric)
        return found.value if found else None


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule.

    Attributes:
        id: Its name in reports.
        text: What must hold, in a sentence.
        check: Finds whether it does.
    """

    id: str
    text: str
    check: Callable[[Evidence], Finding] = field(repr=False)

    def report(self, evidence: Evidence) -> dict[str, Any]:
        """The rule with what its check found, as JSON."""
        return finding_report(self.id, self.text, self.check(evidence))


def finding_report(rule: str, text: str, finding: Finding) -> dict[str, Any]:
    """A line of a report, as JSON."""
    return {
        "id": rule,
        "text": text,
        "outcome": finding.outcome,
        "detail": finding.detail,
        "differences": [
            {"metric": d.metric, "stored": d.stored, "recomputed": d.recomputed} for d in finding.differences
        ],
    }


def passed(detail: str = "") -> Finding:
    """The rule holds."""
    return Finding("passed", detail)


def failed(detail: str, differences: tuple[Difference, ...] = ()) -> Finding:
    """The rule is broken: the submission is rejected."""
    return Finding("failed", detail, differences)


def flagged(detail: str) -> Finding:
    """The rule is broken where that can be; the row says so."""
    return Finding("flagged", detail)


def skipped(detail: str) -> Finding:
    """The rule has no subject here."""
    return Finding("skipped", detail)
