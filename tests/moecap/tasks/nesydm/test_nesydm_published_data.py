"""Loaders of published data, on small files in the published formats."""

import gzip
import struct

import numpy as np
import pytest
import torch

from moecap.data.bdd_oia import load_bdd_oia
from moecap.data.digits import load_digits
from moecap.data.mnist import load_mnist
from moecap.data.warcraft import load_warcraft
from moecap.errors import BadInputError, NotAvailableError
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap.tasks.base import TaskOptions, load_task
from moecap.tasks.method import method_metrics
from moecap.tasks.nesydm.digits import PAIRS, pairs_of, scanned_digits, sums_of
from moecap.tasks.nesydm.experiments import prepared
from moecap.tasks.nesydm.settings import setting_of
from moecap.tasks.nesydm.shortest_path import COSTS, shortest_paths


def idx(path, array, magic):
    content = struct.pack(f">I{array.ndim}I", magic, *array.shape) + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def mnist(tmp_path):
    draw = np.random.default_rng(0)
    for name, n, end in (("train", 50, ".gz"), ("t10k", 20, "")):
        idx(tmp_path / f"{name}-images-idx3-ubyte{end}", draw.integers(0, 256, (n, 28, 28)), 0x803)
        idx(tmp_path / f"{name}-labels-idx1-ubyte{end}", np.arange(n) % 10, 0x801)
    return tmp_path


def test_mnist_is_read_with_and_without_gzip(mnist):
    images, labels = load_mnist(mnist, "train")
    assert (images.shape, images.dtype, labels.tolist()) == ((50, 28, 28), np.float32, [i % 10 for i in range(50)])
    raw = gzip.decompress((mnist / "train-images-idx3-ubyte.gz").read_bytes())[16:]
    assert images[3, 4, 5] == pytest.approx(raw[3 * 784 + 4 * 28 + 5] / 255)
    assert len(load_mnist(mnist, "test")[0]) == 20


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("t10k-images-idx3-ubyte", b"\0\0\x08\x01", "is no IDX file of 3 dimensions"),
        (
            "t10k-images-idx3-ubyte",
            struct.pack(">4I", 0x803, 20, 28, 28) + b"\0" * 9,
            "has 9 values and announces 15680",
        ),
        ("t10k-labels-idx1-ubyte", struct.pack(">2I", 0x801, 3) + b"\0\1\2", "20 test images with 3 labels"),
        (
            "t10k-labels-idx1-ubyte",
            struct.pack(">2I", 0x801, 20) + b"\x0a" * 20,
            "test label 0 is 10, which is no digit",
        ),
        ("train-labels-idx1-ubyte.gz", b"no gzip", "train-labels-idx1-ubyte.gz cannot be read"),
    ],
)
def test_mnist_that_is_none_is_refused_with_its_file(mnist, file, content, words):
    (mnist / file).write_bytes(content)
    with pytest.raises(BadInputError, match=words):
        load_mnist(mnist, "train" if file.startswith("train") else "test")


def test_a_folder_without_mnist_names_the_file_that_is_missing(tmp_path):
    with pytest.raises(NotAvailableError, match=r"no train-images-idx3-ubyte and no train-images-idx3-ubyte\.gz"):
        load_mnist(tmp_path, "train")


@pytest.fixture
def warcraft(tmp_path):
    folder = tmp_path / "warcraft_shortest_path" / "3x3"
    folder.mkdir(parents=True)
    ground = np.random.default_rng(0).integers(0, 5, (6, 3, 3))
    costs = np.asarray(COSTS)[ground]
    maps = np.kron(ground[..., None], np.ones((1, 8, 8, 3))).astype(np.uint8) * 50
    for split in ("train", "test"):
        np.save(folder / f"{split}_maps.npy", maps)
        np.save(folder / f"{split}_shortest_paths.npy", shortest_paths(costs).astype(np.uint8))
        np.save(folder / f"{split}_vertex_weights.npy", costs.astype(np.float16))
    return tmp_path, folder, ground


