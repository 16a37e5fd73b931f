"""What a run is asked to do: one model for the command line, YAML files and the result."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from moecap.cost_config import CostConfig
from moecap.metrics.memory_layout import Layout
from moecap.warmup_config import WarmupConfig

__all__ = ["TASKS_AS_LOAD", "CostConfig", "RunConfig", "WarmupConfig"]

TASKS_AS_LOAD = "tasks"
"""The data set that stands for the questions of the tasks."""

PRESETS = {"4k/1k": (4000, 1000), "13k/1k": (13000, 1000), "1k/8k": (1000, 8000)}
"""Tokens of each prompt and of each answer, exactly: the fixed lengths of MoE-CAP's performance runs."""

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]


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
    """Number of devices; by default the fewest, a power of two, that hold the model."""
    tensor_parallel: Positive | None = None
    """Ranks that share each layer, one a device; on a host, which is one device, all share it. Default: num_gpus."""
    precision: str = "auto"
    """Format of weights, of a GGUF file (q8_0, too) or of what a quantised model leaves; `auto`: its own if native."""
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
    """Folder with data sets in their published formats, or a file where a task takes one, in place of the cache."""
    dataset: str = "auto"
    """What is sent: a data set name, a file (docs/workloads.md), `tasks`, or `auto`: the tasks if one generates."""
    dataset_sha256: str | None = None
    """SHA-256 that the file of the data set must have; a run writes it into its result."""
    texts: str = "arc_easy"
    """Where the words for prompts of given lengths come from if the data set has none: a name or a file of prompts."""
    lengths: Literal["auto", "asked", "data"] = "auto"
    """Who says how long requests are: `asked` (input_len, output_len), `data`, or `auto`: the data set if it can."""
    concurrency: Positive = 4
    """Requests in flight at once (closed loop)."""
    client_processes: Positive | Literal["auto"] = 1
    """Processes that share the sending to a server; `auto` takes more than one where one may be too slow."""
    rate: Annotated[float, Field(gt=0)] | None = None
    """Requests (or sessions) a second (open loop), in place of --concurrency; for backends that batch continuously."""
    arrival: Literal["poisson", "constant", "gamma", "ramp", "trace"] = "poisson"
    """How requests arrive in an open loop; `trace` takes the times of the data set and needs no rate."""
    rate_start: Annotated[float, Field(gt=0)] | None = None
    """Requests a second at the start of a ramp, which ends at the rate."""
    trace_speed: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """How many times as fast a trace is replayed."""
    burstiness: Annotated[float, Field(gt=0)] = 1.0
    """Shape of the gaps between gamma arrivals: 1 is Poisson, below 1 they come in bursts."""
    num_requests: Positive = 20
    """Requests to measure; each turn of a session is one; of tasks their questions."""
    input_len: Positive = 64
    """Tokens of each prompt, exactly; of a later turn the tokens that it adds."""
    output_len: Positive = 32
    """Tokens of each answer, exactly; of tasks at most, where it is given."""
    preset: Literal["4k/1k", "13k/1k", "1k/8k"] | None = None
    """Exact lengths of a pure performance run: `4k/1k` is input_len 4000 and output_len 1000 (docs/workloads.md)."""
    length_spread: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Prompts and answers are drawn evenly from lengths up to this share shorter or longer; 0 gives all the same."""
    shared_prefix_len: Annotated[int, Field(ge=0)] = 0
    """Tokens at the start of the prompt that all requests share, out of those of input_len."""
    turns: Positive | None = None
    """Most turns of a session; by default 1, and all of a file of sessions."""
    turn_wait: Annotated[float, Field(ge=0, le=86400)] = 0.0
    """Seconds between an answer and the next turn, where the data set gives none."""
    temperature: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Temperature of sampling; 0 is greedy."""
    top_p: Share = 1.0
    """Share of the probability from which tokens are drawn."""
    stop: tuple[str, ...] = ()
    """Text at which an answer ends; may be repeated; needs natural_end."""
    n: Annotated[int, Field(gt=0, le=128)] = 1
    """Choices that each request asks for, each of output_len tokens."""
    natural_end: bool = False
    """Answers end where the model ends them, after at most output_len tokens, and not at exactly that length."""
    repeats: Annotated[int, Field(gt=0, le=1000)] = 1
    """How often the load is measured on one engine, each time drawn anew; 3 or more give intervals of the means."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of everything that is drawn at random."""
    measured: bool = False
    """Refuse to project where nothing can be measured."""
    allow_prefix_cache: bool = False
    """Let an engine serve prompts from its prefix cache: it is left on, and prompts carry no mark of their run."""
    routing: str = "auto"
    """How tokens choose experts in a projection: `auto`, `uniform`, the exponent of a power law, or a measured run."""
    energy_source: Literal["auto", "nvml", "rapl", "zeus"] = "auto"
    """What counts the energy: NVML (boards), RAPL (a host), Zeus (AMD's boards too), or what there is of them."""
    layout: Annotated[Layout | None, Parameter(parse=False)] = None
    """A YAML file that says which memory holds what, for an engine that offloads; as a key also its content."""
    price: Annotated[float, Field(ge=0)] | None = None
    """Rent of one device in dollars an hour, in place of the profile's price."""
    output: Path | None = None
    """The run directory; refused if it exists and is not empty."""
    warmup: WarmupConfig = WarmupConfig()
    cost: CostConfig = CostConfig()

    @model_validator(mode="before")
    @classmethod
    def _preset_gives_lengths(cls, values: Any) -> Any:
        lengths = PRESETS.get(str(values.get("preset"))) if isinstance(values, dict) else None
        if lengths is None:
            return values
        fixed = {"input_len": lengths[0], "output_len": lengths[1], "lengths": "asked"}
        for name, length in fixed.items():
            if values.get(name, length) not in (length, str(length), "auto"):
                raise ValueError(f"preset {values['preset']} means {name} {length}, not {values[name]}; give one")
        if values.get("dataset", "auto") == TASKS_AS_LOAD or values.get("natural_end") or values.get("length_spread"):
            raise ValueError(
                f"preset {values['preset']} is a load of exact lengths; leave dataset=tasks, natural_end and "
                "length_spread out"
            )
        dataset = values.get("dataset", "auto")
        return values | fixed | {"dataset": cls.model_fields["texts"].default if dataset == "auto" else dataset}

    @field_validator("limit", mode="before")
    @classmethod
    def _zero_is_all(cls, value: Any) -> Any:
        return None if value in (0, "0") else value

    @field_validator("task", "task_arg", "engine_arg", "stop", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator(
        "concurrency",
        "client_processes",
        "num_requests",
        "input_len",
        "output_len",
        "limit",
        "repeats",
        "seed",
        "turns",
        "n",
        "shared_prefix_len",
        mode="before",
    )
    @classmethod
    def _truth_is_no_number(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("a whole number is needed, not true or false")
        return value

    @field_validator("dataset_sha256", mode="after")
    @classmethod
    def _a_digest(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch("[0-9a-f]{64}", value):
            raise ValueError("not a SHA-256, which has 64 digits 0 to 9 and a to f")
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
    def _layout_is_of_one_accelerator(self) -> RunConfig:
        if self.layout is None:
            return self
        if max(self.layout.devices, self.num_gpus or 1, self.tensor_parallel or 1) > 1:
            raise ValueError(
                "a layout accounts for a model on one accelerator; leave num_gpus, tensor_parallel and its devices out"
            )
        if self.layout.cost.basis != "rent":
            raise ValueError("layout.cost.basis: the basis is the run's; give cost.basis=own")
        for name, theirs in _given(self.layout.cost).items():
            if (ours := getattr(self.cost, name)) not in (None, theirs):
                raise ValueError(
                    f"cost.{name} and that of the layout are given and differ ({ours}, {theirs}); give one"
                )
        try:
            self.costs  # noqa: B018
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
            raise ValueError(f"cost with that of the layout: {problem}") from None
        return self

    @model_validator(mode="after")
    def _price_is_a_cost(self) -> RunConfig:
        if self.price is not None and self.costs.usd_per_hour not in (None, self.price):
            raise ValueError("price and cost.usd_per_hour are given and differ; give one")
        return self

    def _tasks_say_how_many(self) -> bool:
        """Whether the number of requests is known with the tasks and not yet."""
        tasks_may = self.dataset == "auto" and "task" in self.model_fields_set and bool(self.task)
        return self.dataset == TASKS_AS_LOAD or (tasks_may and "num_requests" not in self.model_fields_set)

    @model_validator(mode="after")
    def _requests_fill_the_concurrency(self) -> RunConfig:
        if self._tasks_say_how_many():
            return self
        sessions = -(-self.num_requests // (self.turns or 1))
        if self.load == "closed" and sessions < self.concurrency:
            what = "requests" if sessions == self.num_requests else f"requests in sessions of {self.turns} turns"
            raise ValueError(
                f"{self.num_requests} {what} never reach a concurrency of {self.concurrency}; "
                "ask for more requests or less concurrency"
            )
        return self

    @model_validator(mode="after")
    def _processes_share_the_load(self) -> RunConfig:
        if self.load == "open" and self._tasks_say_how_many():
            return self
        sessions = -(-self.num_requests // (self.turns or 1))
        shares, what = (self.concurrency, "concurrency") if self.load == "closed" else (sessions, "load")
        if self.client_processes != "auto" and self.client_processes > shares:
            raise ValueError(
                f"client_processes {self.client_processes} cannot share a {what} of {shares}; take at most {shares}"
            )
        return self

    @model_validator(mode="after")
    def _arrivals_fit(self) -> RunConfig:
        if self.arrival == "trace" and self.rate is not None:
            raise ValueError("arrival=trace takes the times of the trace; leave rate out, or set trace_speed")
        if self.arrival not in ("poisson", "trace") and self.rate is None:
            raise ValueError(f"arrival={self.arrival} is of an open loop; give its --rate")
        if (self.arrival == "ramp") != (self.rate_start is not None):
            raise ValueError("arrival=ramp and rate_start belong together; give both or none")
        if self.trace_speed != 1 and self.arrival != "trace":
            raise ValueError("trace_speed is of arrival=trace; give both or none")
        if self.burstiness != 1 and self.arrival != "gamma":
            raise ValueError("burstiness is of arrival=gamma; give both or none")
        if self.turn_wait and self.turns in (None, 1):
            raise ValueError("turn_wait is between the turns of a session; set turns above 1, or leave it out")
        return self

    @model_validator(mode="after")
    def _lengths_fit(self) -> RunConfig:
        shortest = self.shortest(self.input_len)
        if self.shared_prefix_len >= shortest:
            raise ValueError(
                f"shared_prefix_len {self.shared_prefix_len} leaves nothing of prompts of {shortest} tokens; "
                "make it shorter"
            )
        return self

    @model_validator(mode="after")
    def _sampling_fits(self) -> RunConfig:
        if any(not text for text in self.stop):
            raise ValueError("stop: an empty text ends no answer; leave it out")
        if self.stop and not self.natural_end:
            raise ValueError("stop ends answers early; set natural_end with it")
        if self.top_p < 1 and self.temperature == 0:
            raise ValueError("top_p has no effect on greedy answers; set a temperature above 0")
        if self.n > 1 and self.turns not in (None, 1):
            raise ValueError("n above 1 has no one answer that a next turn could follow; take turns=1")
        return self

    @property
    def costs(self) -> CostConfig:
        """The constants that the user gave, here or in the layout."""
        if self.layout is None:
            return self.cost
        return CostConfig.model_validate(_given(self.layout.cost) | _given(self.cost) | {"basis": self.cost.basis})

    @property
    def usd_per_hour(self) -> float | None:
        """The user's price of one device an hour, or ``None`` for the profile's."""
        return self.costs.usd_per_hour if self.price is None else self.price

    @property
    def load(self) -> Literal["closed", "open"]:
        """Closed loop (a fixed number in flight) or open loop (a fixed rate of arrivals)."""
        return "closed" if self.rate is None and self.arrival != "trace" else "open"

    @property
    def exact(self) -> bool:
        """Whether answers have exactly the tokens asked for, or at most as many."""
        return not self.natural_end and self.dataset != TASKS_AS_LOAD

    @property
    def shape(self) -> str:
        """The lengths of its requests in words: ``of 64 tokens in and 32 out``."""
        if self.dataset == TASKS_AS_LOAD:
            return f"that are the questions of its tasks, with answers of at most {self.output_len} tokens,"
        if self.lengths == "data":
            return f"with the lengths of {Path(self.dataset).name}"
        spread = f" (each up to {self.length_spread:.0%} more or less)" if self.length_spread else ""
        choices = f", {self.n} choices each," if self.n > 1 else ""
        turns = f" in sessions of {self.turns} turns" if (self.turns or 1) > 1 else ""
        return f"of {self.input_len} tokens in and {self.output_len} out{spread}{choices}{turns}"

    @property
    def pace(self) -> str:
        """How they come in words: ``at concurrency 4``."""
        if self.load == "closed":
            return f"at concurrency {self.concurrency}"
        if self.arrival == "trace":
            return "at the times of the trace" + (f", {self.trace_speed:g} times as fast" * (self.trace_speed != 1))
        start = f"{self.rate_start:g} to " if self.rate_start else ""
        return f"at {start}{self.rate:g} requests/s"

    def shortest(self, length: int) -> int:
        """The shortest length that ``length_spread`` allows for one that is asked for."""
        return max(1, round(length * (1 - self.length_spread)))

    def longest(self, length: int) -> int:
        """The longest one."""
        return round(length * (1 + self.length_spread))


def _given(cost: CostConfig) -> dict[str, Any]:
    """The constants that are set."""
    return cost.model_dump(exclude={"basis"}, exclude_none=True)
