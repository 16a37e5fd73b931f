"""Signals at any moment: the exit status is 130, what was measured is stored, and the report is written."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moecap.cli import app, main
from moecap.interruption import Interruption, interruptible
from moecap.load.loop import run_loop
from moecap.result import read_result
from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.settings import with_settings
from moecap.verification.recomputation import verify_run

COMMAND = [sys.executable, "-m", "moecap"]


def _started(options) -> subprocess.Popen:
    words = ["run"]
    for name, value in (options | {"num_requests": 4000, "output_len": 200}).items():
        for item in value if isinstance(value, list) else [value]:
            words += [f"--{name.replace('_', '-')}", str(item)]
    process = subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "requests: 4000" in line:
            break
    time.sleep(1)
    return process


def _takes_signals(process: subprocess.Popen) -> bool:
    """Whether the process has a handler for SIGTERM, as the kernel knows it."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
    return bool(int(status["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.engine
@pytest.mark.parametrize("times", [2, 10])
def test_a_run_that_is_interrupted_often_exits_with_130_and_leaves_result_and_report(run_options, times):
    process = _started(run_options)
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    directory = Path(run_options["output"])
    assert read_result(directory).status == "interrupted"
    assert (directory / "report.html").stat().st_size > 100_000
    assert not list(directory.glob(".*")), "a temporary file was left"
    assert verify_run(directory).ok


@pytest.mark.engine
def test_signals_that_go_on_until_the_process_has_ended_change_nothing(run_options):
    process = _started(run_options)
    numbers = [signal.SIGINT, signal.SIGTERM]
    while process.poll() is None:
        process.send_signal(numbers[0])
        numbers.reverse()
        time.sleep(0.1)
    _, said = process.communicate()
    assert process.returncode == 130, said
    assert "Traceback" not in said
    directory = Path(run_options["output"])
    assert read_result(directory).status == "interrupted"
    assert (directory / "report.html").exists()


@pytest.mark.engine
def test_an_interrupted_run_whose_stdout_and_stderr_have_gone_is_stored(run_options):
    process = _started(run_options)
    process.stdout.close()
    process.stderr.close()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=300) == 130
    directory = Path(run_options["output"])
    assert read_result(directory).status == "interrupted"
    assert (directory / "report.html").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_as_soon_as_the_process_takes_any_ends_with_130(number):
    process = subprocess.Popen([*COMMAND, "run"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not _takes_signals(process):
        time.sleep(0.001)
    process.send_signal(number)
    out, said = process.communicate(timeout=300)
    assert (process.returncode, out, said) == (130, "", "moecap: interrupted\n")


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.03, 0.1])
def test_a_signal_after_the_answer_leaves_no_traceback(delay):
    with subprocess.Popen([*COMMAND, "schema", "hardware"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        out = b""
        while not out.endswith(b"\n}\n"):
            out += os.read(process.stdout.fileno(), 1 << 20)
        time.sleep(delay)
        for _ in range(3):
            process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert (process.returncode, said) in [(0, b""), (130, b"moecap: interrupted\n")]


def test_a_signal_that_the_process_was_told_to_ignore_stays_ignored():
    script = "import signal; from moecap.interruption import interruptible\nwith interruptible():\n    "
    script += "print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN, signal.getsignal(signal.SIGTERM))"
    command = f"trap '' INT; exec {sys.executable} -c \"$SCRIPT\""
    done = subprocess.run(
        ["bash", "-c", command], env=os.environ | {"SCRIPT": script}, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("True <moecap.interruption.Interruption")


def test_a_repeated_signal_is_ignored_and_one_much_later_counts_again(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    interruption = Interruption()
    with pytest.raises(KeyboardInterrupt):
        interruption(signal.SIGINT, None)
    now[0] += 0.9
    interruption(signal.SIGINT, None)
    now[0] += 0.2
    with pytest.raises(KeyboardInterrupt):
        interruption(signal.SIGINT, None)


def test_a_signal_in_a_destructor_which_drops_what_is_raised_still_interrupts(capsys):
    class Destroyed:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)

    with interruptible() as interruption, pytest.raises(KeyboardInterrupt):
        thing = Destroyed()
        del thing
        time.sleep(5)
    assert interruption.raised
    assert "ignored" not in capsys.readouterr().err


def test_a_signal_in_the_callback_of_a_connection_which_uvloop_would_drop_still_interrupts():
    ours, theirs = socket.socketpair()

    class Reader(asyncio.Protocol):
        def data_received(self, _data):
            os.kill(os.getpid(), signal.SIGTERM)

    async def read():
        transport, _ = await asyncio.get_running_loop().create_unix_connection(Reader, sock=ours)
        theirs.send(b"x")
        try:
            await asyncio.sleep(20)
        finally:
            transport.abort()
        raise AssertionError("nothing interrupted the loop")

    with theirs, interruptible() as interruption, pytest.raises(KeyboardInterrupt):
        run_loop(read())
    assert interruption.raised


def test_a_signal_that_comes_while_signals_are_held_is_raised_when_they_are_released():
    with interruptible() as interruption:
        interruption.hold()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert not interruption.raised
        with pytest.raises(KeyboardInterrupt):
            interruption.release()
        assert interruption.raised
    assert not isinstance(signal.getsignal(signal.SIGTERM), Interruption)


@pytest.mark.engine
def test_an_interruption_that_an_engine_turns_into_another_error_is_still_one(run_options, monkeypatch):
    from moecap_backends.transformers import TransformersEngine

    def swallows(*_arguments):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        except KeyboardInterrupt:
            raise RuntimeError("an import was interrupted") from None

    monkeypatch.setattr(TransformersEngine, "_generate_batch", swallows)
    outcome = run(with_settings(run_options, ()), Reporter(quiet=True))
    assert outcome.result.status == "interrupted"
    assert isinstance(outcome.error, KeyboardInterrupt)


def test_an_interruption_that_an_import_turns_into_another_error_is_still_one(monkeypatch, capsys):
    def swallows(_arguments):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        except KeyboardInterrupt:
            raise RuntimeError("__set_name__ failed") from None

    monkeypatch.setattr(app, "dispatch", swallows)
    assert main(["schema"]) == 130
    assert capsys.readouterr().err == "moecap: interrupted\n"


def test_an_interruption_of_a_text_that_is_executed_ends_with_130_as_any_other(tmp_path):
    """Python would end by SIGINT: dataclasses are made of such texts, and imports make many."""
    lines = [
        "import sys",
        "from moecap.cli import app, main",
        "text = 'import os, signal, time; os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)'",
        "app.dispatch = lambda _arguments: exec(text)",
        "sys.exit(main())",
    ]
    (tmp_path / "executing.py").write_text("\n".join(lines))
    command = [sys.executable, "-m", "executing"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "moecap: interrupted\n")
