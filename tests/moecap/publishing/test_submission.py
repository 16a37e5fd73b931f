"""What is packed for a leaderboard is what the manifest says, and nothing private is packed at all."""

import json
import shutil
import tarfile
from hashlib import sha256

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moecap.cli import main
from moecap.errors import BadInputError, VerificationError
from moecap.files import file_sha256
from moecap.publishing.signing import new_key, signer
from moecap.publishing.submission import prepare
from moecap.result import read_result, write_result

pytestmark = pytest.mark.engine


@pytest.fixture(autouse=True)
def own_settings(monkeypatch, tmp_path):
    monkeypatch.setenv("MOECAP_CONFIG", str(tmp_path / "settings"))
    monkeypatch.setattr("socket.gethostname", lambda: "gpu-box-7")
    monkeypatch.delenv("MOECAP_TOKEN", raising=False)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "packed").mkdir()
    return tmp_path / "packed"


@pytest.fixture
def run(measured_run, tmp_path):
    shutil.copytree(measured_run, tmp_path / "run")
    (tmp_path / "run" / "server.log").write_text("started on gpu-box-7 by alice7")
    return tmp_path / "run"


def _members(package):
    with tarfile.open(package.observations) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}


def _changed(run, name, change):
    """The run with another observation file, and a result that names it and has its id, as an author would have."""
    change(run / name)
    result = read_result(run)
    digests = result.observations | {name: file_sha256(run / name)}
    write_result(run, result.model_copy(update={"observations": digests}).identified())


def test_the_manifest_names_every_byte_that_goes(run, folder):
    package = prepare(run, folder, key=new_key())
    sent = {"result.json": package.result.read_bytes(), **_members(package)}
    stated = {entry.file: (entry.bytes, entry.sha256) for entry in package.manifest.files}
    assert stated == {name: (len(content), sha256(content).hexdigest()) for name, content in sent.items()}
    result = json.loads(sent["result.json"])
    assert sent.keys() - {"result.json"} == result["observations"].keys() - {"samples.jsonl"}
    assert all(stated[name][1] == digest for name, digest in result["observations"].items() if name in stated)


def test_prompts_answers_logs_and_reports_stay(run, folder):
    (run / "report.html").write_text("made on gpu-box-7")
    manifest = prepare(run, folder).manifest
    assert {left.file for left in manifest.left_out} == {"samples.jsonl", "server.log", "report.html"}
    assert manifest.left_out[1].reason == "prompts and answers; --with-samples sends them"
    assert set(manifest.not_recomputed) == {n for n in read_result(run).metrics if n.startswith(("accuracy.", "task."))}
    assert "accuracy.arc_easy" in manifest.not_recomputed


def test_with_samples_everything_can_be_recomputed(run, folder):
    package = prepare(run, folder, with_samples=True)
    assert _members(package)["samples.jsonl"] == (run / "samples.jsonl").read_bytes()
    assert package.manifest.not_recomputed == ()


def test_the_run_stays_as_it_is_and_what_goes_is_signed(run, folder):
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    key = new_key()
    package = prepare(run, folder, key=key)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    assert signer(read_result(package.result)) == package.manifest.signed_by == key.public
    assert read_result(package.result).id == read_result(run).id == package.manifest.result


def test_the_same_run_gives_the_same_archive(run, folder, tmp_path):
    (tmp_path / "again").mkdir()
    first, second = prepare(run, folder), prepare(run, tmp_path / "again")
    assert first.observations.read_bytes() == second.observations.read_bytes()


def test_a_host_name_in_a_compressed_column_stops_it_and_is_named(run, folder, capsys):
    def put_name(path):
        table = pq.read_table(path)
        column = table.column_names.index("error")
        texts = pa.array([None] * (len(table) - 1) + ["refused by gpu-box-7:8000"])
        pq.write_table(table.set_column(column, table.schema.field(column), texts), path, compression="zstd")

    _changed(run, "requests.parquet", put_name)
    said = "nothing is sent: requests.parquet holds this machine's name (gpu-box-7); --allow TEXT lets a text go"
    with pytest.raises(BadInputError) as refused:
        prepare(run, folder)
    assert str(refused.value).startswith(said)
    assert not (folder / "observations.tar.gz").exists()
    assert main(["submit", str(run), "--url", "https://board.example", "--dry-run"]) == 2
    assert said in capsys.readouterr().err
    assert prepare(run, folder, allowed=("gpu-box-7",)).observations is not None


def test_a_path_in_a_statement_of_the_result_stops_it(run, folder):
    result = read_result(run)
    provenance = result.provenance.model_copy(update={"environment": {"torch": "from /data/team7/wheels"}})
    write_result(run, result.model_copy(update={"provenance": provenance}).identified())
    with pytest.raises(BadInputError, match=r"result\.json holds a path \(/data/team7/wheels\)"):
        prepare(run, folder)


def test_a_result_that_does_not_follow_is_not_sent(run, folder):
    result = read_result(run)
    better = result.metrics["ttft.p50"].model_copy(update={"value": 1e-6, "low": None, "high": None})
    write_result(run, result.model_copy(update={"metrics": result.metrics | {"ttft.p50": better}}).identified())
    with pytest.raises(VerificationError, match="does not follow from its observations"):
        prepare(run, folder)


def test_the_manifest_is_the_answer_of_a_dry_run_which_calls_nobody(run, capsys):
    assert main(["submit", str(run), "--url", "https://board.example", "--dry-run", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["submission"] is None
    assert answer["manifest"]["result"] == read_result(run).id
    assert main(["submit", str(run), "--url", "https://board.example", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "to https://board.example, unsigned:"
    assert any(line.startswith("  result.json") and "SHA-256 " in line for line in lines)
    assert "stays here:" in lines


def test_without_a_key_nothing_is_sent(run, capsys):
    assert main(["submit", str(run), "--url", "https://board.example"]) == 2
    assert "needs a key to https://board.example; set MOECAP_TOKEN" in capsys.readouterr().err
    assert main(["submit", str(run), "--url", "http://board.example", "--token", "s3cret-token"]) == 2
    said = capsys.readouterr().err
    assert "is not encrypted" in said
    assert "a key on the command line is seen by other users" in said
    assert "s3cret" not in said
