"""The arguments of the task ``neuron_probe``, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moecap.errors import BadInputError
from moecap.tasks.arguments import number_argument
from moecap.tasks.neuron_probe.overlap import MOST_SELECTED

__all__ = [
    "ARGUMENTS",
    "MOST_CONDITIONAL",
    "SIZES",
    "Schedule",
    "Settings",
    "names_argument",
    "read_settings",
    "selected_argument",
]

MOST_SEEDS = 20
UNITS = ("neuron", "expert", "chosen")
SCHEMES = ("poisson", "conditional")
MOST_CONDITIONAL = 4_096
"""Units of the conditional scheme, which keeps a number for each pair of them."""

_DEFAULTS = {
    "unit": "neuron",
    "layer": "last",
    "count": "1080",
    "least": "20",
    "seeds": "3",
    "scheme": "poisson",
    "epochs": "40",
    "batch": "256",
    "rate": "0.01",
    "masks": "5",
    "entropy": "1",
    "patience": "0",
}
"""Values of the arguments where neither the user nor a size gives one."""

SELECTED = {"neuron": 50, "expert": 10, "chosen": 10}
"""Units that are selected where the user does not say how many."""

ARGUMENTS = (*_DEFAULTS, "k", "languages", "attributes", "states", "dim")

SIZES: Mapping[str, Mapping[str, str]] = {
    "default": {"languages": "es,fr,it,pt", "attributes": "Number,Person,Tense"},
    "ci": {
        "languages": "es,it",
        "attributes": "Number,Person,Tense",
        "count": "270",
        "least": "5",
        "seeds": "1",
    },
    "full": {
        "languages": "en,es,fr,it,pt,ro",
        "attributes": "Number,Person,Tense",
        "count": "3600",
        "seeds": "5",
    },
    "gpu": {"count": "1000000", "seeds": "1", "epochs": "5000", "batch": "0", "patience": "50"},
}


@dataclass(frozen=True, slots=True)
class Schedule:
    """How a probe is trained.

    Attributes:
        scheme: ``poisson`` or ``conditional``.
        epochs: Passes over the training words, at most.
        batch: Words a step; 0 for all at once.
        rate: Adam's learning rate.
        masks: M, subsets drawn for each word, 2 or more.
        entropy: Weight of q's entropy; 1 in the authors' code, whose other term is a mean over words.
        patience: Epochs without a better loss of held-out words after which training stops; 0 for never.
    """

    scheme: str
    epochs: int
    batch: int
    rate: float
    masks: int
    entropy: float
    patience: int


@dataclass(frozen=True, slots=True)
class Settings:
    """What is asked for.

    Attributes:
        unit: ``neuron``, ``expert`` (router probabilities) or ``chosen`` (which experts were chosen).
        layer: ``last``, ``all`` or a layer's number, of neurons.
        selected: Units that are selected, k.
        languages: Languages; none for all of the data.
        attributes: Attributes; none for all of the data.
        count: Words of a language, at most.
        least: Words that a value needs in each split.
        seeds: Splits with their trainings.
        states: A file with the vectors of the words; ``None`` where the model gives them.
        schedule: How probes are trained.
    """

    unit: str
    layer: str
    selected: int
    languages: tuple[str, ...]
    attributes: tuple[str, ...]
    count: int
    least: int
    seeds: int
    states: Path | None
    schedule: Schedule


def read_settings(given: Mapping[str, str]) -> Settings:
    """The settings.

    Args:
        given: The arguments in force.

    Raises:
        BadInputError: If a value is none that can be.
    """
    arguments = {**_DEFAULTS, **given}
    layer = arguments["layer"]
    if layer not in ("last", "all") and not (layer.isascii() and layer.isdecimal()):
        raise BadInputError(f"--task-arg layer={layer}: give last, all or a layer's number, 0 for the embedding")
    unit = _one_of("unit", arguments, UNITS)
    if unit != "neuron" and "layer" in given:
        raise BadInputError(f"--task-arg layer={layer}: experts are taken from all layers; leave it out")
    states = Path(arguments["states"]) if "states" in arguments else None
    if states is not None and (unit != "neuron" or "layer" in given):
        raise BadInputError(f"--task-arg states={states} brings its own vectors; leave unit and layer out")
    return Settings(
        unit,
        layer,
        selected_argument(arguments, unit),
        names_argument(arguments, "languages"),
        names_argument(arguments, "attributes"),
        _whole(arguments, "count", 1),
        _whole(arguments, "least", 1),
        _whole(arguments, "seeds", 1, MOST_SEEDS),
        states,
        Schedule(
            _one_of("scheme", arguments, SCHEMES),
            _whole(arguments, "epochs", 1),
            _whole(arguments, "batch", 0),
            _real(arguments, "rate"),
            _whole(arguments, "masks", 2),
            _real(arguments, "entropy"),
            _whole(arguments, "patience", 0),
        ),
    )


def selected_argument(arguments: Mapping[str, str], unit: str) -> int:
    """Units that are selected."""
    return number_argument(arguments, "k", 1, MOST_SELECTED) or SELECTED[unit]


def names_argument(arguments: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Names with commas between them, each once."""
    return tuple(dict.fromkeys(part for part in arguments.get(name, "").split(",") if part))


def _one_of(name: str, arguments: Mapping[str, str], known: tuple[str, ...]) -> str:
    value = arguments[name]
    if value not in known:
        raise BadInputError(f"--task-arg {name}={value}: not {', '.join(known[:-1])} or {known[-1]}")
    return value


def _whole(arguments: Mapping[str, str], name: str, least: int, most: int | None = None) -> int:
    value = number_argument(arguments, name, least, most)
    assert value is not None, f"{name} has a default"
    return value


def _real(arguments: Mapping[str, str], name: str) -> float:
    try:
        value = float(arguments[name])
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise BadInputError(f"--task-arg {name}={arguments[name]}: give a number from 0 on")
    return value
