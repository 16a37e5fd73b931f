"""A worker keeps the lease of what it runs, over a leaderboard that is away for a while, and gives up what it lost."""

import subprocess
import sys
import time

import pytest

from moecap.client import EvaluationRequest, Leaderboard
from moecap.errors import LeaderboardError, RunError
from moecap.hardware.registry import load_profile
from moecap.hardware.resolve import ResolvedHardware
from moecap.publishing.worker import Worker

CLAIMED = {
    "id": "q1",
    "state": "claimed",
    "config": {},
    "owner": "ada",
    "created": "2026-01-02T03:04:05Z",
    "attempts": 1,
    "lease": "secret",
}
MACHINE = ResolvedHardware(load_profile("h100"), 1, True, 1, "packaged")


@pytest.fixture
def watch(board, tmp_path, monkeypatch):
    """A function that watches a process of so many seconds as a worker watches a run; what the worker said follows."""
    monkeypatch.setattr("moecap.publishing.worker.RENEWED_EVERY_S", 0.2)
    said = []

    def run(seconds, longest=60.0):
        script = f"import sys, time; time.sleep({seconds}); sys.stderr.write('working\\nmoecap: no such model\\n')"
        with (
            Leaderboard(board.url, "token") as client,
            subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE) as child,
        ):
            worker = Worker(client, MACHINE, "me", tmp_path, None, longest, said.append)
            try:
                return worker._watch(child, EvaluationRequest.model_validate(CLAIMED)), said
            finally:
                child.kill()

    return run


def test_the_lease_is_renewed_until_the_run_ends_whose_last_error_is_kept(board, watch):
    board.script = [(200, {}, CLAIMED)] * 50
    last, _ = watch(1.5)
    assert last == "no such model"
    assert len(board.calls) >= 2
    assert {call.path for call in board.calls} == {"/api/v1/requests/q1/renew"}
    assert b'"lease":"secret"' in board.calls[0].content


def test_a_run_goes_on_while_the_leaderboard_is_away(board, watch, monkeypatch):
    monkeypatch.setattr("moecap.client.transport.time.sleep", lambda _seconds: None)
    board.script = [(500, {}, {"title": "broken", "detail": "broken; try later"})] * 500
    last, said = watch(1.0)
    assert last == "no such model"
    assert "broken; try later; the run goes on" in said


def test_a_run_whose_lease_was_lost_is_given_up_at_once(board, watch):
    board.script = [(409, {}, {"type": "/problems/lease-lost", "title": "lost", "detail": "the lease is lost"})]
    started = time.monotonic()
    with pytest.raises(LeaderboardError, match="the lease is lost"):
        watch(60)
    assert time.monotonic() - started < 55


def test_a_run_that_lasts_too_long_is_given_up(board, watch):
    board.script = [(200, {}, CLAIMED)] * 50
    with pytest.raises(RunError, match="the run was given up after 1 s"):
        watch(60, longest=1.0)
