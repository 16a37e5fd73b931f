"""What is shown of a load while it goes on: recorders filled by hand, plain lines, and a real pseudo-terminal."""

import os
import pty
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from moecap.models.parallelism import ONE_DEVICE
from moecap.models.reading import read_model
from moecap.observations.recorder import Glimpse, Recorder
from moecap.observations.schema import Phase
from moecap.runner import live as module
from moecap.runner import reporter as reporter_module
from moecap.runner.live import LiveLoad
from moecap.runner.reporter import Reporter

MS = 1_000_000
CONFIG = {
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 2,
    "vocab_size": 32,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "dtype": "bfloat16",
}
WEIGHTS = 2 * ((8 * 8 + 2 * 8 * 4 + 8 * 8) + 8 * 4 + 2 * 8 + 2 * (3 * 8 * 16) + 8 + 8 * 32 + 8)
"""Bytes of a decode step of one sequence: attention, router, norms, two experts, last norm, head, one embedding row."""
KV = 2 * 2 * 2 * 2  # bytes of a position: bf16, K and V, 2 heads of 2


@pytest.fixture
def clock(monkeypatch):
    """The clock of the live load, in ns, moved by hand."""
    now = SimpleNamespace(ns=0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic_ns=lambda: now.ns))
    return now


@pytest.fixture
def plan():
    bandwidth = SimpleNamespace(value=1e6)
    profile = SimpleNamespace(peak_bandwidth=bandwidth)
    return SimpleNamespace(
        spec=read_model(CONFIG, "small"),
        parallelism=ONE_DEVICE,
        formats=SimpleNamespace(compute="bf16"),
        hardware=SimpleNamespace(profile=profile, count=2),
        config=SimpleNamespace(layout=None),
    )


def step(recorder, context, phase=Phase.DECODE, new=1, duration=4 * MS):
    recorder.step(
        start_ns=0,
        duration_ns=duration,
        seq_request=[0],
        seq_start=[context],
        seq_new=[new],
        phase=phase,
        logits_tokens=1,
        experts=np.array([[[0, 3]]] * new),
        num_experts=4,
    )


def test_steps_of_the_load_give_its_rate_and_the_s_mbu_of_the_latest_decode_steps(plan, clock):
    recorder = Recorder()
    step(recorder, 5)  # warm-up
    live = LiveLoad(plan, recorder)
    recorder.stage = "load"
    step(recorder, 0, Phase.PREFILL, new=7)
    for context in range(7, 27):  # 20 decode steps; the last 16 have contexts 12 to 27 with the token that is fed
        step(recorder, context)
    clock.ns = 2_000 * MS
    sight = live.sight()
    assert sight.output_tokens_per_second == pytest.approx(21 / 2)
    assert sight.s_mbu == pytest.approx((16 * WEIGHTS + KV * sum(range(12, 28))) / (16 * 0.004 * 2e6), rel=1e-12)
    clock.ns = 4_000 * MS
    assert live.sight().output_tokens_per_second == pytest.approx(21 / 4)


def test_a_step_that_cannot_be_shows_nothing_and_ends_nothing(plan, clock):
    recorder = Recorder(stage="load")
    live = LiveLoad(plan, recorder)
    recorder.step(
        start_ns=0,
        duration_ns=1,
        seq_request=[0],
        seq_start=[0],
        seq_new=[1],
        phase=Phase.DECODE,
        logits_tokens=1,
        experts=np.array([[[0, 1], [2, 3]]]),  # two MoE layers where the model has one
        num_experts=4,
    )
    clock.ns = 1_000 * MS
    assert live.words() == ""


def test_requests_in_process_count_when_they_have_ended_in_whatever_order(plan, clock):
    recorder = Recorder(stage="load")
    live = LiveLoad(plan, recorder)
    first, second, third = (recorder.send("p", 4, 5, 0) for _ in range(3))
    clock.ns = 1_000 * MS
    assert (live.sight().ended, live.sight().words()) == (0, "")
    second.first_token_ns, second.last_token_ns, second.output_tokens = 300 * MS, 700 * MS, 5
    second.complete((1, 2, 3, 4, 5), 700 * MS)
    sight = live.sight()
    assert (sight.ended, sight.failed) == (1, 0)
    assert (sight.ttft, sight.tpot) == (pytest.approx(0.3), pytest.approx(0.1))
    assert sight.output_tokens_per_second == 5
    first.status = third.status = "failed"
    sight = live.sight()
    assert (sight.ended, sight.failed) == (3, 2)
    assert sight.words() == "5.0 tok/s · TTFT 300 ms · TPOT 100 ms · 2 failed"


def test_requests_of_a_served_engine_count_once_and_not_again_when_they_are_recorded(plan, clock):
    recorder = Recorder(stage="load")
    live = LiveLoad(plan, recorder)
    recorder.glimpses.append(Glimpse(0, 1_500 * MS, 1_530 * MS, 4, failed=False))
    clock.ns = 2_000 * MS
    assert live.sight().words() == "2.0 tok/s · TTFT 1.5 s · TPOT 10 ms"
    recorder.send("p", 4, 4, 0).complete((1,), 5)
    recorder.glimpses.append(Glimpse(0, 0, 0, 0, failed=True))
    sight = live.sight()
    assert (sight.ended, sight.failed) == (2, 1)


def test_the_power_is_the_latest_one(plan, clock):
    recorder = Recorder(stage="load")
    for watts in (300.0, 412.4):
        recorder.telemetry((*[0] * 10, watts, None))
    assert LiveLoad(plan, recorder).sight().words() == "412 W"


def test_without_a_terminal_a_line_comes_now_and_then_with_the_time_that_is_left(capsys, monkeypatch):
    monkeypatch.setattr(reporter_module, "TOLD_EVERY_SECONDS", 0.05)
    said = 0

    def told():
        nonlocal said
        said += 1
        return "9 tok/s"

    with Reporter().bar("requests", 20, told) as done:
        done(5)
        while said < 2:
            pass
        done(20)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("requests: 20")
    assert re.search(r"requests: 5 of 20, about \d+ s left; 9 tok/s$", lines[1])
    assert re.search(r"requests: 20 of 20 in \d+\.\d s; 9 tok/s$", lines[-1])


SCRIPT = """
import time
from moecap.runner.reporter import Reporter
with Reporter().bar("requests", 20, lambda: "31.5 tok/s") as done:
    for number in range(1, 21):
        done(number)
        time.sleep(0.08)
"""


def test_a_terminal_shows_a_bar_with_the_numbers_and_keeps_the_last_line():
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.pop("NO_COLOR", None)
        os.environ.update(TERM="xterm", COLUMNS="100")
        os.execv(sys.executable, [sys.executable, "-c", SCRIPT])
    shown = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # the other end has gone
            break
        if not piece:
            break
        shown += piece
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
    assert re.search(r"requests .*[1-9]\d?/20", text)
    assert "31.5 tok/s" in text
    assert re.search(r"requests: 20 of 20 in \d+\.\d s; 31.5 tok/s\s*$", text)
