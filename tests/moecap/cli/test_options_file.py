"""The file of --config: keys written either way, each given once."""

import os

import pytest

from moecap.errors import BadInputError
from moecap.options_file import read_options_file


@pytest.fixture
def file(tmp_path):
    def write(text: str):
        path = tmp_path / "run.yaml"
        path.write_text(text)
        return path

    return write


def test_keys_may_be_written_with_hyphens_at_any_depth(file):
    options = read_options_file(file("num-requests: 5\nwarmup:\n  max-batches: 2\n"))
    assert options == {"num_requests": 5, "warmup": {"max_batches": 2}}
    assert read_options_file(file("")) == {}


def test_a_merged_mapping_may_be_overridden(file):
    text = "warmup: &w\n  max_batches: 2\ncost: {<<: *w, max-batches: 3}\n"
    assert read_options_file(file(text))["cost"] == {"max_batches": 3}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("num-requests: 5\nnum_requests: 6", "num_requests is given twice; give it once"),
        ("seed: 1\nseed: 1", "seed is given twice"),
        ("warmup: {output-len: 4, output_len: 5}", "output_len is given twice"),
        ("3: 4", "the key 3 is no name of an option"),
        ("- a list", "not a mapping of options"),
        ("{", "not YAML"),
        ("seed: 2024-13-99", "not YAML"),
        ("a: *nowhere", "not YAML"),
    ],
)
def test_what_cannot_be_used_is_one_line(file, text, problem):
    with pytest.raises(BadInputError, match=problem) as caught:
        read_options_file(file(text))
    assert "\n" not in str(caught.value)


def test_a_pipe_or_a_folder_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(BadInputError, match="not a plain file"):
            read_options_file(path)
