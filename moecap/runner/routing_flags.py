"""Remarks on steps and routed experts that an engine did not record."""

from __future__ import annotations

from collections.abc import Iterator

from moecap.metrics.routing_source import LOCKSTEP, SeenSteps
from moecap.result import Flag

__all__ = ["routing_flags"]


def routing_flags(seen: SeenSteps, is_moe: bool) -> Iterator[Flag]:
    """The flags of reconstructed steps and of estimated experts; none where the engine recorded both.

    Args:
        seen: The observations with the steps of the load.
        is_moe: Whether the model has routed experts.
    """
    if seen.reconstructed:
        yield Flag(
            name="steps_reconstructed",
            level="info",
            text="The engine records no steps: they are reconstructed from when tokens came. A step's time is that "
            "from one arrival to the next, with what the engine does between two passes.",
        )
    if seen.reconstructed and (seen.lockstep or 0) < LOCKSTEP:
        yield Flag(
            name="steps_uncertain",
            level="warning",
            text=f"Only {seen.lockstep or 0:.0%} of the tokens came in lockstep, less than {LOCKSTEP:.0%}: the "
            "reconstructed steps, and S-MBU with them, are an estimate.",
        )
    if seen.left_out:
        yield Flag(
            name="steps_left_out",
            level="warning",
            text=f"{seen.left_out} steps are left out, since a request in them has no routed experts.",
        )
    if not is_moe:
        return
    if seen.estimate is not None:
        yield Flag(
            name="routing_estimated",
            level="warning",
            text="The routed experts are not known: S-MBU counts those that uniform routing would select. Its low and "
            "high values are those of the fewest and the most experts that the tokens can select.",
        )
    elif seen.source is None:
        yield Flag(name="routing_unknown", level="warning", text=f"S-MBU has no value: {seen.problem}.")
