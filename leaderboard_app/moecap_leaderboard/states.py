"""The states of a submission, and who may take it from one to the next."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["LIVE", "MODERATED", "STATES", "TIERS", "TOMBSTONES", "State", "tier_of"]

State = Literal["received", "rejected", "pending", "published", "withdrawn", "invalidated"]

STATES: tuple[str, ...] = get_args(State)

LIVE = ("pending", "published")
"""States of which one submission of a result can be in at a time."""

TOMBSTONES = ("withdrawn", "invalidated")

MODERATED: dict[str, tuple[str, ...]] = {"pending": ("published", "rejected"), "published": ("invalidated",)}
"""What a moderator can make of a submission, by its state."""

TIERS = ("self_reported", "signed", "recomputed", "reproduced")
"""How far a row can be trusted, the least first."""


def tier_of(*, signed: bool, recomputed: bool, reproduced_by: int) -> str:
    """The highest tier that a row has reached."""
    if recomputed and reproduced_by:
        return "reproduced"
    if recomputed:
        return "recomputed"
    return "signed" if signed else "self_reported"
