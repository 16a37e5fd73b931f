"""Copies of tied checkpoints with an output projection of their own."""

import json
import os
import shutil

import pytest
from tiny_models import make_model

from moecap.errors import BadInputError
from moecap_backends.checkpoint import check_checkpoint
from moecap_backends.untied import untied_copy


@pytest.fixture(scope="module")
def tied(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tied") / "tiny-tied"
    return make_model("mixtral", folder, sizes={"tie_word_embeddings": True})


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MOECAP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _logits(folder):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        return model(torch.tensor([[3, 7, 11, 19]])).logits


def test_a_copy_computes_what_the_tied_model_does_without_being_tied(tied, cache):
    copy = untied_copy(tied, lambda _line: None)
    check_checkpoint(copy)
    assert json.loads((copy / "config.json").read_text())["tie_word_embeddings"] is False
    assert json.loads((tied / "config.json").read_text())["tie_word_embeddings"] is True
    assert _logits(copy).equal(_logits(tied))
    assert not _logits(copy).eq(0).all()


def test_a_copy_shares_the_weights_and_is_made_once(tied, cache):
    said = []
    copy = untied_copy(tied, said.append)
    assert (copy / "model-shared.safetensors").samefile(tied / "model.safetensors")
    assert (copy / "moecap-lm_head.safetensors").stat().st_size < 256 * 32 * 4 + 1000
    assert untied_copy(tied, said.append) == copy
    assert len(said) == 1
    assert [p.name for p in (cache / "models").iterdir()] == [copy.name]


def test_a_file_of_the_checkpoint_with_the_name_of_a_projection_stays_as_it_is(tied, cache, tmp_path):
    from safetensors.numpy import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(tied, folder)
    stored = load_file(folder / "model.safetensors")
    other = {name: stored.pop(name) for name in list(stored) if name == "model.norm.weight"}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    save_file(other, folder / "lm_head.safetensors", metadata={"format": "pt"})
    before = (folder / "lm_head.safetensors").read_bytes()
    copy = untied_copy(folder, lambda _line: None)
    assert (folder / "lm_head.safetensors").read_bytes() == before
    assert _logits(copy).equal(_logits(tied))


def test_a_checkpoint_that_has_changed_is_copied_anew(tied, cache, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tied, folder)
    first = untied_copy(folder, lambda _line: None)
    os.utime(folder / "model.safetensors", ns=(1, 1))
    assert untied_copy(folder, lambda _line: None) != first


def test_an_output_projection_in_the_files_must_be_the_embedding(tied, cache, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(tied, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    assert untied_copy(folder, lambda _line: None) == folder
    save_file(tensors | {"lm_head.weight": tensors["lm_head.weight"] + 1}, folder / "model.safetensors")
    with pytest.raises(BadInputError, match="its files hold another one"):
        untied_copy(folder, lambda _line: None)


def test_an_embedding_under_another_name_is_left_as_it_is(tied, cache, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(tied, folder)
    tensors = load_file(folder / "model.safetensors")
    renamed = {name.replace("model.", "model.language_model.", 1): tensor for name, tensor in tensors.items()}
    save_file(renamed, folder / "model.safetensors", {"format": "pt"})
    assert untied_copy(folder, lambda _line: None) == folder
