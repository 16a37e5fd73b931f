"""Engines whose processes are killed at any time: the run ends, says so, keeps every answer, and leaves no process."""

import os
import re
import shutil
import signal
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from tiny_models import make_model

from moecap.observations.reader import read_observations
from moecap.result import read_result
from moecap.runner.execution import open_engine
from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.settings import with_settings
from moecap.telemetry import descendants
from moecap.verification.recomputation import verify_run

pytestmark = pytest.mark.engine

VLLM_SIZES = {"head_dim": 32, "num_attention_heads": 2, "hidden_size": 64}
"""Heads of a size that vLLM's CPU kernels know."""
ANSWERED = 4
"""Answers after which an engine is killed in the middle of a load."""


def _words(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _soon(what, seconds=120):
    """What a function finds as soon as it finds something."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.02)
    return found


class Killer(Reporter):
    """Kills a process of an engine at a moment of the run that it hears of.

    Args:
        model: The model's folder, by which the processes of the run's own engine are known.
        victim: ``main``, the process that listens, or ``worker``, the first of Python's that it has started.
        moment: ``start``, ``warm-up`` or ``load``.
    """

    def __init__(self, model, victim, moment):
        super().__init__(quiet=True)
        self.family, self.port = [], 0
        self._model, self._victim, self.moment = str(model), victim, moment
        self._killed = threading.Event()

    def say(self, text):
        if self.moment == "start" and text.startswith("starting "):
            threading.Thread(target=self._kill, daemon=True).start()

    def open(self, plan, job):
        """The run's own engine, killed soon after the first requests of the warm-up have been sent."""
        engine = open_engine(plan, job)
        generate = engine.generate

        def generating(*sent, **how):
            if self.moment == "warm-up":
                threading.Timer(0.3, self._kill).start()
            return generate(*sent, **how)

        engine.generate = generating
        return engine

    @contextmanager
    def bar(self, text, total, told=None):
        def done(number):
            if self.moment == "load" and number >= ANSWERED:
                self._kill()

        yield done

    def _kill(self):
        if self._killed.is_set():
            return
        self._killed.set()
        guardian = _soon(lambda: [pid for pid in descendants(os.getpid()) if self._guards(pid)])[0]
        main = _soon(lambda: descendants(guardian))[0]
        victim = main if self._victim == "main" else min(_soon(lambda: self._workers(main)))
        words = _words(main)
        self.port = int(words[words.index("--port") + 1])
        self.family = [guardian, *descendants(guardian)]
        os.kill(victim, signal.SIGKILL)

    def _guards(self, pid):
        words = _words(pid)
        return "moecap_backends.guardian" in words and self._model in words

    @staticmethod
    def _workers(main):
        """Those that it has started, before and after they have named themselves."""
        return [pid for pid in descendants(main) if re.search(r"spawn_main|::", " ".join(_words(pid)))]


def _check_end(killer, outcome, said):
    """The run has failed in one line, everything that it observed verifies, and nothing of the engine is left."""
    result = read_result(outcome.directory)
    assert result.status == "failed"
    assert re.search(said, result.reason), result.reason
    assert verify_run(outcome.directory).ok
    assert killer.family
    _soon(lambda: not [pid for pid in killer.family if _alive(pid)])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", killer.port)), f"somebody listens on port {killer.port}"
    return read_observations(outcome.directory).requests


def _run(killer, model, prompts, place, **options):
    load = {"num_requests": 40, "concurrency": 4, "input_len": 8, "output_len": 100}
    load |= {"warmup.output_len": 400} if killer.moment == "warm-up" else {}
    common = {"model": str(model), "dataset": str(prompts), "output": str(place), "task": ["none"]}
    settings = [f"{name}={value}" for name, value in load.items()]
    return run(with_settings(common | {"precision": "fp32"} | options, settings), killer, killer.open)


def _check_load(requests):
    """Every answer that came is whole, and of all others it is said why they did not."""
    load = requests[requests["stage"] == "load"]
    assert len(load) == 40
    answered = load["status"] == "completed"
    assert answered.sum() >= ANSWERED
    assert (load.loc[answered, "output_tokens"] == 100).all()
    assert (~answered).sum() >= 4
    assert set(load.loc[~answered, "status"]) == {"failed"}
    assert load.loc[~answered, "error"].notna().all()


@pytest.mark.vllm
@pytest.mark.parametrize(
    ("victim", "moment", "said"),
    [
        ("main", "start", r"vLLM ended with status 137 \(SIGKILL.*\) while starting: "),
        ("worker", "start", r"vLLM ended with status 1 while starting: .*Engine core initialization failed"),
        ("worker", "warm-up", r"vLLM ended during the load with status "),
        ("main", "load", r"vLLM ended during the load with status 137 \(SIGKILL"),
        ("worker", "load", r"vLLM ended during the load with status "),
    ],
)
def test_a_killed_process_of_vllm_ends_the_run_with_what_it_had_answered(victim, moment, said, prompts, tmp_path):
    model = make_model("mixtral", tmp_path / "tiny-mixtral", sizes=VLLM_SIZES)
    killer = Killer(model, victim, moment)
    outcome = _run(killer, model, prompts, tmp_path / "run", backend="vllm", engine_arg=["enforce-eager=true"])
    requests = _check_end(killer, outcome, said)
    if moment == "start":
        assert requests.empty
    elif moment == "warm-up":
        assert set(requests["stage"]) == {"warmup"}
        assert requests["status"].tolist()[-4:] == ["failed"] * 4
    else:
        _check_load(requests)


@pytest.mark.sglang
def test_a_killed_scheduler_of_sglang_ends_the_run_with_what_it_had_answered(
    prompts, tmp_path, sglang_python, tiny_model
):
    model = tmp_path / "tiny-qwen2_moe"
    shutil.copytree(tiny_model("qwen2_moe"), model)
    (model / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    killer = Killer(model, "worker", "load")
    recorder = ["expert-distribution-recorder-mode=per_pass"]
    outcome = _run(killer, model, prompts, tmp_path / "run", backend="sglang", engine_arg=recorder)
    _check_load(_check_end(killer, outcome, "SGLang ended during the load with status "))
