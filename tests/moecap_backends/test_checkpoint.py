"""Corrupt checkpoints are one line before any library opens them."""

import json
import os

import pytest

from moecap.errors import BadInputError
from moecap_backends.checkpoint import check_checkpoint


def _safetensors(header, data=b""):
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return len(text).to_bytes(8, "little") + text + data


GOOD = _safetensors({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"\0" * 8)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(GOOD)
    (tmp_path / "tokenizer.json").write_text("{}")
    return tmp_path


def test_a_whole_checkpoint_passes(folder):
    check_checkpoint(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01",
        GOOD[:-1],
        GOOD + b"more",
        GOOD[:20],
        b"\xff" * 64,
        _safetensors(b"[" * 9000),
        _safetensors(b'{"w": 3}'),
        _safetensors(b"\xff\xfe"),
        b"<html>not found</html>",
    ],
)
def test_a_corrupt_safetensors_file_is_named(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(BadInputError, match=r"model\.safetensors: corrupt safetensors file") as caught:
        check_checkpoint(folder)
    assert "\n" not in str(caught.value)


def test_missing_weights_missing_shards_and_a_missing_tokenizer_are_named(folder):
    (folder / "tokenizer.json").unlink()
    with pytest.raises(BadInputError, match=r"no tokenizer\.json"):
        check_checkpoint(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(BadInputError, match=r"no \*\.safetensors file"):
        check_checkpoint(folder)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}))
    with pytest.raises(BadInputError, match=r"2 of 2 weight files are missing, first one\.safetensors"):
        check_checkpoint(folder)
    index.write_text("[1, 2]")
    with pytest.raises(BadInputError, match="not an index"):
        check_checkpoint(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "extra.safetensors", "generation_config.json"])
@pytest.mark.parametrize("indexed", [False, True])
def test_what_is_no_plain_file_is_refused_and_not_waited_for(folder, name, indexed):
    if indexed:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": "model.safetensors"}}))
    path = folder / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    with pytest.raises(BadInputError, match=rf"{name}: a pipe, device or socket and no plain file"):
        check_checkpoint(folder)
    path.unlink()
    path.mkdir()
    with pytest.raises(BadInputError, match=rf"{name}: a folder and no plain file"):
        check_checkpoint(folder)
    path.rmdir()
    path.symlink_to("/dev/zero")
    with pytest.raises(BadInputError, match=rf"{name}: a pipe, device or socket"):
        check_checkpoint(folder)
    path.unlink()
    path.symlink_to(folder / "nowhere")
    with pytest.raises(BadInputError, match=rf"{name}: cannot be read \(No such file or directory; a broken link\?\)"):
        check_checkpoint(folder)


def test_an_index_that_is_a_pipe_is_refused(folder):
    os.mkfifo(folder / "model.safetensors.index.json")
    with pytest.raises(BadInputError, match=r"index\.json: a pipe"):
        check_checkpoint(folder)
