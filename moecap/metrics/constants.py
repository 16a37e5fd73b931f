"""The constants of the cost model that are in force: value, unit, source, date, and whether the user set them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from moecap.config import CostConfig
from moecap.hardware.profile import HardwareProfile

__all__ = ["PURCHASE", "Constant", "constant_value", "constants_in_force"]

PURCHASE = {
    "device_usd": "one device",
    "cpu_usd": "the processors of the host",
    "board_usd": "the board with chassis and power supply",
    "dram_usd": "the memory of the host",
    "ssd_usd": "the storage",
    "links_usd": "the links between the devices",
}
"""The lines of a purchase; all but ``device_usd`` are for the whole system."""


class Constant(BaseModel):
    """One constant.

    Attributes:
        name: Its key under ``cost.`` in the run configuration.
        value: The number in force, or null where none is known.
        unit: Its unit, or what it is a share of.
        source: Where the number comes from, or why there is none.
        date: When it was true, as precisely as known; null where the source gives no date.
        evidence: Grade, see ``moecap.hardware.profile.EVIDENCE``; null for the user's numbers and for ungraded ones.
        given: Whether the user set it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    value: float | None
    unit: str
    source: str
    date: str | None = None
    evidence: Literal["A", "B", "C"] | None = None
    given: bool = False


def constants_in_force(
    config: CostConfig, usd_per_hour: float | None, profile: HardwareProfile, devices: int
) -> tuple[Constant, ...]:
    """The constants that decide what a run costs.

    Args:
        config: What the user set.
        usd_per_hour: The user's rent of one device an hour in dollars, or ``None`` for the profile's.
        profile: The hardware of one device.
        devices: Number of devices.

    Returns:
        Rent, purchase (one line for each part, or ``capital`` alone where the user gave it), and what turns them and
        the energy into costs, in this order. A number that nobody knows is there with a null value.
    """
    rent = _rent(profile) if usd_per_hour is None else _given("usd_per_hour", usd_per_hour, "USD/h")
    terms = [_term(name, config) for name in ("years", "availability", "utilisation", "pue")]
    power = _power(config, profile, devices, pue=next(t.value for t in terms if t.name == "pue"))
    rest = [_term(name, config) for name in ("usd_per_kwh", "gco2_per_kwh")]
    return (rent, *_purchase(config, profile, devices), *terms, power, *rest)


def constant_value(constants: Iterable[Constant], name: str) -> float | None:
    """The value of a constant; ``None`` where it is not among them or has none."""
    return next((c.value for c in constants if c.name == name), None)


@cache
def _defaults() -> dict[str, dict[str, Any]]:
    import yaml

    text = files("moecap.metrics").joinpath("constants.yaml").read_text(encoding="utf-8")
    table: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return table


def _given(name: str, value: float, unit: str) -> Constant:
    return Constant(name=name, value=value, unit=unit, source="given by the user", given=True)


def _term(name: str, config: CostConfig) -> Constant:
    value = getattr(config, name)
    default = _defaults()[name]
    return Constant(name=name, **default) if value is None else _given(name, value, default["unit"])


def _rent(profile: HardwareProfile) -> Constant:
    price = profile.default_price
    if price is None:
        return Constant(name="usd_per_hour", value=None, unit="USD/h", source="no price is known")
    return Constant(name="usd_per_hour", value=price.usd_per_hour, unit="USD/h", source=price.provider, date=price.date)


def _purchase(config: CostConfig, profile: HardwareProfile, devices: int) -> list[Constant]:
    if config.capital is not None:
        return [_given("capital", config.capital, "USD")]
    lines = []
    for name, part in PURCHASE.items():
        # a host is its own processor, and one device has no link to another
        if (name == "cpu_usd" and profile.kind == "host") or (name == "links_usd" and devices == 1):
            continue
        value = getattr(config, name)
        price = profile.list_price_usd if name == "device_usd" else None
        if value is not None:
            line = _given(name, value, "USD")
        elif price is not None:
            source = f"{profile.name}: {profile.sources.get(price.source, price.source)}"
            line = Constant(name=name, value=price.usd, unit="USD", source=source, date=price.date)
        elif name in _defaults():
            line = Constant(name=name, **_defaults()[name])
        else:
            line = Constant(name=name, value=None, unit="USD", source=f"no price is known of {part}")
        lines.append(line)
    return lines


def _power(config: CostConfig, profile: HardwareProfile, devices: int, pue: float | None) -> Constant:
    """Power of the machines in kW, without what the site adds: PUE is multiplied on it.

    Published utility power has the site in it already, so it is divided by the PUE in force and their product is the
    published figure again, whatever that PUE is.
    """
    if config.kw is not None:
        return _given("kw", config.kw, "kW")
    utility = profile.utility_power
    if utility is not None and pue:
        source = f"{devices} x {utility.watts:g} W of utility power / PUE; {profile.sources[utility.source]}"
        value = devices * utility.watts / 1000 / pue
        return Constant(name="kw", value=value, unit="kW", source=source, date=utility.date, evidence="B")
    if profile.tdp_watts is None:
        return Constant(name="kw", value=None, unit="kW", source="the profile states no thermal design power")
    host = _defaults()["host_watts"]
    watts, source = devices * profile.tdp_watts, f"{devices} x {profile.tdp_watts:g} W thermal design power"
    if profile.kind == "accelerator":
        watts, source = watts + host["value"], f"{source} + {host['value']} W for the host: {host['source']}"
    return Constant(
        name="kw", value=watts / 1000, unit="kW", source=source, date=profile.as_of, evidence=profile.evidence
    )
