"""The archive of a run directory, as people make one, becomes what ``moecap submit`` sends; others are refused."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from moecap.errors import BadInputError
from moecap.publishing import archive
from moecap.publishing.archive import unpack
from moecap_leaderboard import dropped
from moecap_leaderboard.dropped import read_dropped


def _zip(run, target):
    return shutil.make_archive(str(target), "zip", run.folder.parent, run.folder.name)


def _tar_gz(run, target):
    return shutil.make_archive(str(target), "gztar", run.folder.parent, run.folder.name)


def _flat_tar(run, target):
    return shutil.make_archive(str(target), "tar", run.folder)


def _gnu_tar(run, target):
    path = f"{target}.tgz"
    subprocess.run(["tar", "czf", path, "-C", str(run.folder.parent), run.folder.name], check=True)
    return path


def _pax_tar(run, target):
    path = f"{target}.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as made:
        made.add(run.folder, "lauf-\N{LATIN SMALL LETTER A WITH DIAERESIS}")  # a name that needs an extended header
    return path


MAKERS = [_zip, _tar_gz, _flat_tar, _gnu_tar, _pax_tar]


@pytest.mark.parametrize("make", MAKERS)
def test_a_run_directory_in_any_archive_gives_its_result_and_observations(make, make_run, tmp_path):
    run = make_run()
    (run.folder / "report.html").write_text("<p>a report</p>")
    path = Path(make(run, tmp_path / "sent"))
    found = read_dropped([path], _empty(tmp_path), with_samples=False)
    assert found.result == (run.folder / "result.json").read_bytes()
    assert found.left_out == ("report.html",)
    assert found.archive.read_bytes() == run.archive


def test_what_submit_sends_can_be_dropped_as_its_two_files(make_run, tmp_path):
    run = make_run()
    path = tmp_path / "observations.tar.gz"
    path.write_bytes(run.archive)
    found = read_dropped([path, run.folder / "result.json"], _empty(tmp_path), with_samples=False)
    assert (found.result, found.archive.read_bytes()) == ((run.folder / "result.json").read_bytes(), run.archive)


@pytest.mark.parametrize("with_samples", [False, True])
def test_samples_go_on_only_where_that_is_said(make_run, tmp_path, with_samples):
    run = make_run()
    (run.folder / "samples.jsonl").write_text("{}\n")
    run.changed(lambda content: content["observations"].update({"samples.jsonl": "0" * 64}))
    found = read_dropped([Path(_zip(run, tmp_path / "sent"))], _empty(tmp_path), with_samples=with_samples)
    away = tmp_path / "away"
    away.mkdir()
    assert ("samples.jsonl" in unpack(found.archive, away)) is with_samples
    assert ("samples.jsonl" in found.left_out) is not with_samples


def _entries(target, *entries):
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in entries:
            made.writestr(name, content)
    return target


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([("run/notes.txt", b"x")], "no result.json came"),
        ([("a/result.json", b"{}"), ("b/result.json", b"{}")], "'result.json' twice"),
        ([("result.json", b"{}")], "result.json: "),
        ([(f"run/{n}.bin", b"") for n in range(65)], "more than 64 files"),
        ([("x" * 256, b"x")], "no result.json came"),
        ([("../result.json", b"{}"), ("/result.json", b"{}"), ("a/b/result.json", b"{}")], "no result.json came"),
    ],
)
def test_an_archive_that_holds_no_run_is_refused(tmp_path, entries, said):
    with pytest.raises(BadInputError, match=said):
        read_dropped([_entries(tmp_path / "sent.zip", *entries)], _empty(tmp_path), with_samples=False)
    assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8bno gzip", b"PK\x03\x04no zip"])
def test_what_is_no_archive_is_refused(tmp_path, content):
    path = tmp_path / "sent.zip"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"cannot be read|no result\.json"):
        read_dropped([path], _empty(tmp_path), with_samples=False)


def test_an_archive_that_would_fill_the_disk_is_refused(tmp_path, monkeypatch):
    for module in (archive, dropped):
        monkeypatch.setattr(module, "MAX_UNPACKED_BYTES", 1000)
    bomb = _entries(tmp_path / "sent.zip", ("steps.parquet", b"\0" * 100_000))
    with pytest.raises(BadInputError, match="more than 1000 bytes"):
        read_dropped([bomb], _empty(tmp_path), with_samples=False)
    tar = tmp_path / "sent.tar"
    with tarfile.open(tar, "w") as made:
        member = tarfile.TarInfo("deep/er/steps.parquet")
        member.size = 2000
        made.addfile(member, io.BytesIO(b"\0" * 2000))
    shutil.rmtree(tmp_path / "empty")
    with pytest.raises(BadInputError, match="more than 1000 bytes"):
        read_dropped([tar], _empty(tmp_path), with_samples=False)


def test_a_zip_of_another_method_than_deflate_is_refused_before_it_takes_the_memory_that_it_asks_for(tmp_path):
    with zipfile.ZipFile(tmp_path / "sent.zip", "w", zipfile.ZIP_LZMA) as made:
        made.writestr("result.json", b"{}")
    with pytest.raises(BadInputError, match="another method"):
        read_dropped([tmp_path / "sent.zip"], _empty(tmp_path), with_samples=False)


def test_a_zip_with_a_directory_of_megabytes_is_refused_before_it_is_read(tmp_path):
    many = _entries(tmp_path / "sent.zip", *((f"{n:0200}", b"") for n in range(5000)))
    with pytest.raises(BadInputError, match="far more files"):
        read_dropped([many], _empty(tmp_path), with_samples=False)


@pytest.mark.parametrize("count", [0, 2])
def test_no_archive_or_two_are_refused(tmp_path, count):
    paths = [_entries(tmp_path / f"{n}.zip", ("result.json", b"{}")) for n in range(count)]
    with pytest.raises(BadInputError, match=f"{count} files came"):
        read_dropped(paths, _empty(tmp_path), with_samples=False)


def _empty(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder
