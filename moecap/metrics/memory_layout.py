"""Where a model's tensors live in a machine with several memories: a declaration that is read from YAML.

hardware: rtx-a5000            # the accelerator: bandwidth, memory and price
experts: dram                  # home of the routed experts: hbm, dram or ssd
hit_rate: 0.2                  # share of expert reads that find the expert in the accelerator's memory
cpu_share: 0                   # share of the others that the host's processors compute
prefill: {hit_rate: 0.1}       # the same shares in steps that feed prompts, where they are others
tiers:
  link: {kind: pcie4-x16}      # or bytes_per_second: 24.8e+9
  dram: {kind: ddr4-3200, units: 8, memory_bytes: 512.0e+9}
cost: {board_usd: 800, dram_usd: 1500, ssd_usd: 200}
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from moecap.cost_config import CostConfig
from moecap.errors import BadInputError, UnknownNameError

__all__ = [
    "TIERS",
    "Layout",
    "PrefillShares",
    "Tier",
    "TierName",
    "TierRates",
    "parse_layout",
    "read_layout",
    "tier_rates",
]

TierName = Literal["hbm", "link", "dram", "ssd"]
TIERS: tuple[TierName, ...] = ("hbm", "link", "dram", "ssd")
"""The accelerator's memory, the link to the host in one direction (PCIe, C2C), the host's memory, its drives."""

MAX_BYTES = 64 * 1024


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true or false")
    # YAML 1.1 reads 24.8e9 (no sign in the exponent) as text
    return float(value) if isinstance(value, str) else value


Positive = Annotated[float, BeforeValidator(_number), Field(gt=0, le=1e18)]
Share = Annotated[float, BeforeValidator(_number), Field(ge=0, le=1)]
Count = Annotated[int, BeforeValidator(_number), Field(gt=0, le=4096)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Tier(_Record):
    """One memory or link.

    Attributes:
        kind: A name of ``host_tiers.yaml``, in place of ``bytes_per_second``.
        units: Links, channels or drives of that kind that work at once.
        bytes_per_second: The rate of all of them together.
        memory_bytes: What it holds; absent means that it is not checked.
    """

    kind: str | None = None
    units: Count = 1
    bytes_per_second: Positive | None = None
    memory_bytes: Positive | None = None

    @model_validator(mode="after")
    def _one_rate(self) -> Tier:
        if self.kind is not None and self.bytes_per_second is not None:
            raise ValueError("kind and bytes_per_second are two answers to one question; give one")
        if self.kind is None and self.units != 1:
            raise ValueError("units count what is named by kind; bytes_per_second is that of all together")
        if self.kind is not None and self.kind not in tier_rates():
            raise ValueError(str(UnknownNameError("kind of memory or link", self.kind, tier_rates())))
        return self


class _Tiers(_Record):
    hbm: Tier = Tier()
    link: Tier = Tier()
    dram: Tier = Tier()
    ssd: Tier = Tier()


class PrefillShares(_Record):
    """The shares of a layout in steps that feed prompts; what is absent is as in decode steps."""

    hit_rate: Share | None = None
    dram_hit_rate: Share | None = None
    cpu_share: Share | None = None


class Layout(_Record):
    """A memory layout.

    Attributes:
        hardware: Name of the accelerator's profile; its datasheet gives the tier ``hbm`` where that is left out.
        devices: Number of accelerators.
        weights: Home of all weights that are no routed experts.
        kv_cache: Home of the cache of keys and values.
        experts: Home of the routed experts.
        hit_rate: Share of the reads of routed experts that find the expert in the accelerator's memory.
        dram_hit_rate: Share of the other reads that find an expert of the SSD in the host's memory.
        cpu_share: Share of the reads that miss the accelerator's memory and are computed by the host's processors.
        prefill: The three shares in steps that feed prompts, where an engine does otherwise there.
        tiers: Rates and sizes.
        cost: Prices of the parts.
    """

    hardware: str | None = None
    devices: Count = 1
    weights: Literal["hbm", "dram"] = "hbm"
    kv_cache: Literal["hbm", "dram"] = "hbm"
    experts: Literal["hbm", "dram", "ssd"]
    hit_rate: Share = 0.0
    dram_hit_rate: Share = 0.0
    cpu_share: Share = 0.0
    prefill: PrefillShares = PrefillShares()
    tiers: _Tiers = _Tiers()
    cost: CostConfig = CostConfig()

    @model_validator(mode="after")
    def _shares_have_a_meaning(self) -> Layout:
        shares = (self, self.prefill)
        if self.experts == "hbm" and any(s.hit_rate or s.cpu_share for s in shares):
            raise ValueError("experts that live in hbm are always found there: leave hit_rate and cpu_share out")
        if self.experts != "ssd" and any(s.dram_hit_rate for s in shares):
            raise ValueError("dram_hit_rate is of experts that live on the ssd: leave it out")
        return self

    @property
    def spread(self) -> bool:
        """Whether a step takes bytes from anywhere but the accelerator's memory."""
        missed = self.experts != "hbm" and min(self.hit_rate, self.in_prefill.hit_rate) < 1
        return missed or self.weights != "hbm" or self.kv_cache != "hbm"

    @property
    def in_prefill(self) -> Layout:
        """The layout with the shares of steps that feed prompts."""
        other = self.prefill.model_dump(exclude_none=True)
        return self.model_copy(update={**other, "prefill": PrefillShares()}) if other else self

    @property
    def computed_by_host(self) -> bool:
        """Whether the host's processors compute experts."""
        return any(shares.cpu_share > 0 and shares.hit_rate < 1 for shares in (self, self.in_prefill))


