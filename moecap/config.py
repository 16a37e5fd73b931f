"""What a run is asked to do: one model for the command line, YAML files and the result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from moecap.errors import BadInputError, UnknownNameError

__all__ = ["CostConfig", "RunConfig", "WarmupConfig", "first_problem", "with_settings"]

Positive = Annotated[int, Field(gt=0)]
Dollars = Annotated[float, Field(ge=0, le=1e12)]
Share = Annotated[float, Field(gt=0, le=1)]


class WarmupConfig(BaseModel):
    """When the warm-up ends: the medians of two batches in a row agree, or a bound is reached."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Largest relative change of the median decode step between two warm-up batches in a row that counts as stable."""
    output_len: Annotated[int, Field(ge=2)] = 8
    """Output tokens of a warm-up request."""
    max_batches: Positive = 6
    """Most warm-up batches; a run that is still unstable then carries a flag."""


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


class RunConfig(BaseModel):
    """Everything that decides what a run does. Every field is a command-line option and a key of a YAML file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    model: str = "smollm2-moe"
    """Model: a short name (`moecap models list`), a hub id, a local folder, or a config.json."""
    revision: str | None = None
    """Revision of the model on the hub."""
    hw: str = "auto"
    """Hardware: a profile name (`moecap hw list`) or `auto` for this machine."""
    num_gpus: Positive | None = None
    """Number of devices, 1 by default; more than 1 is not built yet."""
    tensor_parallel: Positive | None = None
    """Devices that share each layer; more than 1 is not built yet."""
    precision: str = "auto"
    """Number format of the weights (fp32, bf16, fp16); `auto` is the model's own where the hardware computes in it."""
    backend: str = "auto"
    """Backend: `auto` or a name from `moecap backends list`."""
    engine_arg: tuple[str, ...] = ()
    """Argument for the engine as KEY=VALUE; may be repeated."""
    endpoint: str | None = None
    """URL of an OpenAI-compatible server that runs already; a key comes from MOECAP_API_KEY."""
    task: tuple[str, ...] = ("arc_easy",)
    """Accuracy task (`moecap tasks list`), or `none`; may be repeated."""
    task_arg: tuple[str, ...] = ()
    """Argument for the tasks as KEY=VALUE; may be repeated."""
    limit: Positive | None = 50
    """Items of each accuracy task; 0 means all of them."""
    data: Path | None = None
    """Folder with data sets in their published formats, in place of the cache."""
    dataset: str = "arc_easy"
    """Where prompts come from: a data set name or a JSONL file with a `prompt` field."""
    concurrency: Positive = 4
    """Requests in flight at once (closed loop)."""
    rate: Annotated[float, Field(gt=0)] | None = None
    """Requests a second (open loop), in place of --concurrency; for backends that are servers."""
    arrival: Literal["poisson", "constant", "gamma"] = "poisson"
    """How requests arrive in an open loop."""
    burstiness: Annotated[float, Field(gt=0)] = 1.0
    """Shape of the gaps between gamma arrivals: 1 is Poisson, below 1 they come in bursts."""
    num_requests: Positive = 20
    """Requests to measure."""
    input_len: Positive = 64
    """Tokens of each prompt, exactly."""
    output_len: Positive = 32
    """Tokens of each answer, exactly."""
    repeats: Positive = 1
    """How often the load is measured; more than 1 is not built yet."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of everything that is drawn at random."""
    measured: bool = False
    """Refuse to project where nothing can be measured; this version never projects."""
    allow_prefix_cache: bool = False
    """Let an engine serve prompts from its prefix cache: it is left on, and prompts carry no mark of their run."""
    price: Annotated[float, Field(ge=0)] | None = None
    """Rent of one device in dollars an hour, in place of the profile's price."""
    output: Path | None = None
    """The run directory; refused if it exists and is not empty."""
    warmup: WarmupConfig = WarmupConfig()
    cost: CostConfig = CostConfig()

    @field_validator("limit", mode="before")
    @classmethod
    def _zero_is_all(cls, value: Any) -> Any:
        return None if value in (0, "0") else value

    @field_validator("task", "task_arg", "engine_arg", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("concurrency", "num_requests", "input_len", "output_len", "limit", "seed", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("a whole number is needed, not true or false")
        return value

    @field_validator("task", mode="after")
    @classmethod
    def _none_is_no_task(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "none" in value and len(value) > 1:
            raise ValueError("'none' cannot be combined with other tasks")
        if len(set(value)) != len(value):
            raise ValueError("a task is named twice")
        return () if value == ("none",) else value

    @model_validator(mode="after")
    def _price_is_a_cost(self) -> RunConfig:
        if self.price is not None and self.cost.usd_per_hour is not None and self.price != self.cost.usd_per_hour:
            raise ValueError("price and cost.usd_per_hour are given and differ; give one")
        return self

    @model_validator(mode="after")
    def _requests_fill_the_concurrency(self) -> RunConfig:
        if self.rate is None and self.num_requests < self.concurrency:
            raise ValueError(
                f"{self.num_requests} requests never reach a concurrency of {self.concurrency}; "
                "ask for more requests or less concurrency"
            )
        return self

    @property
    def usd_per_hour(self) -> float | None:
        """The user's price of one device an hour, or ``None`` for the profile's."""
        return self.cost.usd_per_hour if self.price is None else self.price

    @property
    def load(self) -> Literal["closed", "open"]:
        """Closed loop (a fixed number in flight) or open loop (a fixed rate of arrivals)."""
        return "closed" if self.rate is None else "open"


def first_problem(error: ValidationError) -> str:
    """The first thing that is wrong, in one line: ``concurrency: Input should be greater than 0 (got -1)``."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return str(UnknownNameError("setting", where, _settings(RunConfig)))
    text = problem["msg"].removeprefix("Value error, ")
    got = problem.get("input")
    shown = "" if isinstance(got, dict | BaseModel) else f" (got {got!r})"
    remedy = "; quote it" if problem["type"] == "string_type" and not isinstance(got, list | dict) else ""
    return f"{where}: {text}{shown}{remedy}" if where else text


def _settings(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every key of the run configuration, dotted."""
    keys = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += _settings(field.annotation, f"{prefix}{name}.")
        else:
            keys.append(prefix + name)
    return keys


_TEXTS = frozenset(
    name
    for name, field in RunConfig.model_fields.items()
    if {field.annotation, *get_args(field.annotation)} & {str, Path}
)
"""Keys whose value is a text, or several."""


def with_settings(values: dict[str, Any], settings: tuple[str, ...]) -> RunConfig:
    """A run configuration from a mapping and ``KEY=VALUE`` settings that override it; keys may be dotted.

    Raises:
        BadInputError: If a setting is not ``KEY=VALUE``, a key is unknown, or a value is out of range.
    """
    import yaml

    merged: dict[str, Any] = {**values}
    seen: set[str] = set()
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise BadInputError(f"--set {setting}: not KEY=VALUE, for instance --set cost.usd_per_hour=2.5")
        key = name.replace("-", "_")
        if key in seen:
            raise BadInputError(f"--set {key} is given twice; give it once")
        seen.add(key)
        node = merged
        *parents, last = key.split(".")
        for parent in parents:
            child = node.get(parent)
            node[parent] = child = dict(child) if isinstance(child, dict) else {}
            node = child
        try:
            value = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError):  # a ValueError for what looks like a date and is none
            if key not in _TEXTS:
                raise BadInputError(f"--set {setting}: the value is not YAML; quote it") from None
            value = text
        # a revision 1234567 or 2024-01-01 is a name, whatever YAML reads
        node[last] = text if key in _TEXTS and not isinstance(value, str | list | None) else value
    try:
        return RunConfig.model_validate(merged)
    except ValidationError as error:
        raise BadInputError(first_problem(error)) from None
