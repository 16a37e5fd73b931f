"""A run killed at any of its file operations leaves nothing, its first result, or its last one: never a mixture."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from killed_runs import LOAD

from moecap.cli import main
from moecap.errors import BadInputError
from moecap.files import STORED, replace_files, write_text
from moecap.observations.reader import read_observations
from moecap.result import read_result
from moecap.verification.recomputation import verify_run

SCRIPT = [sys.executable, str(Path(__file__).with_name("killed_runs.py"))]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The directories of runs that were killed at each file operation in turn, the last one of a run that was not."""
    folder = tmp_path_factory.mktemp("killed")
    subprocess.run([*SCRIPT, str(folder)], check=True)
    return [folder / str(number) for number in range(1, len(list(folder.iterdir())) + 2)]


def _kept(directory):
    """What a killed run has left: nothing, the result that it began with, or that of its end."""
    try:
        result = read_result(directory)
    except BadInputError as error:
        assert "\n" not in str(error)
        assert "no result.json there" in str(error) or "has only just begun, or was killed then" in str(error)
        return 0
    found = verify_run(directory)
    assert found.ok, found
    assert not (directory / STORED).exists()
    requests = len(read_observations(directory).requests)
    if result.status == "failed":
        assert "did not end" in result.reason
        assert requests == 0
        return 1
    assert (result.status, result.reason) == ("complete", None)
    assert requests > LOAD["num_requests"] - 1
    return 2


@pytest.mark.slow
def test_a_run_that_is_killed_at_any_file_operation_verifies_or_has_no_result(killed, tmp_path):
    between = [run for run in killed if (run / STORED).is_dir()]
    assert len(between) > 10, "no run was killed while its files were put in place"
    whole = next(run for run in reversed(between) if len(list((run / STORED).iterdir())) > 5)
    shutil.copytree(whole, tmp_path / "run")
    kept = [_kept(run) for run in killed]
    assert kept == sorted(kept), "a later moment left less"
    assert set(kept) == {0, 1, 2}
    assert len(kept) > 50
    subprocess.run([*SCRIPT, "--read", str(tmp_path / "run")], check=True)
    assert _kept(tmp_path / "run") == 2, "readers that were killed left a mixture"


def test_an_empty_result_is_one_line(tmp_path, capsys):
    (tmp_path / "result.json").touch()
    assert main(["verify", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.endswith("the run there has only just begun, or was killed then; nothing is stored\n")
    assert said.count("\n") == 1


def test_files_that_cannot_all_be_written_leave_those_that_were_there(tmp_path):
    write_text(tmp_path / "a", "old")
    with pytest.raises(OSError, match="no room"), replace_files(tmp_path) as folder:
        write_text(folder / "a", "new")
        raise OSError("no room")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_a_link_in_place_of_the_folder_of_stored_files_is_not_followed(tmp_path):
    """A run directory may come from anyone."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_text(elsewhere / "mine", "text")
    run = tmp_path / "run"
    run.mkdir()
    (run / STORED).symlink_to(elsewhere)
    with pytest.raises(BadInputError, match=r"no result\.json there"):
        read_result(run)
    assert (elsewhere / "mine").read_text() == "text"
