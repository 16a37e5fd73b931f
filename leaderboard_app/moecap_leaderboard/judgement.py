"""What follows from an examination: whether a submission is published, held or rejected, and what its row says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from moecap.result import Result
from moecap_leaderboard.examination import Examination
from moecap_leaderboard.rows import Row, row_of_result
from moecap_leaderboard.rules.record import RECORD_RULES
from moecap_leaderboard.rules.rule import Finding, finding_report

__all__ = ["Judgement", "judge"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What becomes of a submission.

    Attributes:
        state: Whether it is published, waits for a moderator, or is rejected.
        reason: Why, where it is not published.
        found: The examination, with the rules that rest on what the leaderboard knows.
        row: Its row, with the flags that the leaderboard adds.
        signed: Whether its signature counts.
        recomputed: Whether every number follows from the observations.
        reproduces_within: Whether it repeats another result within the margins.
    """

    state: Literal["published", "pending", "rejected"]
    reason: str | None
    found: Examination
    row: Row
    signed: bool
    recomputed: bool
    reproduces_within: bool


def judge(result: Result, found: Examination, standings: Mapping[str, Finding], *, review: bool) -> Judgement:
    """Decide.

    Args:
        result: What was sent.
        found: What its examination found.
        standings: What the rules find that rest on what the leaderboard knows, by their ids.
        review: Whether a moderator must look at each submission.
    """
    rules = [*found["rules"], *(finding_report(key, RECORD_RULES[key], value) for key, value in standings.items())]
    remarks = [
        {"name": f"rule.{rule['id']}", "level": "warning", "text": rule["detail"]}
        for rule in rules
        if rule["outcome"] == "flagged" and rule["id"] not in standings
    ]
    recomputed = any(rule["id"] == "recomputation" and rule["outcome"] == "passed" for rule in rules)
    state, reason = _decision(result, rules, doubtful=bool(remarks), review=review)
    return Judgement(
        state=state,
        reason=reason,
        found=found | {"rules": rules},
        row=row_of_result(result, found["not_recomputed"] if result.kind == "measured" else (), remarks),
        signed=standings["signature"].outcome == "passed",
        recomputed=recomputed,
        reproduces_within=recomputed and "reproduction" in standings and standings["reproduction"].outcome == "passed",
    )


def _decision(
    result: Result, rules: list[dict[str, object]], *, doubtful: bool, review: bool
) -> tuple[Literal["published", "pending", "rejected"], str | None]:
    if broken := [str(rule["id"]) for rule in rules if rule["outcome"] == "failed"]:
        return "rejected", f"rules: {', '.join(broken)}"
    if review or result.kind == "imported" or (doubtful and result.hardware.profile.kind == "accelerator"):
        return "pending", "a moderator has to look"
    return "published", None