class TierRates(_Record):
    """Rates of one kind of link or memory, bytes/s of one unit."""

    theoretical: Positive
    effective: Positive | None
    source: str

    @property
    def rate(self) -> float:
        """The effective rate where one is known, else the theoretical one."""
        return self.theoretical if self.effective is None else self.effective


@cache
def tier_rates() -> dict[str, TierRates]:
    """The known kinds of links and memories."""
    import yaml

    text = files("moecap.hardware").joinpath("host_tiers.yaml").read_text(encoding="utf-8")
    return {name: TierRates.model_validate(row) for name, row in yaml.safe_load(text).items()}


def read_layout(path: Path) -> Layout:
    """Read a layout from a YAML file.

    Raises:
        BadInputError: If the file cannot be used.
    """
    import yaml

    from moecap.yaml_bounds import refuse_yaml_bomb

    shown = repr(str(path))[1:-1][:200]
    try:
        if path.exists() and not path.is_file():
            raise BadInputError(f"the layout {shown} is no plain file; check the path")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no such path"
        raise BadInputError(f"cannot read the layout {shown}: {reason}; check the path") from None
    if len(content) > MAX_BYTES:
        raise BadInputError(f"{shown} is larger than {MAX_BYTES // 1024} KiB; a layout has a few lines")
    try:
        refuse_yaml_bomb(content)  # first: a walk through deep nesting takes time that grows with its square
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(content, yaml.SafeLoader)):
            raise ValueError("aliases (*) are not allowed")
        declared = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise BadInputError(f"{shown} is no usable YAML: {_one_line(str(error))}; correct it") from None
    return parse_layout(declared, shown)


def parse_layout(declared: Any, shown: str) -> Layout:
    """A layout from what a file or a run configuration holds.

    Args:
        declared: A mapping with the keys of a layout.
        shown: What to call it in a message.

    Raises:
        BadInputError: If it is none.
    """
    try:
        return Layout.model_validate(declared)
    except ValidationError as error:
        raise BadInputError(f"{shown} is no layout: {_first(error)}") from None
    except (ValueError, OverflowError, RecursionError) as error:
        raise BadInputError(f"{shown} is no layout: {_one_line(str(error))}; correct it") from None


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        model: Any = Layout
        for part in problem["loc"][:-1]:
            model = model.model_fields[part].annotation
        return _one_line(str(UnknownNameError("key", where, model.model_fields)))
    value = problem.get("input")
    got = f" (got {value!r})" if isinstance(value, str | int | float) else ""
    return _one_line(f"{where}: {problem['msg']}{got}" if where else problem["msg"] + got)


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))[:500]
