"""A result keeps its identity when a later version of moecap knows more fields."""

import hashlib
import json
import shutil

import pytest
import rfc8785

from moecap.result import read_result, write_result
from moecap.verification.recomputation import verify_run

pytestmark = pytest.mark.engine


def _digest(content):
    stated = {key: value for key, value in content.items() if key not in ("id", "signature")}
    return hashlib.sha256(rfc8785.dumps(stated)).hexdigest()


def test_the_id_is_the_digest_of_the_file_without_moecap(measured_run):
    content = json.loads((measured_run / "result.json").read_text())
    assert content["id"] == _digest(content)


def test_a_file_of_before_a_field_was_known_has_its_own_id_and_verifies(measured_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(measured_run, run)
    content = json.loads((run / "result.json").read_text())
    for part, name in ((content["workload"], "turn_wait"), (content["backend"], "attached"), (content, "signature")):
        del part[name]
    content["id"] = _digest(content)
    (run / "result.json").write_text(json.dumps(content))
    result = read_result(run)
    assert result.canonical_id() == result.id == content["id"]
    assert verify_run(run).ok
    write_result(tmp_path, result)
    assert json.loads((tmp_path / "result.json").read_text()) == content
