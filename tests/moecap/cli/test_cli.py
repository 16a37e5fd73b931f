"""The command line as scripts see it: every command of the contract has help, answers in JSON, exits as documented."""

import json
import subprocess
import sys

import pytest

from moecap.cli import main
from moecap.cli.app import COMMANDS_HERE
from moecap.plugins import COMMANDS, plugin_names

CONTRACT = """run sweep search recommend validate models hw backends tasks doctor data cache score report compare verify
reproduce import submit keys serve worker schema""".split()


def test_every_command_of_the_contract_exists():
    assert sorted({*COMMANDS_HERE, *plugin_names(COMMANDS)}) == sorted(CONTRACT)


@pytest.mark.parametrize("command", CONTRACT)
def test_every_command_has_help(command, capsys):
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"Usage: moecap {command}")
    assert len(out.splitlines()) > 4


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (["backends", "list", "--json"], {"name", "available", "reason"}),
        (["tasks", "list", "--json"], {"name", "paper", "requires", "metric"}),
        (["hw", "list", "--json"], {"id"}),
        (["models", "list", "--json"], {"name"}),
        (["data", "list", "--json"], {"name"}),
    ],
)
def test_lists_answer_in_json(arguments, keys, capsys):
    assert main(arguments) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows
    assert all(keys <= set(row) for row in rows)


@pytest.mark.parametrize("name", ["result", "run-config", "hardware"])
def test_schemas_are_printed(name, capsys):
    assert main(["schema", name]) == 0
    assert json.loads(capsys.readouterr().out)["type"] == "object"


def test_schema_without_a_name_lists_what_there_is(capsys):
    assert main(["schema"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["schema", "result", "run-config", "hardware"]
    assert main(["schema", "--json"]) == 0
    assert {row["name"] for row in json.loads(capsys.readouterr().out)} == {"result", "run-config", "hardware"}


def test_doctor_finds_this_installation_well(capsys):
    status = main(["doctor", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert (status == 0) == answer["ok"]
    assert {"moecap", "python", "processor", "cache"} <= {f["what"] for f in answer["findings"]}
    backends = {f["what"]: f["found"] for f in answer["findings"] if f["what"].startswith("backend")}
    assert backends["backend transformers"] == backends["backend openai"] == "usable"
    assert not any(f["what"] == "engines" for f in answer["findings"])


def test_doctor_misses_an_engine_where_only_endpoints_can_be_measured(capsys, monkeypatch):
    monkeypatch.setattr("moecap.plugins.plugin_names", lambda _group: ["openai"])
    assert main(["doctor", "--json"]) == 1
    wrong = [f for f in json.loads(capsys.readouterr().out)["findings"] if not f["ok"]]
    assert [f["what"] for f in wrong] == ["engines"]


def test_an_unknown_command_offers_the_near_one(capsys):
    assert main(["reprot"]) == 2
    assert "did you mean 'report'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--bogus"], "no option --bogus in moecap run; see moecap run --help"),
        (["run", "--concurency", "3"], "no option --concurency in moecap run (did you mean --concurrency?); "),
        (["hw", "list", "--jsn"], "no option --jsn in moecap hw list (did you mean --json?); "),
        (["--bogus"], "no option --bogus in moecap; see moecap --help"),
        (["hw", "bogus"], "no command named 'bogus'; known: detect, list, probe, show; see moecap hw --help"),
    ],
)
def test_only_a_really_near_name_is_offered(arguments, said, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"moecap: {said}")
    assert captured.err.count("\n") == 1


def test_the_version_is_printed(capsys):
    import moecap

    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == moecap.__version__


def test_a_closed_pipe_ends_quietly():
    command = f"{sys.executable} -m moecap schema result | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=300, check=True)
    assert done.stderr == ""


def test_help_imports_nothing_that_a_shell_would_wait_for():
    script = "import atexit, sys; from moecap.cli import main\n"
    script += "atexit.register(lambda: print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr))\n"
    script += "main(['--help'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert "cyclopts" in loaded
    assert not loaded & {
        "numpy",
        "pandas",
        "pyarrow",
        "plotly",
        "torch",
        "transformers",
        "yaml",
        "msgspec",
        "httptools",
    }
