"""What the user says of costs: rent, the parts of a purchase, and what turns hours and energy into dollars."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = ["CostConfig"]

Dollars = Annotated[float, Field(ge=0, le=1e12)]
Share = Annotated[float, Field(gt=0, le=1)]


class CostConfig(BaseModel):
    """Constants of the cost model; what is absent has a default with a source, which the result names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    basis: Literal["rent", "own"] = "rent"
    """What an hour costs: `rent` of the devices, or to `own` the system (purchase, amortised, and electricity)."""
    usd_per_hour: Dollars | None = None
    """Rent of one device an hour, in dollars; absent means the hardware profile's dated price."""
    utilisation: Share | None = None
    """Share of the paid hours that the load fills, for the `*_at_utilisation` costs."""
    years: Annotated[float, Field(gt=0, le=50)] | None = None
    """Years over which a purchase is paid off."""
    availability: Share | None = None
    """Share of the hours of its life in which an owned system is up."""
    kw: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Power of the whole system in kilowatts, without what the site adds (PUE)."""
    pue: Annotated[float, Field(ge=1, le=5)] | None = None
    """Power of the site over the power of its machines."""
    usd_per_kwh: Dollars | None = None
    """Price of electricity, dollars a kilowatt-hour."""
    gco2_per_kwh: Annotated[float, Field(ge=0)] | None = None
    """Carbon intensity of the grid, grams of CO2 a kilowatt-hour."""
    capital: Dollars | None = None
    """Purchase price of the whole system in dollars, in place of the prices of its parts."""
    device_usd: Dollars | None = None
    """Purchase price of one device, in dollars."""
    cpu_usd: Dollars | None = None
    """Purchase price of the host's processors, in dollars."""
    board_usd: Dollars | None = None
    """Purchase price of board, chassis and power supply, in dollars."""
    dram_usd: Dollars | None = None
    """Purchase price of the host's memory, in dollars."""
    ssd_usd: Dollars | None = None
    """Purchase price of the storage, in dollars."""
    links_usd: Dollars | None = None
    """Purchase price of the links between devices, in dollars; one device has none."""

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("a number is needed, not true or false")
        return value

    @model_validator(mode="after")
    def _capital_is_all_parts(self) -> CostConfig:
        parts = (self.device_usd, self.cpu_usd, self.board_usd, self.dram_usd, self.ssd_usd, self.links_usd)
        if self.capital is not None and any(part is not None for part in parts):
            raise ValueError("capital is the price of all parts; give it or the prices of the parts")
        return self
