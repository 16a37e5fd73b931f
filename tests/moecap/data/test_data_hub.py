"""Data sets from the hub: by revision, from its cache when it is away, and refused in one line when it has none."""

import io
import json
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import commit_of, running_hub


def _parquet(rows):
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


def _question(number, right):
    return {
        "question_id": number, "question": f"Q{number}?", "options": ["one", "two", "three"], "answer": "ABC"[right],
        "answer_index": right, "cot_content": "A: Let's think step by step. The answer is (B).", "category": "law",
        "src": "s",
    }  # fmt: skip


def _files(right):
    return {
        "README.md": b"# a data set",
        "data/test-00000-of-00001.parquet": _parquet([_question(n, right) for n in (1, 2)]),
        "data/validation-00000-of-00001.parquet": _parquet([_question(n, 1) for n in range(5)]),
        "data/train-00000-of-00001.parquet": b"never asked for",
    }


OLD, NEW = _files(0), _files(1)
HUB = {"TIGER-Lab/MMLU-Pro": {"main": NEW, "v1": OLD}}


def _score(folder, url, task, predictions, *arguments):
    """Scores predictions in a process of its own, since the hub's client reads its URL once."""
    environment = os.environ | {"HF_ENDPOINT": url, "HF_HOME": str(folder / "hub"), "HF_HUB_DISABLE_XET": "1"}
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN", "HTTP_PROXY", "http_proxy"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "moecap", "score", "--task", task, "--predictions", str(predictions), "--json"]
    command += arguments
    ended = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    return ended.returncode, ended.stdout, ended.stderr


@pytest.fixture
def scored(tmp_path):
    """Scores the answer A to two questions."""
    predictions = tmp_path / "p.jsonl"
    predictions.write_text("".join(json.dumps({"id": n, "answer": "The answer is (A)."}) + "\n" for n in (1, 2)))
    return lambda url, *arguments: _score(tmp_path, url, "mmlu_pro", predictions, *arguments)


def test_a_data_set_comes_from_the_hub_once_by_its_revision_and_then_from_the_cache(scored, tmp_path):
    with running_hub(HUB) as (url, seen):
        status, out, err = scored(url)
        assert status == 0, err
        result = json.loads(out)
        assert result["metrics"]["accuracy.mmlu_pro"]["value"] == 0.0  # of the newest, B is right
        assert result["source"].endswith(f"on the Hugging Face hub, revision {commit_of(NEW)}")
        assert "fetching TIGER-Lab/MMLU-Pro from the hub" in err
        got = [line for line in seen if line.startswith("GET /datasets")]
        assert sorted(line.rpartition("/")[2][:4] for line in got) == ["test", "vali"]
        status, out, err = scored(url, "--task-arg", "revision=v1")
        assert (status, json.loads(out)["metrics"]["accuracy.mmlu_pro"]["value"]) == (0, 1.0)
        assert json.loads(out)["source"].endswith(commit_of(OLD))
        status, out, err = scored(url, "--task-arg", "revision=v9")
        assert (status, out) == (2, "")
        assert "the data set TIGER-Lab/MMLU-Pro has no revision 'v9' on the hub" in err.splitlines()[-1]
    status, out, err = scored(url, "--task-arg", f"revision={commit_of(OLD)}")  # the hub is away now
    assert (status, json.loads(out)["metrics"]["accuracy.mmlu_pro"]["value"]) == (0, 1.0)


def test_what_the_hub_does_not_have_is_one_line(scored):
    with running_hub({}) as (url, _):
        status, out, err = scored(url)
        assert (status, out) == (2, "")
        assert err.endswith("the data set TIGER-Lab/MMLU-Pro is not on the hub; give its folder with --data DIR\n")
    status, out, err = scored(url)
    assert (status, out, len(err.strip().splitlines())) == (2, "", 1)
    assert "is in no package and not in the hub's cache, and the hub cannot be reached" in err


def test_a_revision_of_a_folder_is_refused(scored, tmp_path):
    status, _, err = scored("http://127.0.0.1:9", "--data", str(tmp_path), "--task-arg", "revision=v1")
    assert status == 2
    assert "--task-arg revision=v1: the data is that of --data DIR; leave one out" in err


CARD = b"""---
configs:
- config_name: main
  data_files:
  - {split: train, path: main/train-*}
  - {split: test, path: main/test-*}
---
"""


def test_a_task_of_lm_eval_takes_its_data_from_the_hub_with_the_commit(tmp_path):
    rows = [{"question": f"How much is {n} and {n}?", "answer": f"Twice {n}.\n#### {2 * n}"} for n in range(8)]
    files = {"README.md": CARD}
    files |= {f"main/{split}-00000-of-00001.parquet": _parquet(rows) for split in ("train", "test")}
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps({"id": f"gsm8k/{n}", "answer": f"#### {2 * n}"}) + "\n" for n in range(4)))
    with running_hub({"openai/gsm8k": {"main": files}}) as (url, _):
        status, out, err = _score(tmp_path, url, "lm_eval:gsm8k", path)
    assert status == 0, err
    assert json.loads(out)["metrics"]["accuracy.lm_eval:gsm8k"]["value"] == 0.5
    assert json.loads(out)["source"] == f"openai/gsm8k main on the Hugging Face hub, revision {commit_of(files)}"
