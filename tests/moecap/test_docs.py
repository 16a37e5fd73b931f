"""The documentation says what the code does."""

import os
import re
from pathlib import Path

import pytest

from moecap.cli import main
from moecap.cli.app import COMMANDS_HERE
from moecap.cli.reference import options_page
from moecap.plugins import COMMANDS, plugin_names

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])


def test_what_ci_calls_may_be_run():
    for script in (ROOT / ".ci").iterdir():
        assert os.access(script, os.X_OK), script.name


def test_the_page_of_options_is_the_one_that_the_configuration_gives():
    assert (ROOT / "docs" / "options.md").read_text() == options_page()


def test_the_page_of_options_has_every_option_of_every_command(capsys):
    page = (ROOT / "docs" / "options.md").read_text()
    for name in ("run", "sweep", "search", "verify", "models show", "keys register", "serve"):
        assert main([*name.split(), "--help"]) == 0
        told = set(re.findall(r"--[a-z][a-z0-9-]*(?:\.[a-z0-9-]+)*", capsys.readouterr().out))
        rows = "".join(line for line in page.splitlines() if line.startswith((f"| `moecap {name}`", "| `--")))
        assert {option for option in told if f"`{option}`" not in rows} <= {"--help", "--version"}, name


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_command_that_a_page_names_exists(page):
    for command in re.findall(r"`moecap ([a-z]+)", page.read_text()):
        assert command in {*COMMANDS_HERE, *plugin_names(COMMANDS)}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_link_to_a_file_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_test_that_a_page_names_exists(page):
    named = set(re.findall(r"`(?:[\w/.]+::)?(test_\w+)`", page.read_text()))
    if named:
        texts = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
        assert not [name for name in sorted(named) if not re.search(rf"^def {name}\(", texts, re.MULTILINE)]


def test_what_the_project_ships_holds_no_path_of_a_machine_and_no_registry():
    import subprocess

    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in files:
        path = ROOT / name
        if path == Path(__file__):
            continue
        if path.suffix in {".py", ".md", ".toml", ".yaml", ".yml", ".txt", ""} and path.is_file():
            text = path.read_text(errors="ignore")
            assert not re.search(r"/home/[a-z]+/|(?<![\w/])/root/", text), name


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_no_page_holds_a_place_that_was_not_filled(page):
    assert not re.search(r"@[A-Z]+@|TODO|FIXME", page.read_text())
