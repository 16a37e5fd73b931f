"""The states of a submission, and who may take it from one to the next."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["LIVE", "MODERATED", "STATES", "TIERS", "TIER_TEXTS", "TOMBSTONES", "State", "tier_of"]

State = Literal["received", "rejected", "pending", "published", "withdrawn", "invalidated"]

STATES: tuple[str, ...] = get_args(State)

LIVE = ("pending", "published")
"""States of which one submission of a result can be in at a time."""

TOMBSTONES = ("withdrawn", "invalidated")

MODERATED: dict[str, tuple[str, ...]] = {"pending": ("published", "rejected"), "published": ("invalidated",)}
"""What a moderator can make of a submission, by its state."""

TIER_TEXTS = {
    "self_reported": "No observation came with it: its numbers are its submitter's or its source's word.",
    "signed": "Its submitter has signed it with a registered key; no observation came with it.",
    "recomputed": "Its numbers were recomputed here from the observations of the run: the arithmetic holds. That the "
    "observations were made is its submitter's word.",
    "reproduced": "Recomputed here, and repeated within the margins by somebody else.",
}
"""How far a row can be trusted, the least first, and what that means."""

TIERS = tuple(TIER_TEXTS)


def tier_of(*, signed: bool, recomputed: bool, reproduced_by: int) -> str:
    """The highest tier that a row has reached."""
    if recomputed and reproduced_by:
        return "reproduced"
    if recomputed:
        return "recomputed"
    return "signed" if signed else "self_reported"
