"""What output tokens cost at a rent: dollars an hour of all devices, over the tokens that they give in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moecap.hardware.profile import HardwareProfile
from moecap.hardware.registry import load_profile, packaged_id
from moecap.projection.recommendation import is_rent, price_of
from moecap_leaderboard.pages.naming import names_host

__all__ = ["FORMULA", "Rent", "cost_per_million", "has_own_price", "is_rented", "known_rent", "row_rent"]

FORMULA = "USD per million output tokens = USD per device-hour x devices / (output tokens a second x 3600) x 1,000,000"


@dataclass(frozen=True, slots=True)
class Rent:
    """What an hour of one device costs.

    Attributes:
        usd_per_hour: Dollars.
        text: Whose price it is, and of when.
        rented: Whether that is a rent; else it is what an operator pays, which comes to less.
    """

    usd_per_hour: float
    text: str
    rented: bool = True


def cost_per_million(usd_per_device_hour: float, devices: int, tokens_per_second: float) -> float:
    """Dollars for a million output tokens, everything charged to them (:data:`FORMULA`).

    Args:
        usd_per_device_hour: Rent of one device.
        devices: How many are paid.
        tokens_per_second: Output tokens a second of all of them, above 0.
    """
    return usd_per_device_hour * devices / 3600 / tokens_per_second * 1e6


def known_rent(hardware: str, devices: int) -> Rent | None:
    """The price that this version of moecap knows for so many devices; ``None`` where it knows none."""
    identifier = packaged_id(hardware)
    profile: HardwareProfile | None = load_profile(identifier) if identifier else None
    price = price_of(profile, devices) if profile else None
    if price is None:
        return None
    text = f"{price.provider}, {price.date}" if price.date else price.provider
    return Rent(price.usd_per_hour, text, is_rent(price))


def has_own_price(item: Mapping[str, Any]) -> bool:
    """Whether a row's costs are at a price of its submitter's own, at which no row is compared."""
    return any(flag["name"] == "own_price" for flag in item["flags"])


def row_rent(item: Mapping[str, Any], given: Mapping[str, float]) -> Rent | None:
    """The price at which a row is compared.

    Args:
        item: The row as lists give it.
        given: Dollars an hour of one device by id of the hardware, in place of what is known.

    Returns:
        The given price, else the known one, else (a host that was probed) the one that the row's own cost and speed
        state, unless its submitter chose it; ``None`` where there is none of these, and where the host is part of what
        would have to be paid.
    """
    hardware, devices = str(item["hardware"]["id"]), int(item["hardware"]["count"])
    if hardware in given:
        return Rent(given[hardware], "the price that you set")
    if names_host(item):
        return None
    known = known_rent(hardware, devices)
    if known is not None:
        return known
    if has_own_price(item):
        return None
    metrics = item["metrics"]
    cost = (metrics.get("cost_per_million_output_tokens") or {}).get("value")
    speed = (metrics.get("output_tokens_per_second") or {}).get("value")
    if not cost or not speed:
        return None
    return Rent(cost * speed * 3600 / 1e6 / devices, "the price that the run states")


def is_rented(item: Mapping[str, Any], prices: Mapping[str, float]) -> bool:
    """Whether a row is priced at a rent, and not at what an operator pays for the device."""
    rent = row_rent(item, prices)
    return rent is None or rent.rented
