"""Every command that takes a file, with one that is none of its kind: one line, and the exit status of bad input."""

import os
import shutil

import pytest

from moecap.cli import main

CONTENTS = {
    "bytes": bytes(range(256)) * 8,
    "deep": b"[" * 10_000,
    "nothing": b"",
    "escapes": b'{"kind": "\\u001b[2J\\u202e\\n"}',
}
COMMANDS = {
    "verify": ["verify", "{run}"],
    "report": ["report", "{run}"],
    "compare": ["compare", "{run}", "{good}"],
    "submit": ["submit", "{run}", "--url", "http://127.0.0.1:1", "--dry-run"],
    "import": ["import", "{file}"],
    "run-model": ["run", "--model", "{model}", "--hw", "a100"],
    "run-config": ["run", "--config", "{yaml}"],
    "run-hw": ["run", "--model", "mixtral", "--hw", "{yaml}"],
    "run-layout": ["run", "--model", "mixtral", "--hw", "a100", "--layout", "{yaml}"],
    "run-dataset": ["run", "--model", "mixtral", "--hw", "a100", "--dataset", "{lines}"],
    "search": ["search", "--slo", "ttft=2s", "--config", "{yaml}", "--dry-run"],
    "sweep": ["sweep", "{yaml}", "--dry-run"],
    "recommend": ["recommend", "--model", "{model}", "--slo", "ttft=2s"],
    "validate": ["validate", "--points", "{file}"],
    "score": ["score", "--task", "gsm8k", "--predictions", "{lines}", "--gold", "{lines}"],
    "models": ["models", "show", "{model}"],
    "hw": ["hw", "show", "{yaml}"],
}

CASES = [
    (command, kind)
    for command in COMMANDS
    for kind in (*CONTENTS, "pipe", "device")
    if (command, kind) not in {("run-config", "nothing"), ("search", "nothing"), ("sweep", "nothing")}  # no options
]

pytestmark = pytest.mark.timeout(300)


def _files(folder, put):
    """One file for each kind of argument, made by a function of its path."""
    places = {"file": "file.json", "yaml": "file.yaml", "lines": "file.jsonl"}
    words = {name: folder / file for name, file in places.items()}
    for name, file in (("run", "result.json"), ("model", "config.json")):
        words[name] = folder / name
        words[name].mkdir()
        put(words[name] / file)
    for name in places:
        put(words[name])
    return words


def _refused(command, words, capsys, output):
    status = main([word.format(**words) for word in COMMANDS[command]])
    out, err = capsys.readouterr()
    *remarks, line = err.splitlines()
    assert remarks == (["the result goes unsigned; moecap keys new makes a signing key"] if command == "submit" else [])
    assert (status, out) == (2, ""), err
    assert line.startswith("moecap: ")
    assert line.isprintable()
    assert len(line) < 2100
    assert not output.exists()


@pytest.mark.parametrize(("command", "kind"), CASES)
def test_a_file_that_cannot_be_used_is_one_line(command, kind, projected_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if kind == "pipe":
        put = os.mkfifo
    elif kind == "device":
        put = _zero
    else:
        put = _written(CONTENTS[kind])
    words = _files(tmp_path, put) | {"good": projected_run}
    _refused(command, words, capsys, tmp_path / "runs")


def _zero(path):
    path.symlink_to("/dev/zero")


def _written(content):
    return lambda path: path.write_bytes(content)


@pytest.mark.parametrize("name", ["steps.parquet", "requests.parquet", "samples.jsonl", "routing.npz", "x.y.parquet"])
@pytest.mark.parametrize("kind", ["pipe", "device", "secret"])
def test_a_run_directory_that_points_outside_does_not_verify(name, kind, projected_run, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(projected_run, run)
    (run / name).unlink(missing_ok=True)
    secret = tmp_path / "secret"
    secret.write_text("the secret text")
    {"pipe": os.mkfifo, "device": _zero, "secret": lambda path: path.symlink_to(secret)}[kind](run / name)
    assert main(["verify", str(run), "--json"]) == 1
    out, err = capsys.readouterr()
    assert name in out
    assert "secret text" not in out + err
    assert "Traceback" not in err
