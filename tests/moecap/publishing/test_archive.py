"""The archive of observations: the same bytes from the same files, and no harm from a stranger's."""

import gzip
import io
import tarfile

import pytest

from moecap.errors import BadInputError
from moecap.publishing.archive import MAX_FILES, pack, unpack

FILES = {"steps.parquet": b"\x00\xff" * 700_000, "environment.json": b"{}", "empty.npz": b""}


def _packed(files):
    target = io.BytesIO()
    pack(files, target)
    return target.getvalue()


def _unpacked(content, tmp_path):
    (tmp_path / "archive").write_bytes(content)
    folder = tmp_path / "folder"
    folder.mkdir()
    names = unpack(tmp_path / "archive", folder)
    return {name: (folder / name).read_bytes() for name in names}


def _archive(*members, **options):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz", **options) as archive:
        for name, content, kind in members:
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, len(content), "/etc/passwd"
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


def test_the_same_files_give_the_same_bytes_whatever_their_order_times_and_places(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    from_disk = {name: tmp_path / name for name in reversed(FILES)}
    assert _packed(FILES) == _packed(from_disk)


def test_an_archive_tells_of_its_files_their_names_and_contents_alone():
    with tarfile.open(fileobj=io.BytesIO(_packed(FILES))) as archive:
        for member in archive:
            assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
            assert member.mode == 0o644


def test_what_was_packed_comes_out(tmp_path):
    assert _unpacked(_packed(FILES), tmp_path) == FILES


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (("../outside", b"x", tarfile.REGTYPE), "no plain file without a folder"),
        (("/tmp/outside", b"x", tarfile.REGTYPE), "no plain file without a folder"),
        (("folder/file", b"x", tarfile.REGTYPE), "no plain file without a folder"),
        (("..", b"x", tarfile.REGTYPE), "no plain file without a folder"),
        (("link", b"", tarfile.SYMTYPE), "no plain file without a folder"),
        (("link", b"", tarfile.LNKTYPE), "no plain file without a folder"),
        (("pipe", b"", tarfile.FIFOTYPE), "no plain file without a folder"),
        (("folder", b"", tarfile.DIRTYPE), "no plain file without a folder"),
    ],
)
def test_anything_but_a_plain_file_is_refused(tmp_path, member, said):
    with pytest.raises(BadInputError, match=said):
        _unpacked(_archive(("good", b"x", tarfile.REGTYPE), member), tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["archive", "good"]


def test_a_name_twice_and_too_many_names_are_refused(tmp_path):
    twice = _archive(("a", b"1", tarfile.REGTYPE), ("a", b"2", tarfile.REGTYPE))
    with pytest.raises(BadInputError, match="'a' twice"):
        _unpacked(twice, tmp_path)
    (tmp_path / "more").mkdir()
    many = _archive(*((f"f{number}", b"", tarfile.REGTYPE) for number in range(MAX_FILES + 1)))
    with pytest.raises(BadInputError, match=f"more than {MAX_FILES} files"):
        _unpacked(many, tmp_path / "more")


def test_a_bomb_is_refused_before_it_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("moecap.publishing.archive.MAX_UNPACKED_BYTES", 1_000_000)
    with pytest.raises(BadInputError, match="more than 1000000 bytes"):
        _unpacked(_archive(("a", bytes(600_000), tarfile.REGTYPE), ("b", bytes(600_000), tarfile.REGTYPE)), tmp_path)
    assert not (tmp_path / "folder" / "b").exists()


def test_a_header_that_says_it_is_endless_is_not_read_into_memory(tmp_path):
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 8_000_000_000
    content = gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(4_000_000))
    with pytest.raises(BadInputError, match="no plain file without a folder"):
        _unpacked(content, tmp_path)


@pytest.mark.parametrize("content", [b"", b"no archive", _packed(FILES)[:700], gzip.compress(b"no tar" * 200, mtime=0)])
def test_what_is_no_whole_archive_is_refused_in_one_line(tmp_path, content):
    with pytest.raises(BadInputError, match="the archive cannot be read") as refused:
        _unpacked(content, tmp_path)
    assert "\n" not in str(refused.value)
