"""The rules that a submission must follow: each has an id, a sentence, and a check that finds whether it holds."""

from __future__ import annotations

from moecap_leaderboard.rules.claims import CLAIM_RULES
from moecap_leaderboard.rules.content import CONTENT_RULES
from moecap_leaderboard.rules.physics import PHYSICS_RULES
from moecap_leaderboard.rules.record import RECORD_RULES
from moecap_leaderboard.rules.rule import Rule

__all__ = ["RULES", "STANDING_RULES"]

RULES: tuple[Rule, ...] = (*CONTENT_RULES, *CLAIM_RULES, *PHYSICS_RULES)
"""Rules that follow from what was sent alone, in the order of the report."""

STANDING_RULES = RECORD_RULES
"""Rules that rest on what the leaderboard knows besides: id and sentence."""
