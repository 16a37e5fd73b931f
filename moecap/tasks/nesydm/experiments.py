"""The experiments: what is looked at, by which network, and which program turns the concepts into labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moecap.data.bdd_oia import Scenes, load_bdd_oia
from moecap.data.digits import DIGITS_SOURCE
from moecap.data.mnist import load_mnist
from moecap.data.warcraft import load_warcraft
from moecap.errors import BadInputError, NotAvailableError
from moecap.tasks.nesydm.digits import PAIRS, Images, Questions, pairs_of, scanned_digits, sums_of
from moecap.tasks.nesydm.networks import DigitNetwork, Perception, Sees, convolutional, dense, lenet
from moecap.tasks.nesydm.programs import Program, program_of
from moecap.tasks.nesydm.scene_networks import DrivingNetwork, MapNetwork
from moecap.tasks.nesydm.settings import Setting
from moecap.tasks.nesydm.shortest_path import COSTS

__all__ = ["Experiment", "prepared"]

SPLIT_SEED = 0
"""With which images are split and questions drawn: the same ones for every seed of a training."""

FEATURES = 128


@dataclass(frozen=True, slots=True)
class Experiment:
    """Questions for training and for tests. The training knows labels only.

    Attributes:
        name: Its name.
        program: From concepts to labels.
        size: Digits of a summand, or cells along an edge.
        source: Where the data came from.
        setting: How it is trained.
        inputs: For training, [n, ...].
        labels: For training, [n, Y].
        tests: Inputs of the tests, [m, ...].
        concepts: Their true concepts, [m, C].
        golds: Their labels, [m, Y].
        splits: ``id`` or ``ood`` for each.
        network: Makes an untrained network.
        limited: Whether test questions were left out.
    """

    name: str
    program: Program
    size: int
    source: str
    setting: Setting
    inputs: np.ndarray
    labels: np.ndarray
    tests: np.ndarray
    concepts: np.ndarray
    golds: np.ndarray
    splits: tuple[str, ...]
    network: Callable[[], Perception]
    limited: bool = False

    @property
    def ids(self) -> tuple[str, ...]:
        """An id for each test question."""
        return tuple(f"{self.name}-{number}" for number in range(len(self.tests)))


def prepared(name: str, size: int, setting: Setting, folder: Path | None, limit: int | None) -> Experiment:
    """An experiment with its data.

    Args:
        name: Its name.
        size: Digits of a summand, or cells along the edge of a map.
        setting: How it is trained.
        folder: Published data; ``None`` for scikit-learn's digits.
        limit: Test questions of each split at most, the first ones.

    Raises:
        UsageError: If the data is not here or not in its format.
    """
    program = program_of(name, size)
    if name in ("shortest_path", "driving", "driving_released"):
        if folder is None:
            raise NotAvailableError(f"the data of {name} is in no package; give its folder with --data DIR")
        made = _maps(size, folder) if name == "shortest_path" else _scenes(program, folder)
    else:
        made = _digits(name, program, size, setting, folder)
    (inputs, labels), (tests, concepts, golds, splits), source, network = made
    if not len(inputs) or not len(tests):
        raise BadInputError(f"{name}: no question of {size} digits can be made of so few images; ask for fewer digits")
    kept = np.concatenate([np.flatnonzero(np.array(splits) == split)[:limit] for split in dict.fromkeys(splits)])
    return Experiment(
        name, program, size, source, setting, inputs, labels,
        tests[kept], concepts[kept], golds[kept], tuple(splits[i] for i in kept), network, len(kept) < len(tests),
    )  # fmt: skip


_Made = tuple[
    tuple[np.ndarray, np.ndarray],
    tuple[np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]],
    str,
    Callable[[], Perception],
]


def _digits(name: str, program: Program, size: int, setting: Setting, folder: Path | None) -> _Made:
    if folder is None:
        images, source = scanned_digits(SPLIT_SEED), DIGITS_SOURCE
    else:
        images, source = Images(*load_mnist(folder, "train"), *load_mnist(folder, "test")), "MNIST, in a folder"
    if name == "addition":
        train = sums_of(images.train, images.train_digits, 2 * size, SPLIT_SEED)
        test = sums_of(images.test, images.test_digits, 2 * size, SPLIT_SEED)
    else:
        shown = PAIRS[name]
        others = 0 if name == "xor" else setting.tests  # XOR shows every pair
        train = pairs_of(images.train, images.train_digits, shown, setting.train, 0, SPLIT_SEED)
        test = pairs_of(images.test, images.test_digits, shown, setting.tests, others, SPLIT_SEED + 1)
    small = images.train.shape[1] == 8
    sees: Sees = "own image" if name == "addition" else "all images" if small or name == "xor" else "known concepts"

    def network() -> Perception:
        if small:
            encoder, features = dense(64, FEATURES), FEATURES
        elif name == "addition":
            encoder, features = lenet(FEATURES), FEATURES
        else:
            encoder, features = convolutional()
        return DigitNetwork(encoder, features, program.concepts, program.values, sees)

    return (train.inputs, program(train.concepts)), _asked(test, program), source, network


def _asked(test: Questions, program: Program) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    return test.inputs, test.concepts, program(test.concepts), test.splits


def _maps(edge: int, folder: Path) -> _Made:
    train, test = (load_warcraft(folder, split, edge, COSTS) for split in ("train", "test"))
    tests = (test.images, test.ground, test.ways, ("id",) * len(test.images))
    return (
        (train.images, train.ways),
        tests,
        f"Warcraft maps {edge}x{edge}, in a folder",
        lambda: MapNetwork(edge, len(COSTS)),
    )


def _scenes(program: Program, folder: Path) -> _Made:
    train, test = (load_bdd_oia(folder, split) for split in ("train", "test"))
    tests = (test.embeddings, test.concepts, _outputs(test), ("id",) * len(test.actions))
    width = train.embeddings.shape[1]
    return (
        (train.embeddings, _outputs(train)),
        tests,
        "BDD-OIA of RSBench, in a folder",
        lambda: DrivingNetwork(width, program.concepts),
    )


def _outputs(scenes: Scenes) -> np.ndarray:
    """Actions as outputs of the program: 1 forward, 2 stop, 3 neither; left; right."""
    forward, stop, left, right = scenes.actions.T
    ahead = np.where(stop == 1, 2, np.where(forward == 1, 1, 3))
    return np.stack([ahead, left, right], axis=-1)
