"""Rounding to bfloat16 and the safetensors writer, against libraries that do the same."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from moecap.data.checkpoint import bfloat16_bits, file_sha256, write_bfloat16_safetensors


def test_bfloat16_rounds_to_nearest_and_ties_to_even():
    # bfloat16 has 8 significant bits: around 1 its step is 2**-7, around 256 it is 2
    values = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -(1 + 3 * 2**-8), 257.0, 259.0], np.float32)
    expected = np.array([1.0, 1.0, 1 + 2**-6, 1 + 2**-7, -(1 + 2**-6), 256.0, 260.0], np.float32)
    assert ((bfloat16_bits(values).astype(np.uint32) << 16).view(np.float32) == expected).all()


def test_bfloat16_rounds_as_torch_does():
    import torch

    values = np.random.default_rng(7).standard_normal(200_000).astype(np.float32)
    values *= np.float32(10.0) ** np.random.default_rng(8).integers(-38, 38, values.size).astype(np.float32)
    theirs = torch.from_numpy(values).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    assert (bfloat16_bits(values) == theirs).all()


def test_the_safetensors_library_reads_what_is_written(tmp_path):
    from safetensors import safe_open

    arrays = {"a.weight": np.arange(6, dtype=np.uint16).reshape(2, 3), "b": np.array([0x3F80], np.uint16)}
    told = []
    digest = write_bfloat16_safetensors(
        tmp_path / "m.safetensors",
        {name: array.shape for name, array in arrays.items()},
        iter(arrays.values()),
        on_bytes=lambda done, total: told.append((done, total)),
    )
    size = (tmp_path / "m.safetensors").stat().st_size
    assert told[-1] == (size, size)
    assert digest == hashlib.sha256((tmp_path / "m.safetensors").read_bytes()).hexdigest()
    assert digest == file_sha256(tmp_path / "m.safetensors")
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        assert list(file.keys()) == ["a.weight", "b"]
        assert file.metadata() == {"format": "pt"}
        assert file.get_tensor("b").item() == 1.0
        assert tuple(file.get_tensor("a.weight").shape) == (2, 3)


def test_arrays_that_do_not_fit_the_header_are_refused(tmp_path):
    with pytest.raises(ValueError, match="has shape"):
        write_bfloat16_safetensors(tmp_path / "m", {"a": (2,)}, iter([np.zeros(3, np.uint16)]))
    with pytest.raises(ValueError, match="shorter"):
        write_bfloat16_safetensors(tmp_path / "m", {"a": (2,)}, iter([]))
