"""A leaderboard whose disk is lost comes back from its dataset repository, with every row, key and file."""

import subprocess
import sys
import time

import pytest
from fake_hub import TOKEN, FakeHub
from service_process import APP, ServiceProcess

REPOSITORY = "ada/board-store"


@pytest.fixture
def hub():
    with FakeHub(REPOSITORY) as running:
        yield running


def _environment(hub, tmp_path, seconds="3600"):
    return {
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": TOKEN,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "MOECAP_HUB_DATASET": REPOSITORY,
        "MOECAP_HUB_SECONDS": seconds,
    }


def _submit(service, run, token):
    (run.folder / "archive").write_bytes(run.archive)
    with service.board(token) as board:
        return board.submit(run.folder / "result.json", run.folder / "archive")


def test_what_was_submitted_survives_the_loss_of_the_disk(hub, tmp_path, make_run):
    environment = _environment(hub, tmp_path)
    with ServiceProcess(tmp_path / "first", environment) as service:
        token = service.token("ada", "submit")
        sent = _submit(service, make_run(), token)
        assert sent.state == "published"
        assert service.stop() == 130
    assert hub.commits[-1] == ["leaderboard.sqlite"]
    observations = {name for name in hub.files if name.startswith("observations/")}
    assert len(observations) > 4
    with ServiceProcess(tmp_path / "second", environment) as service:
        with service.board(token) as board:
            assert board.own_key().owner == "ada"
            assert [row.id for row in board.results(ranked="any")] == [sent.result]
            board.download_observations(sent.result, tmp_path / "archive")
        kept = {path.name for path in (tmp_path / "second" / "observations").glob("??/*")}
        assert {name.rpartition("/")[2] for name in observations} == kept
        commits = len(hub.commits)
        again = _submit(service, make_run().variant(7), token)
        service.stop()
    added = [name for commit in hub.commits[commits:] for name in commit]
    assert len(added) == 2, "the observations were there; new are result.json and the database"
    assert again.state == "published"
    assert not list((tmp_path / "second").glob(".restore-*"))


def test_the_store_is_saved_while_the_service_runs(hub, tmp_path, make_run):
    with ServiceProcess(tmp_path / "data", _environment(hub, tmp_path, "0.2")) as service:
        token = service.token("ada", "submit")
        _submit(service, make_run(), token)
        for _ in range(300):
            if hub.commits and ["leaderboard.sqlite"] in hub.commits[1:]:
                break
            time.sleep(0.1)
        assert ["leaderboard.sqlite"] in hub.commits[1:], service.log.read_text()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda hub: setattr(hub, "broken", True), "cannot be restored from ada/board-store"),
        (lambda hub: hub.files.update({f"observations/ab/{'ab' * 32}": b"not that"}), "is damaged"),
    ],
)
def test_a_copy_that_cannot_be_had_whole_stops_the_start_and_nothing_is_overwritten(hub, tmp_path, change, said):
    hub.files = {"leaderboard.sqlite": b"a database"}
    change(hub)
    before = dict(hub.files)
    with pytest.raises(AssertionError, match=said), ServiceProcess(tmp_path / "data", _environment(hub, tmp_path)):
        pass
    assert hub.files == before
    assert not (tmp_path / "data" / "leaderboard.sqlite").exists()


def test_nothing_is_saved_into_a_public_repository(hub, tmp_path):
    hub.files, hub.private = {}, False
    with ServiceProcess(tmp_path / "data", _environment(hub, tmp_path)) as service:
        service.stop()
    assert "is public, and the store holds hashes of keys; make it private" in service.log.read_text()
    assert hub.files == {}


def test_a_copy_of_postgres_is_refused(tmp_path):
    environment = {"DATABASE_URL": "postgresql://127.0.0.1/x", "MOECAP_HUB_DATASET": REPOSITORY, "PATH": "/usr/bin"}
    environment |= {"MOECAP_LEADERBOARD_DATA": str(tmp_path), "HOME": str(tmp_path)}
    command = [sys.executable, str(APP)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2
    assert done.stderr == "moecap: a copy on the hub is of a file of SQLite; save Postgres with pg_dump\n"
