"""Engine jobs for tiny checkpoints."""

from __future__ import annotations

import json
import string
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_models import VOCABULARY, make_model
from tokenizers import Tokenizer, models

from moecap.backend import EngineJob
from moecap.models.config_file import read_config_file
from moecap.models.reading import read_model


@pytest.fixture(scope="module")
def no_litter() -> Iterator[None]:
    """What the module's servers put into the folder for temporary files is gone when they have ended."""
    with tempfile.TemporaryDirectory(prefix="m") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(Path(tempfile.gettempdir()) / "torchinductor_tests"))
        yield
        left = sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*"))
    assert not left, f"the server left {left} behind"


@pytest.fixture(scope="session")
def vllm_job() -> Callable[..., EngineJob]:
    """A function from a checkpoint folder and a log to a vLLM job in fp32 on the CPU, eager, which starts sooner."""

    def make(folder: Path, log: Path, **arguments: str) -> EngineJob:
        spec = read_model(read_config_file(folder / "config.json"), folder.name, weights="fp32", kv="fp32")
        job = EngineJob(folder, spec, "cpu", "fp32", 2, 0, {"enforce-eager": "true"} | arguments, lambda _line: None)
        return replace(job, log=log, concurrency=4, longest=64)

    return make


@pytest.fixture
def job_for() -> Callable[..., EngineJob]:
    """A function from a checkpoint folder to an engine job in fp32 on the CPU."""

    def make(folder: Path, **arguments: str) -> EngineJob:
        spec = read_model(read_config_file(folder / "config.json"), folder.name, weights="fp32", kv="fp32")
        return EngineJob(folder, spec, "cpu", "fp32", 2, 0, arguments, lambda _line: None)

    return make


ASCII_SIZES = {
    "mixtral": {"head_dim": 32, "num_attention_heads": 2, "hidden_size": 64, "intermediate_size": 64},
    "qwen3_moe": {
        "head_dim": 32,
        "hidden_size": 64,
        "intermediate_size": 64,
        "moe_intermediate_size": 32,
        "mlp_only_layers": [],
        "norm_topk_prob": True,
    },
    "olmoe": {"head_dim": None, "hidden_size": 64, "intermediate_size": 32},
    "dense": {"hidden_size": 64, "intermediate_size": 64, "head_dim": 16},
}
"""Sizes in whole blocks of 32 weights, with which llama.cpp's graphs compute the same model."""


@pytest.fixture(scope="session")
def ascii_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function from a family to a tiny checkpoint whose tokens are whole ASCII texts, the last one its end token."""
    made: dict[str, Path] = {}

    def make(family: str) -> Path:
        if family not in made:
            folder = tmp_path_factory.mktemp("ascii") / f"tiny-{family}"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                make_model(family, folder, sizes=ASCII_SIZES[family])
            letters = [c for c in string.printable if c.isalnum()]
            tokens = (letters + [a + b for a in letters for b in letters])[:VOCABULARY]
            Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, [])).save(str(folder / "tokenizer.json"))
            (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": tokens[-1]}))
            made[family] = folder
        return made[family]

    return make


@pytest.fixture(scope="session")
def llamacpp_job() -> Callable[..., EngineJob]:
    """A function from a checkpoint folder and a log to a job of the llama.cpp backend on the CPU."""

    def make(folder: Path, log: Path, precision: str = "fp32", **arguments: str) -> EngineJob:
        weights = f"gguf-{precision}"
        spec = read_model(read_config_file(folder / "config.json"), folder.name, weights=weights, kv="fp16")
        job = EngineJob(folder, spec, "cpu", weights, 2, 0, arguments, lambda _line: None)
        return replace(job, log=log, concurrency=4, longest=64)

    return make
