"""The engine that is projected, from a user's arguments: its family, what it allows, and how the model is split."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from moecap.backend import refuse_unknown
from moecap.errors import BadInputError, UnknownNameError
from moecap.hardware.profile import HardwareProfile
from moecap.hardware.registry import load_profile
from moecap.models.parallelism import Parallelism
from moecap.projection.capacity import LIMITS, EngineLimits
from moecap.projection.coefficients import Coefficients, engine_family

__all__ = ["ARGUMENTS", "EngineSettings", "engine_settings"]

ARGUMENTS = (
    "engine",
    "max-num-seqs",
    "max-num-batched-tokens",
    "gpu-memory-utilization",
    "block-size",
    "expert-parallel",
    "data-parallel",
    "kv-cache-dtype",
    "host",
    "sockets",
    "prefetched",
)
"""Arguments of a projected engine, by vLLM's names whichever engine it is."""

DEFAULT_ENGINE = "vllm"

BLOCK_TOKENS = {"vllm": 16, "sglang": 1, "trtllm": 32}
"""Tokens of a block of the KV cache: vLLM's ``--block-size``, SGLang's ``--page-size``, TensorRT-LLM's
``tokens_per_block``; 16 for other engines."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """A projected engine.

    Attributes:
        family: Whose costs are taken.
        limits: What it allows.
        block_tokens: Tokens of a block of its KV cache.
        expert: Groups of devices that share out the routed experts.
        data: Replicas of the attention.
        host: The profile of one socket of the host, where its processors compute experts of a layout.
        sockets: Sockets of it.
        prefetched: Share of what a layout moves to the devices that moves while the rest of a step runs.
    """

    family: str
    limits: EngineLimits
    block_tokens: int
    expert: int
    data: int
    host: HardwareProfile | None = None
    sockets: int = 1
    prefetched: float = 0.0

    def split(self, tensor: int) -> Parallelism:
        """The split over so many tensor-parallel ranks a replica.

        Raises:
            BadInputError: If the experts cannot be shared out over the devices.
        """
        return Parallelism(tensor=tensor, expert=self.expert, data=self.data)


def engine_settings(arguments: Mapping[str, str], coefficients: Coefficients) -> EngineSettings:
    """Read the arguments of a projected engine.

    Args:
        arguments: As the user gave them.
        coefficients: Whose engines can be projected.

    Raises:
        UnknownNameError: If an argument or the engine is unknown.
        BadInputError: If a value cannot be.
    """
    given = {name.replace("_", "-").lower(): value for name, value in arguments.items()}
    refuse_unknown(given, ARGUMENTS, "projected")
    if len(given) < len(arguments):
        raise BadInputError(f"engine arguments {', '.join(arguments)}: one is given twice; give it once")
    family = _family(given.get("engine", DEFAULT_ENGINE), sorted(set(coefficients.engines) - {"default"}))
    defaults = LIMITS.get(family, LIMITS["default"])
    limits = replace(
        defaults,
        sequences=_whole(given, "max-num-seqs", defaults.sequences),
        step_tokens=_whole(given, "max-num-batched-tokens", defaults.step_tokens),
        memory=_share(given, "gpu-memory-utilization", defaults.memory),
    )
    if limits.step_tokens < limits.sequences and "max-num-batched-tokens" in given:
        raise BadInputError(
            f"max-num-batched-tokens {limits.step_tokens} is less than max-num-seqs {limits.sequences}, each of which "
            "takes a token of a step; raise it, or lower max-num-seqs"
        )
    return EngineSettings(
        family=family,
        limits=limits,
        block_tokens=_whole(given, "block-size", BLOCK_TOKENS.get(family.split("-before")[0], 16)),
        expert=_whole(given, "expert-parallel", 1),
        data=_whole(given, "data-parallel", 1),
        host=load_profile(given["host"]) if "host" in given else None,
        sockets=_whole(given, "sockets", 1),
        prefetched=_share(given, "prefetched", 0.0, least=0.0),
    )


def _family(engine: str, known: Sequence[str]) -> str:
    """The family of engines that a user names: one that is known, or an engine, also with its version."""
    if engine in known:
        return engine
    name, space, version = engine.partition(" ")
    family = engine_family(engine)
    if family not in known:
        raise UnknownNameError("engine to project", family, known)
    if re.search(r"[\d=]", name) or (space and re.match(r"\d+\.\d+", version) is None):
        raise BadInputError(f'engine argument engine={engine}: give the version after a space, as in "vllm 0.11"')
    return family


def _whole(given: Mapping[str, str], name: str, default: int) -> int:
    text = given.get(name)
    if text is None:
        return default
    if not text.isdecimal() or not 0 < int(text) < 1 << 31:
        raise BadInputError(f"engine argument {name}={text}: not a positive whole number")
    return int(text)


def _share(given: Mapping[str, str], name: str, default: float, least: float = 0.01) -> float:
    text = given.get(name)
    try:
        value = default if text is None else float(text)
    except ValueError:
        value = -1.0
    if not least <= value <= 1:
        raise BadInputError(f"engine argument {name}={text}: not a share of {least:g} to 1")
    return value
