"""What a system costs an hour: rented, or bought, amortised and powered."""

from __future__ import annotations

from collections.abc import Sequence

from moecap.metrics.constants import PURCHASE, Constant, constant_value
from moecap.metrics.value import Metric, absent

__all__ = ["HOURS_PER_YEAR", "owning_usd_per_hour", "purchase_usd", "rent_usd_per_hour"]

HOURS_PER_YEAR = 8760
NO_RENT = "no price is known for this hardware; give one with --price"


def rent_usd_per_hour(usd_per_hour: float | None, devices: int) -> Metric:
    """Rent of the whole system in dollars an hour.

    Args:
        usd_per_hour: Rent of one device, dollars an hour, or ``None``.
        devices: Number of devices.
    """
    return absent("USD/h", NO_RENT) if usd_per_hour is None else _known(usd_per_hour * devices, "USD/h")


def purchase_usd(constants: Sequence[Constant], devices: int) -> Metric:
    """What it costs to buy the whole system, in dollars: devices, processors, board, memory, storage and links.

    Args:
        constants: The constants in force.
        devices: Number of devices.

    Returns:
        The sum; without a value, and with the names of what is missing, where the price of one part is not known.
    """
    capital = constant_value(constants, "capital")
    if capital is not None:
        return _known(capital, "USD")
    lines = [c for c in constants if c.name in PURCHASE]
    missing = [c.name for c in lines if c.value is None]
    if missing or not lines:
        parts = ", ".join(PURCHASE[name] for name in missing) or "any part"
        keys = ", ".join(f"cost.{name}" for name in missing) or "its parts"
        return absent("USD", f"no purchase price is known of {parts}; give --set {keys}, or cost.capital for all")
    return _known(sum((devices if c.name == "device_usd" else 1) * (c.value or 0.0) for c in lines), "USD")


def owning_usd_per_hour(constants: Sequence[Constant], devices: int) -> Metric:
    """Dollars for each hour in which an owned system is up.

    capital / (years · 8760 · availability) + kW · PUE · $/kWh. Interest, staff, network and space are not in it.

    Args:
        constants: The constants in force.
        devices: Number of devices.
    """
    capital = purchase_usd(constants, devices)
    if capital.value is None:
        return absent("USD/h", capital.reason or "no purchase price is known")
    terms = [constant_value(constants, n) for n in ("years", "availability", "kw", "pue", "usd_per_kwh")]
    years, availability, kw, pue, usd_per_kwh = terms
    if kw is None:
        return absent("USD/h", "the power of the system is not known; give it in kilowatts with --set cost.kw")
    if years is None or availability is None or pue is None or usd_per_kwh is None:
        return absent("USD/h", "the result does not hold the constants of owning")
    return _known(capital.value / (years * HOURS_PER_YEAR * availability) + kw * pue * usd_per_kwh, "USD/h")


def _known(value: float, unit: str) -> Metric:
    return Metric(value=value, unit=unit)
