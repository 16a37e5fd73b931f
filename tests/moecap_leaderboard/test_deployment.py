"""The files with which the leaderboard is deployed agree with each other; `make image` runs the Dockerfile itself."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SERVICE = DOCKERFILE.rpartition("\nFROM ")[2]


def _said(word):
    return re.search(rf"^{word} (.*)$", SERVICE, re.M).group(1)


def test_the_last_stage_is_the_leaderboard_as_an_unprivileged_user_with_a_health_check():
    assert SERVICE.splitlines()[0].endswith("AS leaderboard")
    assert _said("USER") == "1000"
    assert "--uid 1000" in SERVICE
    assert "/healthz" in SERVICE.partition("HEALTHCHECK")[2]


def test_a_space_asks_at_the_port_on_which_the_image_listens():
    front = yaml.safe_load((ROOT / "leaderboard_app" / "README.md").read_text().split("---")[1])
    assert front["sdk"] == "docker"
    assert front["app_port"] == int(_said("EXPOSE")) == 7860
    assert "PORT=7860" in SERVICE
    assert len(front["short_description"]) <= 60


def test_everything_that_the_image_copies_is_in_the_build():
    ignored = (ROOT / ".dockerignore").read_text().split()
    copied = [name for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.M) for name in line.split()[:-1]]
    assert {"moecap", "leaderboard_app/app.py", "constraints.txt"} <= set(copied)
    for name in copied:
        assert (ROOT / name).exists()
        assert name.split("/")[0] not in ignored


def test_the_data_folder_is_all_that_the_composed_service_may_write():
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    board, database = compose["services"]["leaderboard"], compose["services"]["database"]
    assert board["read_only"] is True
    assert [volume.split(":")[1] for volume in board["volumes"]] == [_said("VOLUME")]
    assert f"MOECAP_LEADERBOARD_DATA={_said('VOLUME')}" in SERVICE
    assert board["depends_on"]["database"]["condition"] == "service_healthy"
    assert "pg_isready" in database["healthcheck"]["test"]
    assert "ports" not in database


@pytest.mark.parametrize("name", ["MOECAP_DEMO", "MOECAP_HUB_DATASET", "MOECAP_HUB_SECONDS", "PORT"])
def test_every_variable_of_the_start_is_documented(name):
    assert name in (ROOT / "leaderboard_app" / "app.py").read_text()
    assert f"`{name}`" in (ROOT / "leaderboard_app" / "README.md").read_text()
