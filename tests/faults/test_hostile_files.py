"""Changed files of every format that moecap reads: a value or one line, whatever they hold."""

import shutil
import warnings
from pathlib import Path

import pytest
from hostile import all_parsers
from hostile.mutations import altered, damaged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moecap.errors import MoecapError

NAMES = """model-config tokenizer-config chat-template adapter hardware-profile layout run-configuration sweep points
probe result imported-result samples verified-samples searched-json searched-lines routing searched-arrays
searched-table task-table table-chunks table-requests table-steps table-telemetry import-vllm import-sglang
import-guidellm import-lm-eval import-inference-perf import-aiperf import-aiperf-records import-moe-cap stream-openai
stream-llamacpp stream-sglang http-response metrics judge leaderboard data-prompts data-sharegpt data-trace data-lines
data-parquet data-arrow predictions golds data-conllu data-unimorph data-snippets data-snippets-archive data-longbench
data-imagecode data-imagecode-tags data-mnist data-mnist-plain data-maps picture data-scenes archive dropped-tar
dropped-zip signing-key weights weights-index gguf llamacpp-passes""".split()

CHANGES = settings(
    max_examples=30,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def parsers(projected_run):
    return {parser.name: parser for parser in all_parsers(projected_run)}


def _read(parser, folder: Path, content: bytes) -> str | None:
    """The line with which a content is refused, ``None`` where it is read."""
    shutil.rmtree(folder, ignore_errors=True)
    path = parser.place(folder, content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parser.read(path)
    except MoecapError as error:
        return str(error)
    return None


def test_the_table_is_whole(parsers):
    assert list(parsers) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_valid_files_are_read(parsers, name, tmp_path):
    for content in parsers[name].examples:
        assert _read(parsers[name], tmp_path / "x", content) is None


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NAMES)
def test_changed_files_are_read_or_refused_in_one_line(parsers, name, tmp_path):
    parser = parsers[name]

    @CHANGES
    @given(st.sampled_from(parser.examples), st.integers(0, 2**64), st.booleans())
    def changed(example, seed, whole):
        change = altered if parser.text and whole else damaged
        line = _read(parser, tmp_path / "x", change(example, seed))
        assert line is None or (line.isprintable() and len(line) <= 2001) or "\xa0" in line

    changed()
