"""A leaderboard that is not honest: what it gives in place of a result is seen, and does no harm."""

import io
import json
import shutil
import tarfile

import pytest

from moecap.cli import main
from moecap.publishing.archive import pack
from moecap.result import read_result, write_result

pytestmark = pytest.mark.engine


def _archive(run):
    target = io.BytesIO()
    names = ["result.json", *read_result(run).observations]
    pack({name: run / name for name in names if (run / name).exists()}, target)
    return target.getvalue()


@pytest.fixture
def run(measured_run, tmp_path):
    shutil.copytree(measured_run, tmp_path / "run")
    return tmp_path / "run"


def _verified(board, identifier, content, capsys):
    board.script = [(200, {"Content-Type": "application/gzip"}, content)]
    status = main(["verify", identifier, "--url", board.url, "--json"])
    captured = capsys.readouterr()
    return status, json.loads(captured.out) if captured.out else captured.err


def test_an_honest_answer_verifies_also_without_the_samples(board, run, capsys):
    identifier = read_result(run).id
    status, answer = _verified(board, identifier, _archive(run), capsys)
    assert (status, answer["ok"], answer["not_recomputed"], answer["signed_by"]) == (0, True, [], None)
    (run / "samples.jsonl").unlink()
    status, answer = _verified(board, identifier, _archive(run), capsys)
    assert (status, answer["ok"]) == (0, True)
    assert "accuracy.arc_easy" in answer["not_recomputed"]
    assert [call.headers.get("Authorization") for call in board.calls] == [None, None]


def test_another_result_in_its_place_is_seen(board, run, capsys):
    identifier = read_result(run).id
    write_result(run, read_result(run).model_copy(update={"kind": "imported"}).identified())
    status, said = _verified(board, identifier, _archive(run), capsys)
    assert status == 1
    assert f"what the leaderboard gave for {identifier[:12]}… is not that result" in said


def test_a_changed_number_under_the_old_id_is_seen(board, run, capsys):
    identifier = read_result(run).id
    content = json.loads((run / "result.json").read_text())
    content["metrics"]["tpot.p50"]["value"] /= 2
    (run / "result.json").write_text(json.dumps(content))
    status, said = _verified(board, identifier, _archive(run), capsys)
    assert status == 1
    assert "it was changed after it was measured" in said


def test_changed_observations_are_seen(board, run, capsys):
    content = bytearray((run / "telemetry.parquet").read_bytes())
    content[100] ^= 1
    (run / "telemetry.parquet").write_bytes(bytes(content))
    status, answer = _verified(board, read_result(run).id, _archive(run), capsys)
    assert (status, answer["ok"]) == (1, False)
    assert "telemetry.parquet" in answer["corrupt"]


def test_a_missing_file_that_may_not_stay_away_is_seen(board, run, capsys):
    (run / "peaks.parquet").unlink(missing_ok=True)
    (run / "requests.parquet").unlink()
    status, answer = _verified(board, read_result(run).id, _archive(run), capsys)
    assert status == 1
    assert "requests.parquet" in answer["corrupt"]


def test_an_archive_that_would_write_elsewhere_is_refused(board, run, capsys, tmp_path):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        archive.add(run / "result.json", "../../outside.json")
    status, said = _verified(board, read_result(run).id, target.getvalue(), capsys)
    assert status == 2
    assert "no plain file without a folder" in said


def test_arguments_that_a_stranger_chose_are_shown_and_not_used(board, run, capsys):
    result = read_result(run)
    workload = result.workload.model_copy(update={"engine_arg": ("trust-remote-code=true",)})
    strange = result.model_copy(update={"workload": workload}).identified()
    write_result(run, strange)
    board.script = [(200, {}, (run / "result.json").read_bytes())]
    assert main(["reproduce", strange.id, "--url", board.url, "--model", str(run)]) == 2
    said = capsys.readouterr().err
    assert "arguments that its author chose (trust-remote-code=true)" in said
    assert "--with-arguments" in said


def test_a_result_of_other_hardware_is_not_repeated_here(board, run, capsys):
    result = read_result(run)
    profile = result.hardware.profile.model_copy(update={"id": "another-host"})
    hardware = result.hardware.model_copy(update={"id": "another-host", "profile": profile})
    other = result.model_copy(update={"hardware": hardware}).identified()
    write_result(run, other)
    board.script = [(200, {}, (run / "result.json").read_bytes())]
    assert main(["reproduce", other.id, "--url", board.url, "--model", str(run)]) == 2
    assert "the result is of 1 x another-host, which are not here" in capsys.readouterr().err
