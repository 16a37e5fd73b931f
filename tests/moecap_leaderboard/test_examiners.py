"""Processes that examine: what crashes, stalls or fills memory ends there, and the next submission is examined."""

from __future__ import annotations

import io
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from moecap.errors import BadInputError, NotAvailableError
from moecap.files import file_sha256
from moecap_leaderboard import serve
from moecap_leaderboard.examiners import Examiners
from moecap_leaderboard.kept_drawings import KeptDrawings


@pytest.fixture(scope="module")
def own_examiners():
    made = Examiners(1, seconds=60, waiting=0)
    yield made
    made.close()


def _sent(run):
    return [name for name in run.result["observations"] if (run.folder / name).exists()]


def _failed(found):
    return {rule["id"]: rule["detail"] for rule in found["rules"] if rule["outcome"] == "failed"}


def test_a_process_that_died_is_replaced(own_examiners, make_run):
    run, others = make_run(), set(multiprocessing.active_children())
    assert _failed(own_examiners.examine(run.folder, _sent(run))) == {}
    own = set(multiprocessing.active_children()) - others
    assert len(own) == 1
    for child in own:
        assert Path(f"/proc/{child.pid}/oom_score_adj").read_text() == "1000\n"
        child.kill()
        child.join()
    assert _failed(own_examiners.examine(run.folder, _sent(run))) == {}


def _killed_once(marker):
    """Work whose process is killed under it, the first time."""
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def _killed_always(count):
    with count.open("a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)


def test_work_whose_process_is_killed_is_tried_once_more(own_examiners, tmp_path):
    assert own_examiners.work(_killed_once, tmp_path / "marker") == "done"
    with pytest.raises(BadInputError, match="cannot be examined"):
        own_examiners.work(_killed_always, tmp_path / "count")
    assert (tmp_path / "count").read_text() == "xx"
    assert own_examiners.work(_killed_once, tmp_path / "marker") == "done"


def _outlived(folder):
    """Work whose files are taken away under it."""
    (folder / "begun").touch()
    while folder.exists():
        time.sleep(0.01)
    raise BadInputError("the files are gone")


def test_what_is_found_in_files_that_went_with_the_service_is_no_finding(tmp_path):
    ending, folder = Examiners(1), tmp_path / "run"
    folder.mkdir()
    with ThreadPoolExecutor() as threads:
        working = threads.submit(ending.work, _outlived, folder)
        while not (folder / "begun").exists():
            time.sleep(0.01)
        waiting = threads.submit(ending.work, _outlived, folder)
        ending.close()
        shutil.rmtree(folder)
        for one in (working, waiting):
            with pytest.raises(NotAvailableError, match="service ends"):
                one.result(60)


def test_a_service_that_is_ended_by_force_ends_its_examiners_before_their_files_go(tmp_path, monkeypatch):
    monkeypatch.setenv("MOECAP_LEADERBOARD_DATA", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    opened = []

    def forced(service, *arguments):
        opened.append(service)
        assert tempfile.gettempdir() == str(service.blobs.work)
        raise KeyboardInterrupt

    monkeypatch.setattr(serve, "_serve", forced)
    with pytest.raises(KeyboardInterrupt):
        serve.serve()
    with pytest.raises(NotAvailableError, match="service ends"):
        opened[0].examiners.work(len, ())
    assert not opened[0].blobs.work.exists()


def test_routing_that_says_it_is_endless_is_a_file_that_cannot_be_read(own_examiners, make_run):
    run = make_run()
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (40_000_000_000, 30, 2)}
    )
    with zipfile.ZipFile(run.folder / "routing.npz", "w") as file:
        file.writestr("experts.npy", header.getvalue())
        file.writestr("capture.npy", header.getvalue())
    digest = file_sha256(run.folder / "routing.npz")
    run.changed(lambda content: content["observations"].update({"routing.npz": digest}))
    assert "routing.npz cannot be read" in _failed(own_examiners.examine(run.folder, _sent(run)))["recomputation"]
    whole = make_run()
    assert _failed(own_examiners.examine(whole.folder, _sent(whole))) == {}


def test_an_examination_that_takes_too_long_is_given_up(make_run):
    run, hasty = make_run(), Examiners(1, seconds=0.01)
    with pytest.raises(BadInputError, match="cannot be examined"):
        hasty.examine(run.folder, _sent(run))
    hasty.close()


def test_a_submission_that_finds_no_place_is_turned_away(own_examiners):
    with own_examiners.place(), pytest.raises(NotAvailableError, match="try again"), own_examiners.place():
        pass
    with own_examiners.place():
        pass


def test_readers_leave_places_to_those_who_submit():
    examiners = Examiners(1, waiting=4)
    with examiners.drawing(), examiners.drawing():
        with pytest.raises(NotAvailableError, match="charts wait"), examiners.drawing():
            pass
        with examiners.place(), examiners.place(), examiners.place():
            pass


def test_what_many_ask_for_at_once_is_drawn_once():
    drawn, begun = [], threading.Event()
    kept = KeptDrawings(Examiners(1, waiting=8), most=1)

    def draw():
        begun.set()
        time.sleep(0.2)
        drawn.append(1)
        if len(drawn) == 1:
            raise BadInputError("it cannot be drawn")
        return len(drawn)

    with ThreadPoolExecutor() as threads:
        for expected in (["it cannot be drawn"] * 3, [2] * 3):
            begun.clear()
            first = threads.submit(kept.get, "a", draw)
            begun.wait()
            asked = [first, *(threads.submit(kept.get, "a", draw) for _ in range(2))]
            assert [str(one.exception()) if one.exception() else one.result() for one in asked] == expected
    assert kept.get("a", draw) == 2 and kept.get("b", draw) == 3 and kept.get("a", draw) == 4
