"""Whether the costs of two results can be compared: both at the prices that this leaderboard knows."""

from __future__ import annotations

import math

from moecap.hardware.profile import HardwareProfile
from moecap.hardware.registry import load_profile, packaged_id
from moecap.result import Result

__all__ = ["COSTS", "own_price", "price_difference"]

COSTS = ("cost_per_million_output_tokens", "cost_per_million_tokens")
"""Headlines that rest on a price."""


def own_price(result: Result) -> str:
    """What of a result's costs is its submitter's own, in words; empty where all is at the prices known here."""
    if result.workload.cost.basis != "rent":
        return "of a system that is owned"
    if any(constant.given for constant in result.constants if constant.name == "usd_per_hour"):
        return f"at {result.hardware.usd_per_hour} USD/h, which the submitter gave"
    if result.hardware.source == "file":
        return "at the price of a profile file"
    return price_difference(result)


def price_difference(result: Result) -> str:
    """How the rent of a result's profile differs from the one known here; empty where it does not.

    A probed host has the price of a generic virtual machine for each of its logical processors, of which it has as many
    as cores or more.
    """
    profile = result.hardware.profile
    stated = _rent(profile)
    if result.hardware.source == "probed":
        generic = load_profile("generic-vm-2vcpu")
        least = (_rent(generic) or 0.0) * (profile.cores or 1) / (generic.cores or 1)
        if stated is not None and stated < least * (1 - 1e-9):
            return f"its rent is {stated} USD/h and {least:.4g} is the least for {profile.cores} cores"
        return ""
    known = packaged_id(profile.id)
    here = _rent(load_profile(known)) if known else None
    same = stated == here or (stated is not None and here is not None and math.isclose(stated, here))
    return "" if same else f"its rent is {stated} USD/h and {here} in the profile of this leaderboard"


def _rent(profile: HardwareProfile) -> float | None:
    price = profile.default_price
    return price.usd_per_hour if price else None
