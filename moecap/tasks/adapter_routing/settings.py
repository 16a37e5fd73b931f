"""The arguments of the task ``adapter_routing``, read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from moecap.errors import BadInputError
from moecap.tasks.adapter_routing.variants import ADAPTATIONS, GRANULARITIES, VARIANTS, Adaptation, Granularity
from moecap.tasks.arguments import number_argument

__all__ = ["ARGUMENTS", "DIGITS", "GLUE", "SIZES", "Schedule", "Settings", "read_settings"]

DIGITS, GLUE = "digits", "glue"

_FOR_DIGITS = {
    "steps": "300",
    "batch": "64",
    "rate": "0.01",
    "shot_steps": "100",
    "mean_steps": "50",
}
_FOR_TEXTS = {
    "steps": "40",
    "batch": "8",
    "rate": "0.003",
    "shot_steps": "10",
    "mean_steps": "5",
    "blocks": "1",
    "pool": "120",
    "longest": "400",
}
_FOR_ALL = {
    "data": DIGITS,
    "variants": ",".join(VARIANTS),
    "adapt": ",".join(ADAPTATIONS),
    "heads": "8",
    "skills": "8",
    "rank": "1",
    "router_rate": "0.1",
    "shots": "16",
    "seeds": "3",
    "routers": "layer",
    "weights": "sigmoid",
    "fan_in": "layer",
}
"""Values of the arguments where neither the user nor a size gives one."""

ARGUMENTS = (*_FOR_ALL, *_FOR_TEXTS, "tasks", "held_out", "train", "layers", "export")

SIZES: Mapping[str, Mapping[str, str]] = {
    "default": {},
    "ci": {"seeds": "1", "steps": "60", "shot_steps": "20", "mean_steps": "10", "variants": "lora,poly,mhr"},
    "full": {
        "data": GLUE,
        "seeds": "3",
        "steps": "400",
        "shot_steps": "60",
        "mean_steps": "40",
        "pool": "10000",
        "longest": "2000",
    },
    "gpu": {
        "data": GLUE,
        "heads": "64",
        "blocks": "all",
        "steps": "10000",
        "batch": "32",
        "rate": "0.001",
        "shots": "32",
        "shot_steps": "1000",
        "mean_steps": "1000",
        "pool": "10000",
        "longest": "2000",
        "seeds": "3",
    },
}
"""``gpu`` has heads, skills, rank and learning rates of the authors' T0 scripts, and 10,000 of their 100,000 steps."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast something is trained, by AdamW without weight decay.

    Attributes:
        steps: Steps of the optimiser.
        batch: Examples of a step.
        adapter_rate: Learning rate of A and B.
        router_rate: Learning rate of Z.
    """

    steps: int
    batch: int
    adapter_rate: float
    router_rate: float


@dataclass(frozen=True, slots=True)
class Settings:
    """An experiment.

    Attributes:
        data: ``digits``, ``glue``, or ``file``.
        tasks: The user's file of tasks.
        train: Names of the training tasks; empty for those of the data.
        held_out: Names of the held-out tasks; empty for those of the data.
        variants: Names of the variants.
        adaptations: Ways of adapting.
        heads: S.
        skills: K.
        rank: r.
        multitask: Schedule of the multi-task training.
        few_shot: Schedule of the adaptation; its batch is all shots.
        mean_steps: Further multi-task steps of the mean adapter before it is judged without shots.
        shots: Examples of a new task.
        seeds: How many seeds, from the run's own on.
        granularity: Which layers share a router.
        relaxed: Whether training draws the weights.
        block_fan_in: Whether A begins by the width of a block (PEFT) and not of the layer.
        blocks: Last blocks of a language model that are adapted; ``None`` for all.
        layers: Regular expression for the names of the adapted layers; ``None`` for the attention projections.
        pool: Most examples of a task to learn from.
        longest: Most characters of a prompt; examples with longer ones are left out, whatever the model's tokens are.
        export: Folder for the merged adapters; ``None`` to write none.
        headline: The variant and adaptation whose answers are the samples: MHR in full where that is asked for.
    """

    data: str
    tasks: Path | None
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    variants: tuple[str, ...]
    adaptations: tuple[Adaptation, ...]
    heads: int
    skills: int
    rank: int
    multitask: Schedule
    few_shot: Schedule
    mean_steps: int
    shots: int
    seeds: int
    granularity: Granularity
    relaxed: bool
    block_fan_in: bool
    blocks: int | None
    layers: str | None
    pool: int
    longest: int
    export: Path | None
    headline: tuple[str, Adaptation]


def read_settings(arguments: Mapping[str, str]) -> Settings:
    """What the arguments mean.

    Args:
        arguments: Those of the size under those that the user gives.

    Raises:
        BadInputError: If a value is none.
    """
    data = arguments.get("data", "file" if "tasks" in arguments else DIGITS)
    if data not in (DIGITS, GLUE, "file"):
        raise BadInputError(f"--task-arg data={data}: not {DIGITS} or {GLUE}; give a file of your own with tasks=FILE")
    if (data == "file") != ("tasks" in arguments):
        raise BadInputError(f"--task-arg data={data}: tasks=FILE has tasks of its own; leave one of the two out")
    given = {**_FOR_TEXTS, **(_FOR_DIGITS if data == DIGITS else {}), **_FOR_ALL, **arguments}
    if data == DIGITS and (
        idle := [n for n in (*_ONLY_TEXTS, "train", "held_out", "layers", "export") if n in arguments]
    ):
        raise BadInputError(f"--task-arg {idle[0]}: the digits have none; leave it out, or take data={GLUE}")
    variants = _names(given, "variants", VARIANTS)
    adaptations = cast("tuple[Adaptation, ...]", _names(given, "adapt", ADAPTATIONS))
    return Settings(
        data=data,
        tasks=Path(given["tasks"]) if "tasks" in given else None,
        train=_names(given, "train", None),
        held_out=_names(given, "held_out", None),
        variants=variants,
        adaptations=adaptations,
        heads=_number(given, "heads"),
        skills=_number(given, "skills"),
        rank=_number(given, "rank"),
        multitask=Schedule(
            _number(given, "steps"), _number(given, "batch"), _rate(given, "rate"), _rate(given, "router_rate")
        ),
        few_shot=Schedule(_number(given, "shot_steps"), 0, _rate(given, "rate"), _rate(given, "router_rate")),
        mean_steps=_number(given, "mean_steps"),
        shots=_number(given, "shots"),
        seeds=_number(given, "seeds"),
        granularity=cast("Granularity", _one(given, "routers", GRANULARITIES)),
        relaxed=_one(given, "weights", ("sigmoid", "relaxed")) == "relaxed",
        block_fan_in=_one(given, "fan_in", ("layer", "block")) == "block",
        blocks=None if given["blocks"] == "all" else _number(given, "blocks"),
        layers=given.get("layers"),
        pool=_number(given, "pool"),
        longest=_number(given, "longest"),
        export=Path(given["export"]) if "export" in given else None,
        headline=_headline(variants, adaptations),
    )


_ONLY_TEXTS = tuple(name for name in _FOR_TEXTS if name not in _FOR_DIGITS)


def _headline(variants: Sequence[str], adaptations: Sequence[Adaptation]) -> tuple[str, Adaptation]:
    """The last of the variants that learns from shots in a way that is asked for.

    Raises:
        BadInputError: If none does.
    """
    for variant in reversed(variants):
        for adaptation in VARIANTS[variant].adaptations:
            if adaptation in adaptations and adaptation != "zero":
                return variant, adaptation
    raise BadInputError(
        f"--task-arg adapt={','.join(adaptations)}: none of the variants {', '.join(variants)} learns so from shots; "
        "add full or mu"
    )


def _number(given: Mapping[str, str], name: str) -> int:
    number = number_argument(given, name, 1)
    assert number is not None, name
    return number


def _rate(given: Mapping[str, str], name: str) -> float:
    try:
        rate = float(given[name])
    except ValueError:
        rate = -1.0
    if not 0 < rate < 1e3:
        raise BadInputError(f"--task-arg {name}={given[name]}: a learning rate is a number above 0")
    return rate


def _one(given: Mapping[str, str], name: str, known: Mapping[str, str] | tuple[str, ...]) -> str:
    if given[name] not in known:
        raise BadInputError(f"--task-arg {name}={given[name]}: not one of {', '.join(known)}")
    return given[name]


def _names(given: Mapping[str, str], name: str, known: Mapping[str, object] | None) -> tuple[str, ...]:
    """Names parted by commas, each once; in the order of those that are known."""
    if name not in given:
        return ()
    names = tuple(dict.fromkeys(part.strip() for part in given[name].split(",")))
    for one in names:
        if not one or (known is not None and one not in known):
            of = f"; known: {', '.join(known)}" if known is not None else "; part names by commas"
            raise BadInputError(f"--task-arg {name}={given[name]}: {one!r} is none{of}")
    return names if known is None else tuple(one for one in known if one in names)
