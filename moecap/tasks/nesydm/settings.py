"""How each experiment is trained: the paper's settings for its own data, and small ones for scikit-learn's digits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from moecap.errors import BadInputError, UnknownNameError
from moecap.tasks.arguments import number_argument
from moecap.tasks.nesydm.objective import Weighting, YWeight
from moecap.tasks.nesydm.training import Schedule

__all__ = ["SETTINGS", "Setting", "setting_of"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One experiment's settings.

    Attributes:
        weighting: The loss of diffusion.
        schedule: The training.
        draws: L, samples a test input.
        steps: T of the sampler at test time; ``None`` for the first-hitting one.
        train: Training questions, where they are drawn; 0 for all that the data gives.
        tests: Test questions of shown pairs and of others each, where they are drawn.
    """

    weighting: Weighting
    schedule: Schedule
    draws: int
    steps: int | None = None
    train: int = 0
    tests: int = 0


def _paper(
    optimiser: str, rate: float, batch: int, epochs: int, gamma_c: float, gamma_h: float, beta: float, draws: int,
    *, samples: int = 1024, candidates: int = 1024, steps: int | None = None, train: int = 0, tests: int = 0,
) -> Setting:  # fmt: skip
    weighting = Weighting(gamma_c, gamma_h, beta, samples, candidates, steps)
    return Setting(weighting, Schedule(epochs, batch, rate, optimiser), draws, steps, train, tests)


def _small(
    optimiser: str, epochs: int, gamma_c: float, gamma_h: float, beta: float, draws: int,
    *, train: int = 0, tests: int = 0,
) -> Setting:  # fmt: skip
    weighting = Weighting(gamma_c, gamma_h, beta, samples=128, candidates=128)
    return Setting(weighting, Schedule(epochs, 16, 1e-3, optimiser), draws, None, train, tests)


SETTINGS: Mapping[str, Mapping[str, Setting]] = {
    "paper": {  # arXiv 2505.13138, tables 5 and 6; numbers of questions from RSBench's readme
        "addition": _paper("Adam", 3e-4, 16, 100, 2e-5, 0.01, 20, 8, steps=8),
        "driving": _paper("RAdam", 1e-4, 256, 30, 5e-6, 2.0, 10, 1000, steps=22),
        "driving_released": _paper("RAdam", 1e-4, 256, 30, 5e-6, 2.0, 10, 1000, steps=22),
        "even_odd": _paper("RAdam", 9e-5, 16, 500, 1.5e-6, 1.6, 10, 1000, steps=8, train=6720, tests=960),
        "half": _paper("RAdam", 9e-5, 16, 500, 1.5e-6, 1.6, 10, 1000, steps=8, train=2940, tests=420),
        "shortest_path": _paper("RAdam", 5e-4, 50, 40, 1e-5, 0.002, 12, 8, samples=16, candidates=4, steps=20),
    },
    "small": {
        "addition": _small("Adam", 150, 2e-5, 0.01, 20, 8),
        "even_odd": _small("RAdam", 60, 1.5e-6, 1.6, 10, 200, train=640, tests=200),
        "half": _small("RAdam", 60, 1.5e-6, 1.6, 10, 200, train=480, tests=200),
        "xor": _small("RAdam", 80, 1.5e-6, 1.6, 10, 200, train=320, tests=200),
    },
}  # fmt: skip


def setting_of(experiment: str, kind: str, arguments: Mapping[str, str]) -> Setting:
    """An experiment's settings, with what the user asks for in their place.

    Args:
        experiment: Name of the experiment.
        kind: ``small`` or ``paper``.
        arguments: The arguments in force.

    Raises:
        UnknownNameError: If there is no such kind, or no such experiment of it.
        BadInputError: If a value is none that can be.
    """
    if kind not in SETTINGS:
        raise UnknownNameError("settings of nesydm", kind, SETTINGS)
    if experiment not in SETTINGS[kind]:
        raise UnknownNameError(f"experiment of nesydm with settings={kind}", experiment, SETTINGS[kind])
    found = SETTINGS[kind][experiment]
    usual, pace = found.weighting, found.schedule

    def whole(name: str, otherwise: int, least: int = 1) -> int:
        asked = number_argument(arguments, name, least)
        return otherwise if asked is None else asked

    def real(name: str, otherwise: float) -> float:
        return _real(arguments, name) if name in arguments else otherwise

    steps = number_argument(arguments, "steps", 1)
    y_weight = arguments.get("y_weight", usual.y_weight)
    if y_weight not in ("paper", "released"):
        raise BadInputError(f"--task-arg y_weight={y_weight}: give paper or released")
    return Setting(
        Weighting(
            gamma_c=real("gamma_c", usual.gamma_c),
            gamma_h=real("gamma_h", usual.gamma_h),
            beta=real("beta", usual.beta),
            samples=whole("samples", usual.samples, 2),  # a leave-one-out baseline needs another sample
            candidates=whole("candidates", usual.candidates),
            steps=steps or usual.steps,
            y_weight=cast(YWeight, y_weight),
        ),
        Schedule(whole("epochs", pace.epochs), whole("batch", pace.batch), real("rate", pace.rate), pace.optimiser),
        draws=whole("draws", found.draws),
        steps=steps or found.steps,
        train=whole("train", found.train),
        tests=whole("tests", found.tests),
    )


def _real(arguments: Mapping[str, str], name: str) -> float:
    try:
        value = float(arguments[name])
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise BadInputError(f"--task-arg {name}={arguments[name]}: give a number from 0 on")
    return value
