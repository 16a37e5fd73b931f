"""The cache: where it lies, its locks, what is in it and how it is emptied."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moecap.data.cache import cache_lock, cache_root, clean, entries, require_room, staged_folder
from moecap.errors import NotAvailableError, UnknownNameError

HOLDER = """
import sys, time
from moecap.data.cache import cache_lock
with cache_lock("models/m"):
    print("held", flush=True)
    sys.stdin.readline()
"""

WRITER = """
import time
from moecap.data.cache import cache_lock, cache_root
with cache_lock("models/m"):
    part = cache_root() / "models" / ".partial-m-1"
    part.mkdir(parents=True)
    print("held", flush=True)
    for number in range(12):
        (part / str(number)).write_bytes(b"x" * 10)
        time.sleep(0.2)
"""


class Listener:
    def __init__(self) -> None:
        self.said: list[str] = []

    def advance(self, label: str, done: int, total: int) -> None:
        raise AssertionError("a lock has no amount")

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MOECAP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def holder(cache):
    process = subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.communicate("\n")


def test_the_variable_of_moecap_goes_before_xdg_and_home(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_root() == cache
    assert cache.is_dir()
    monkeypatch.delenv("MOECAP_CACHE")
    assert cache_root() == tmp_path / "xdg" / "moecap"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == tmp_path / "home" / ".cache" / "moecap"


def test_a_cache_that_cannot_be_created_is_named_with_the_variable_that_moves_it(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MOECAP_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(NotAvailableError, match=r"file/cache cannot be created: .*; set MOECAP_CACHE to a folder"):
        cache_root()


def test_a_cache_that_cannot_be_written_is_named_with_the_variable_that_moves_it(cache, monkeypatch):
    # root may write anywhere, so the system's answer is given here
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(NotAvailableError, match="cache cannot be written; set MOECAP_CACHE to a folder"):
        cache_root()


def test_a_lock_whose_holder_writes_nothing_ends_in_one_line_that_names_the_process(holder, cache):
    with (
        pytest.raises(NotAvailableError, match=rf"process {holder.pid} holds .*models--m\.lock and .*; wait") as caught,
        cache_lock("models/m", patience=0.5),
    ):
        raise AssertionError("the lock was given twice")
    assert "\n" not in str(caught.value)


def test_a_wait_that_lasts_names_the_process_once_and_ends_when_it_lets_go(holder, cache):
    class LetGo(Listener):
        def say(self, text: str) -> None:
            super().say(text)
            holder.stdin.write("\n")
            holder.stdin.flush()

    listener = LetGo()
    began = time.monotonic()
    with cache_lock("models/m", patience=30, progress=listener):
        assert 1.9 < time.monotonic() - began < 20
    assert len(listener.said) == 1
    assert listener.said[0].startswith(f"process {holder.pid} is at work on models/m; waiting")


def test_a_holder_that_keeps_writing_is_waited_for_longer_than_one_that_does_not(cache):
    with subprocess.Popen([sys.executable, "-c", WRITER], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "held\n"
        began = time.monotonic()
        with cache_lock("models/m", patience=1):
            assert time.monotonic() - began > 2


def test_a_holder_that_dies_loses_the_lock(holder, cache):
    holder.kill()
    with cache_lock("models/m", patience=10):
        pass


def test_what_vanishes_while_the_cache_is_listed_is_not_counted(cache):
    folder = cache_root() / "models" / "m"
    folder.mkdir(parents=True)
    (folder / "whole").write_bytes(b"12345")
    (folder / "gone").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe")
    assert [(entry.bytes, entry.files) for entry in entries()] == [(5, 1)]


def test_a_staged_folder_appears_complete_or_not_at_all(cache):
    target = cache_root() / "models" / "m"
    with pytest.raises(RuntimeError), staged_folder(target) as stage:
        (stage / "half").write_text("x")
        raise RuntimeError
    assert list(target.parent.iterdir()) == []
    for content in ("first", "second"):
        with staged_folder(target) as stage:
            (stage / "whole").write_text(content)
        assert (target / "whole").read_text() == content
    assert [path.name for path in target.parent.iterdir()] == ["m"]


def test_what_a_killed_process_left_is_listed_and_removed_by_the_next_maker(cache):
    left = cache_root() / "models" / ".partial-m-abc"
    left.mkdir(parents=True)
    (left / "weights").write_bytes(b"12345")
    assert [(entry.name, entry.bytes, entry.files) for entry in entries()] == [("models/.partial-m-abc", 5, 1)]
    with staged_folder(left.parent / "m"):
        assert not left.exists()


def test_entries_give_name_bytes_and_files_and_cleaning_removes_just_those_named(cache):
    for name, size in (("models/a", 10), ("packages/b", 20)):
        folder = cache_root() / name / "sub"
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"x" * size)
    (cache / "packages" / "c.whl").write_bytes(b"x" * 30)
    found = [(entry.name, entry.bytes, entry.files) for entry in entries()]
    assert found == [("models/a", 10, 1), ("packages/b", 20, 1), ("packages/c.whl", 30, 1)]
    with pytest.raises(UnknownNameError, match="no cache entry named 'models/x'"):
        clean(["models/a", "models/x"])
    assert len(entries()) == 3
    assert [entry.name for entry in clean(["models/a", "packages/c.whl", "models/a"])] == ["models/a", "packages/c.whl"]
    assert [entry.name for entry in entries()] == ["packages/b"]


@pytest.mark.parametrize("name", ["models/m", "models/.partial-m-xyz"])
def test_an_entry_that_another_process_makes_is_not_removed(holder, cache, name):
    (cache / name).mkdir(parents=True)
    with pytest.raises(NotAvailableError, match="models/m is in use"):
        clean([name])
    assert (cache / name).is_dir()


def test_work_for_which_there_is_no_room_is_refused_with_the_figures(tmp_path):
    with pytest.raises(NotAvailableError, match=r"the model needs 1000000000000 MB and .* MB free; free some room"):
        require_room(tmp_path, 10**18, "the model")
