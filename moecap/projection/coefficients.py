"""The coefficients of the projection: what share of a peak is reached; what a launch, a message, a sequence costs.

They live in ``coefficients.yaml`` beside this file with their fit: on which rows, how many, when. Engines and chips
without rows of their own get the entry ``default`` of their table, which is declared and says so.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from moecap.hardware.profile import HardwareProfile

__all__ = [
    "Coefficients",
    "EngineCosts",
    "Fit",
    "HostCosts",
    "PowerShares",
    "SharedCosts",
    "calibrated",
    "engine_family",
    "generation",
]

Share = Annotated[float, Field(gt=0, le=1.5)]
Spread = Annotated[float, Field(ge=1, le=10)]
Seconds = Annotated[float, Field(ge=0, le=10)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SharedCosts(_Record):
    """What chips and kernels cost, whichever engine launches them.

    Attributes:
        weight_bandwidth: Share of the memory's peak at which weights and activations are read.
        unpacking: Bytes/s of narrow weights that a device unpacks at most (``widened``).
        cache_bandwidth: The share for the cache of decode tokens.
        compute: Share of the peak that large products reach, by rate (:data:`moecap.projection.rates.RATES`).
        grouped: Share of ``compute`` that grouped expert products reach.
        scores: Share of the peak that scores and values of prompts reach.
        activation_passes: How often an activation goes through memory, of the rows that products read and write.
        kernel: Seconds that each kernel of a step takes beside its bytes and FLOPs: start, drain, synchronisation.
        prompt_kernel: Seconds that the host takes to launch a kernel of a step with prompt tokens, which no captured
            graph replays: a step takes this or the device's time, whichever rules.
        link_latency: Seconds of one collective between two devices over a link of their own.
        link_latency_rank: Seconds more for each further device.
        link_bandwidth: Share of that link's peak.
        bus_latency: Seconds of one collective over the host's bus.
        bus_bandwidth: Share of that bus's peak.
        popularity: Exponent of the power law by which tokens choose experts.
    """

    weight_bandwidth: Share
    unpacking: Annotated[float, Field(gt=0)]
    cache_bandwidth: Share
    compute: dict[str, Share]
    grouped: Share
    scores: Share
    activation_passes: Annotated[float, Field(ge=0, le=20)]
    kernel: Seconds
    prompt_kernel: Seconds
    link_latency: Seconds
    link_latency_rank: Seconds
    link_bandwidth: Share
    bus_latency: Seconds
    bus_bandwidth: Share
    popularity: Annotated[float, Field(ge=0, le=4)]


class EngineCosts(_Record):
    """What an engine costs beside the work.

    Attributes:
        step: Seconds of a step whatever it feeds: scheduling, the inputs' preparation.
        sequence: Seconds for each sequence of a step: sampling, detokenising, sending.
        prompt: Seconds from a request's arrival to its first step and from its first token to the client.
        prompt_token: Seconds for each token of a prompt outside the step: tokenising, transfer.
        products: Share of the shared efficiencies of products that this engine's kernels reach.
    """

    step: Seconds
    sequence: Seconds
    prompt: Seconds
    prompt_token: Seconds
    products: Share


class Fit(_Record):
    """On what the numbers were fitted.

    Attributes:
        rows: How many published rows.
        source: Which.
        date: When it was fitted (ISO date).
        error: Median |projected / published - 1| on these very rows.
    """

    rows: int
    source: str
    date: str
    error: float


class HostCosts(_Record):
    """What a host's processors reach where they compute experts.

    Attributes:
        memory: Share of the peak of a socket's memory at which they read experts.
        compute: Share of the socket's rate (:func:`moecap.projection.placement.host_flops`) at which they compute them.
        further_socket: What each further socket adds, as a share of what the first gives.
        fit: On what the three were fitted.
    """

    memory: Share
    compute: Share
    further_socket: Annotated[float, Field(ge=0, le=1)]
    fit: Fit


class PowerShares(_Record):
    """What devices draw, as shares of their design power (:mod:`moecap.projection.power`).

    Attributes:
        idle: What always runs under load.
        memory: More where the memory reads at its peak.
        compute: More where the matrix units compute at their peak.
    """

    idle: Annotated[float, Field(ge=0, le=1)]
    memory: Annotated[float, Field(ge=0, le=1)]
    compute: Annotated[float, Field(ge=0, le=1)]


class Coefficients(_Record):
    """All coefficients.

    Attributes:
        shared: Of chips and kernels.
        engines: By family of engines; ``default`` is for all others.
        host: Of hosts that compute experts.
        power: Of devices' power.
        spread: Half-width of the 80 % interval as a factor, by quantity: the truth lies within value / spread and
            value · spread in eight of ten cases. For chips of a generation that rows were fitted on.
        spread_elsewhere: The same for chips of other generations.
        generations: The generations of chips that rows were fitted on: the first word of a profile's ``arch``.
        fit: On what they were fitted.
    """

    shared: SharedCosts
    engines: dict[str, EngineCosts]
    host: HostCosts
    power: PowerShares
    spread: dict[str, Spread]
    spread_elsewhere: dict[str, Spread]
    generations: tuple[str, ...]
    fit: Fit

    def engine(self, family: str) -> EngineCosts:
        """The costs of a family of engines, or the declared default."""
        return self.engines.get(family, self.engines["default"])

    def interval(self, quantity: str, hardware: HardwareProfile) -> float:
        """The factor of the 80 % interval of a quantity (a name of :attr:`spread`) on a chip."""
        known = generation(hardware) in self.generations
        return (self.spread if known else self.spread_elsewhere)[quantity]


_FAMILIES = {"tensorrt": "trtllm", "trtllm": "trtllm", "trt-llm": "trtllm", "sglang": "sglang", "vllm": "vllm"}
_OLDER = {"vllm": ((0, 14), "vllm-before-0.14"), "trtllm": ((1, 0), "trtllm-before-1.0")}


def engine_family(name: str) -> str:
    """The family of an engine from its name and version; other names stay, lower case.

    Two engines are two families each: vLLM schedules a step while the one before it runs (by default from 0.14 on), and
    TensorRT-LLM runs models in PyTorch (by default from 1.0 on), before that as compiled TensorRT engines. Without a
    version the newer is meant: ``"vLLM 0.11.1"`` → ``"vllm-before-0.14"``, ``"vllm"`` → ``"vllm"``.
    """
    lowered = name.lower()
    family = next((family for key, family in _FAMILIES.items() if lowered.startswith(key)), lowered.split(" ")[0])
    version = re.search(r" (\d+)\.(\d+)", lowered)
    if family in _OLDER and version is not None:
        first, older = _OLDER[family]
        return older if (int(version[1]), int(version[2])) < first else family
    return family


def generation(hardware: HardwareProfile) -> str:
    """The generation of a chip: ``Hopper`` of ``Hopper sm_90``; its id where the profile names no architecture."""
    return (hardware.arch or hardware.id).split(" ")[0]


@cache
def calibrated() -> Coefficients:
    """The coefficients that come with the package."""
    import yaml

    text = files("moecap.projection").joinpath("coefficients.yaml").read_text(encoding="utf-8")
    table: dict[str, Any] = yaml.safe_load(text)
    return Coefficients.model_validate(table)