def test_warcraft_maps_are_read_with_their_ground_and_ways(warcraft):
    base, _, ground = warcraft
    maps = load_warcraft(base, "train", 3, COSTS)
    assert maps.images.shape == (6, 3, 24, 24)
    np.testing.assert_allclose(maps.images.mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(maps.images.std((0, 2, 3)), 1, atol=1e-4)
    assert (maps.ground == ground.reshape(6, 9)).all()
    assert set(np.unique(maps.ways)) == {0, 1}


def test_maps_that_are_published_in_two_parts_are_joined(warcraft):
    base, folder, _ = warcraft
    for name in ("maps", "shortest_paths", "vertex_weights"):
        whole = np.load(folder / f"train_{name}.npy")
        for part in (0, 1):
            np.save(folder / f"train_{name}_part{part}.npy", whole[3 * part : 3 * part + 3])
        (folder / f"train_{name}.npy").unlink()
    joined, whole = load_warcraft(base, "train", 3, COSTS), load_warcraft(base, "test", 3, COSTS)
    assert all((a == b).all() for a, b in zip(joined, whole, strict=True))


def test_maps_that_are_none_are_refused(warcraft):
    base, folder, _ = warcraft
    with pytest.raises(NotAvailableError, match=r"holds no 12x12/train_maps\.npy"):
        load_warcraft(base, "train", 12, COSTS)
    costs = np.load(folder / "train_vertex_weights.npy")
    np.save(folder / "train_vertex_weights.npy", np.where(np.arange(6)[:, None, None] == 4, 3.0, costs))
    with pytest.raises(BadInputError, match=r"map 4 has a cell of cost 3; ground costs 0\.8, 1\.2"):
        load_warcraft(base, "train", 3, COSTS)
    np.save(folder / "train_shortest_paths.npy", costs[:2])
    with pytest.raises(BadInputError, match="6 maps with ways"):
        load_warcraft(base, "train", 3, COSTS)
    (folder / "test_maps.npy").write_bytes(b"no array")
    with pytest.raises(BadInputError, match=r"test_maps\.npy cannot be read as NumPy's format"):
        load_warcraft(base, "test", 3, COSTS)


@pytest.fixture
def bdd_oia(tmp_path):
    draw = torch.Generator().manual_seed(0)
    for split in ("train", "test"):
        for part, width in (("inputs", 2048), ("concepts", 21), ("labels", 5)):
            folder = tmp_path / "bdd2048" / split / part
            folder.mkdir(parents=True)
            for scene in range(4):
                numbers = torch.randint(0, 2, (1, width), generator=draw).float()
                torch.save(numbers, folder / f"scene{scene}.pt")
    return tmp_path


def test_scenes_are_read_without_the_fifth_action(bdd_oia):
    scenes = load_bdd_oia(bdd_oia, "train")
    assert (scenes.embeddings.shape, scenes.concepts.shape, scenes.actions.shape) == ((4, 2048), (4, 21), (4, 4))
    own = torch.load(bdd_oia / "bdd2048" / "train" / "labels" / "scene2.pt", weights_only=True)
    assert scenes.actions[2].tolist() == own[0, :4].tolist()


def test_a_scene_that_is_none_is_refused_with_its_file(bdd_oia):
    path = bdd_oia / "bdd2048" / "train" / "concepts" / "scene1.pt"
    torch.save(torch.full((1, 21), 0.5), path)
    with pytest.raises(BadInputError, match=r"concepts/scene1\.pt: 0\.5 is neither 0 nor 1"):
        load_bdd_oia(bdd_oia, "train")
    torch.save(torch.zeros(1, 7), path)
    with pytest.raises(BadInputError, match=r"concepts/scene1\.pt holds no 21 numbers"):
        load_bdd_oia(bdd_oia, "train")
    path.write_bytes(b"no tensor")
    with pytest.raises(BadInputError, match=r"concepts/scene1\.pt cannot be read as a tensor"):
        load_bdd_oia(bdd_oia, "train")
    with pytest.raises(NotAvailableError, match="holds no val/inputs"):
        load_bdd_oia(bdd_oia, "val")


def test_actions_become_the_programs_outputs(bdd_oia):
    setting = setting_of("driving", "paper", {"epochs": "1"})
    experiment = prepared("driving", 0, setting, bdd_oia, None)
    for actions, label in zip(load_bdd_oia(bdd_oia, "test").actions.tolist(), experiment.golds.tolist(), strict=True):
        forward, stop, left, right = actions
        assert label == [2 if stop else 1 if forward else 3, left, right]


def test_the_scanned_digits_are_split_and_each_is_used_once_in_sums():
    images = scanned_digits(0)
    assert (len(images.train), len(images.test)) == (1437, 360)
    both = np.concatenate([images.train, images.test]).reshape(1797, 64)
    own = load_digits()[0].reshape(1797, 64)
    assert sorted(map(tuple, both)) == sorted(map(tuple, own))
    sums = sums_of(np.arange(1437), images.train_digits, 4, 0)
    assert sums.inputs.shape == (359, 4)
    assert len(np.unique(sums.inputs)) == 359 * 4
    assert (sums.concepts == images.train_digits[sums.inputs]).all()


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_are_those_that_training_shows_and_then_the_others(name):
    digits = np.arange(100) % 10
    questions = pairs_of(np.arange(100), digits, PAIRS[name], 96, 0 if name == "xor" else 120, 0)
    shown = {frozenset(pair) for pair in PAIRS[name]}
    for concepts, split in zip(questions.concepts.tolist(), questions.splits, strict=True):
        assert (frozenset(concepts) in shown) == (split == "id")
    assert {tuple(c) for c in questions.concepts[:96].tolist()} == {p for a, b in PAIRS[name] for p in ((a, b), (b, a))}
    assert (questions.concepts == digits[questions.inputs]).all()


FAST = {"settings": "paper", "epochs": "1", "samples": "8", "candidates": "4", "draws": "6", "seeds": "1"}


@pytest.mark.parametrize(
    ("data", "arguments"),
    [
        ("mnist", {"experiments": "addition", "digits": "1", "predictors": "nesydm,independent"}),
        ("mnist", {"experiments": "half,even_odd", "train": "16", "tests": "8", "predictors": "nesydm_conditional"}),
        ("warcraft", {"experiments": "shortest_path", "grid": "3", "predictors": "nesydm", "steps": "4"}),
        ("bdd_oia", {"experiments": "driving,driving_released", "predictors": "nesydm,nesydm_conditional,independent"}),
    ],
)
def test_the_papers_networks_train_on_published_data(tmp_path, request, data, arguments):
    found = request.getfixturevalue(data)
    folder = found[0] if isinstance(found, tuple) else found
    task, recorder = load_task("nesydm"), Recorder()
    items = task.items(TaskOptions(None, folder, FAST | arguments, lambda _line: None))
    samples = list(task.run(items, None, None, recorder, lambda _done: None))
    recorder.write(tmp_path)
    metrics = method_metrics(read_observations(tmp_path).tables, None)
    assert len(samples) == len(items) > 0
    for experiment in arguments["experiments"].split(","):
        for predictor in arguments["predictors"].split(","):
            assert 0 <= metrics[f"task.nesydm_{experiment}_{predictor}_acc_y"].value <= 1
            assert (f"task.nesydm_{experiment}_{predictor}_mf1_c" in metrics) == experiment.startswith("driving")
