"""A result of several repeats of its load keeps the rules of the leaderboard."""

import json

import pyarrow.parquet as pq
import pytest

from moecap.files import file_sha256
from moecap.load.calibration import running_stub
from moecap.result import read_result, write_result
from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.settings import with_settings
from moecap_leaderboard.examination import examine


@pytest.fixture(scope="module")
def repeated(tiny_model, tmp_path_factory):
    """A real run of three repeats on a stub."""
    folder = tmp_path_factory.mktemp("repeats")
    (folder / "prompts.jsonl").write_text(json.dumps({"prompt": "Rocks are classified by how they formed."}) + "\n")
    with running_stub(0.02, 0.01) as target:
        options = {"model": str(tiny_model("mixtral")), "endpoint": f"http://{target.name}/v1", "hw": "a100"}
        options |= {"dataset": str(folder / "prompts.jsonl"), "task": ["none"], "repeats": 3, "num_requests": 6}
        options |= {"concurrency": 2, "input_len": 8, "output_len": 4, "length_spread": 0.5}
        outcome = run(with_settings(options | {"output": str(folder / "run")}, ()), Reporter(quiet=True))
    assert outcome.error is None
    return outcome.directory


def _rules(directory):
    return {rule["id"]: rule for rule in examine(directory, list(read_result(directory).observations))["rules"]}


@pytest.mark.engine
def test_every_rule_holds_for_a_result_of_repeats(repeated):
    rules = _rules(repeated)
    assert {key: rule["detail"] for key, rule in rules.items() if rule["outcome"] == "failed"} == {}
    assert rules["recomputation"]["outcome"] == rules["counts"]["outcome"] == "passed"


@pytest.mark.engine
def test_a_repeat_whose_tokens_do_not_give_its_rate_is_found(repeated):
    path = repeated / "requests.parquet"
    table = pq.read_table(path)
    frame = table.to_pandas()
    last = frame["repeat"] == 2
    frame.loc[last, "output_tokens"] = frame.loc[last, "output_tokens"] - 1
    pq.write_table(table.from_pandas(frame, table.schema, preserve_index=False), path)
    result = read_result(repeated)
    observations = result.observations | {path.name: file_sha256(path)}
    write_result(repeated, result.model_copy(update={"observations": observations}).identified())
    rules = _rules(repeated)
    assert rules["counts"]["outcome"] == "failed" and "are not the" in rules["counts"]["detail"]
