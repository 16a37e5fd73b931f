"""Whole runs on a small real model: what they leave, that it can be recomputed, and how they end."""

import errno
import hashlib
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moecap.cli import main
from moecap.result import Result, read_result
from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.settings import with_settings
from moecap.verification.recomputation import verify_run

pytestmark = pytest.mark.engine

CONTRACT = """decode.s_mbu decode.s_mfu prefill.s_mbu prefill.s_mfu all.s_mbu all.s_mfu decode.s_mbu_paper decode.mbu
decode.mfu busy_fraction ttft.p50 ttft.p99 tpot.p50 tpot.p99 itl.p50 e2e.p50 output_tokens_per_second
output_tokens_per_second_per_device requests_per_second failed_requests experts.distinct_mean experts.load_entropy
cost_per_million_output_tokens cost_per_million_tokens energy_per_output_token""".split()


def _run(options) -> tuple[Path, Result]:
    outcome = run(with_settings(options, ()), Reporter(quiet=True))
    assert outcome.error is None
    return outcome.directory, outcome.result


def _arguments(options):
    words = ["run"]
    for name, value in options.items():
        for item in value if isinstance(value, list) else [value]:
            words += [f"--{name.replace('_', '-')}", str(item)]
    return words


def test_a_run_leaves_every_file_of_the_contract_and_verifies(run_options):
    directory, result = _run(run_options)
    names = {p.name for p in directory.iterdir()}
    assert names == {
        "result.json",
        "requests.parquet",
        "chunks.parquet",
        "steps.parquet",
        "routing.npz",
        "telemetry.parquet",
        "peaks.parquet",
        "environment.json",
    }
    assert (result.kind, result.status, result.reason) == ("measured", "complete", None)
    assert set(CONTRACT) <= set(result.metrics)
    assert all(m.value is not None or m.reason for m in result.metrics.values())
    assert read_result(directory) == result
    assert verify_run(directory).ok


def test_s_mbu_and_s_mfu_equal_a_hand_calculation_from_the_stored_steps(run_options):
    directory, result = _run(run_options)
    config = result.model.config
    hidden, ffn, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    heads, kv_heads, dim = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
    experts, top_k, vocabulary = config["num_local_experts"], config["num_experts_per_tok"], config["vocab_size"]
    attention = hidden * heads * dim * 2 + hidden * kv_heads * dim * 2
    expert, router = 3 * hidden * ffn, hidden * experts
    sums = {phase: [0.0, 0.0, 0.0, 0.0] for phase in (0, 1)}  # bytes, FLOPs, seconds, dense bytes
    for row in pq.read_table(directory / "steps.parquet").to_pylist():
        if row["stage"] != "load":
            continue
        context = [s + n for s, n in zip(row["seq_start"], row["seq_new"], strict=True)]
        tokens = sum(row["seq_new"])
        fixed = layers * (attention + router + 2 * hidden) + hidden + vocabulary * hidden + tokens * hidden
        cache = layers * sum(context) * 2 * kv_heads * dim
        pairs = sum(start + i + 1 for start, n in zip(row["seq_start"], row["seq_new"], strict=True) for i in range(n))
        flops = (
            tokens * layers * 2 * (attention + router + top_k * expert)
            + 2 * vocabulary * hidden * row["logits_tokens"]
            + layers * pairs * 2 * heads * 2 * dim
        )
        total = sums[row["seq_phase"][0]]
        total[0] += 4 * (fixed + cache + expert * sum(row["distinct_experts"]))
        total[1] += flops
        total[2] += row["duration_ns"] * 1e-9
        total[3] += 4 * (fixed + cache + expert * experts * layers)
    profile = result.hardware.profile
    bandwidth, peak = profile.peak_bandwidth.value, profile.peak_flops("fp32").value
    for phase, name in ((0, "prefill"), (1, "decode")):
        read, flops, seconds, dense = sums[phase]
        for metric, expected in (
            ("s_mbu", read / seconds / bandwidth),
            ("s_mfu", flops / seconds / peak),
            ("mbu", dense / seconds / bandwidth),
        ):
            assert result.metrics[f"{name}.{metric}"].value == pytest.approx(expected, rel=1e-9)


def test_two_runs_with_one_seed_give_the_same_tokens_and_routing(run_options, tmp_path):
    seen = []
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        folder, _ = _run(run_options | {"seed": seed, "output": str(tmp_path / name)})
        requests = pq.read_table(folder / "requests.parquet").to_pandas()
        steps = pq.read_table(folder / "steps.parquet", columns=["step", "stage"]).to_pandas()
        routing = np.load(folder / "routing.npz")
        load = np.isin(routing["token_step"], steps["step"][steps["stage"] == "load"])  # warm-ups differ in length
        answers = requests["answer_sha256"][requests["stage"] == "load"].tolist()
        seen.append((answers, routing["experts"][load].tolist()))
    assert len(set(seen[0][0])) > 1
    assert len(seen[0][1]) == 10 * (16 + 5)
    assert seen[0] == seen[1]
    assert seen[0] != seen[2]


def test_an_answers_digest_is_that_of_its_token_ids(run_options, monkeypatch):
    from moecap_backends.transformers import TransformersEngine

    generated = []
    original = TransformersEngine.generate

    def kept(self, *arguments):
        generated.extend(original(self, *arguments))
        return generated

    monkeypatch.setattr(TransformersEngine, "generate", kept)
    directory, _ = _run(run_options)
    stored = pq.read_table(directory / "requests.parquet")["answer_sha256"].to_pylist()
    packed = [struct.pack(f"<{len(g.tokens)}i", *g.tokens) for g in generated]
    assert stored == [hashlib.sha256(p).hexdigest() for p in packed]


@pytest.mark.parametrize(
    "name",
    [
        "requests.parquet",
        "chunks.parquet",
        "steps.parquet",
        "routing.npz",
        "telemetry.parquet",
        "peaks.parquet",
        "environment.json",
    ],
)
def test_one_changed_byte_of_any_observation_is_refused(run_options, name, capsys):
    directory, _ = _run(run_options)
    content = bytearray((directory / name).read_bytes())
    content[len(content) // 2] ^= 1
    (directory / name).write_bytes(content)
    assert main(["verify", str(directory), "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    assert name in answer["corrupt"]


def test_a_changed_number_is_refused_even_where_the_digests_and_the_id_are_made_anew(run_options):
    directory, result = _run(run_options)
    metric = result.metrics["decode.s_mbu"]
    better = metric.model_copy(update={"value": metric.value * 1.01})
    forged = result.model_copy(update={"metrics": result.metrics | {"decode.s_mbu": better}}).identified()
    (directory / "result.json").write_text(forged.model_dump_json())
    outcome = verify_run(directory)
    assert [d.metric for d in outcome.differences] == ["decode.s_mbu"]
    assert not outcome.corrupt
    (directory / "result.json").write_text(result.model_copy(update={"status": "failed"}).model_dump_json())
    assert verify_run(directory).corrupt == ("result.json",)


def test_a_dense_model_runs_and_is_marked_as_dense(run_options, tiny_model):
    directory, result = _run(run_options | {"model": str(tiny_model("dense"))})
    assert "dense" in {flag.name for flag in result.flags}
    assert not result.model.is_moe
    assert result.metrics["decode.s_mbu"].value == result.metrics["decode.mbu"].value
    assert "dense" in result.metrics["experts.distinct_mean"].reason
    assert verify_run(directory).ok


def test_the_price_of_the_user_and_the_default_price_are_named(run_options, tmp_path):
    _, default = _run(run_options)
    assert "generic virtual machine" in default.hardware.price_source
    _, mine = _run(run_options | {"price": 7.2, "output": str(tmp_path / "mine")})
    rate = mine.metrics["output_tokens_per_second"].value
    assert mine.metrics["cost_per_million_output_tokens"].value == pytest.approx(7.2 / 3600 / rate * 1e6)


def test_owning_is_priced_with_the_constants_that_the_result_stores(run_options):
    own = {"basis": "own", "capital": 8760, "years": 1, "kw": 2, "pue": 1.5, "usd_per_kwh": 0.5}
    directory, result = _run(run_options | {"cost": own})
    rate = result.metrics["output_tokens_per_second"].value
    # a dollar of purchase and 1.50 of electricity an hour
    assert result.metrics["cost_per_million_output_tokens"].value == pytest.approx(2.5 / 3600 / rate * 1e6)
    assert {c.name: c.value for c in result.constants if c.given} == {k: v for k, v in own.items() if k != "basis"}
    assert "--set cost.basis=own" in result.provenance.command
    assert verify_run(directory).ok


def test_nothing_that_names_this_machine_or_its_user_is_in_the_run_directory(run_options):
    directory, _ = _run(run_options)
    text = "".join(p.read_text() for p in directory.iterdir() if p.suffix in (".json", ".jsonl"))
    text += "".join(pq.read_table(p).to_pandas().to_csv() for p in directory.glob("*.parquet"))
    for secret in (os.uname().nodename, str(Path.home()), str(directory), run_options["model"], run_options["dataset"]):
        assert not re.search(rf"(?<![\w-]){re.escape(secret)}(?![\w-])", text), secret


@pytest.mark.parametrize(("number", "stage"), [(signal.SIGINT, "load"), (signal.SIGTERM, "load")])
def test_an_interrupted_run_leaves_a_valid_result_and_exits_with_130(run_options, number, stage):
    long = run_options | {"num_requests": 4000, "output_len": 200}
    process = subprocess.Popen(
        [sys.executable, "-m", "moecap", *_arguments(long)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    seen = ""
    for line in process.stderr:
        seen += line
        if "requests: 4000" in line:
            break
    time.sleep(1.5)
    process.send_signal(number)
    _, rest = process.communicate(timeout=300)
    assert process.returncode == 130, seen + rest
    directory = Path(run_options["output"])
    result = read_result(directory)
    assert result.status == "interrupted"
    assert (directory / "report.html").exists()
    requests = pq.read_table(directory / "requests.parquet").to_pandas()
    assert (requests["status"] == "completed").sum() > 0
    assert (
        result.metrics["failed_requests"].value == (requests[requests["stage"] == stage]["status"] != "completed").sum()
    )
    assert verify_run(directory).ok


def test_an_engine_that_dies_leaves_what_was_observed(run_options, monkeypatch):
    from moecap_backends.transformers import TransformersEngine

    original = TransformersEngine._generate_batch

    def dies(self, batch, recorder, now):
        if sum(request.stage == "load" for request in recorder.requests) >= 4:
            raise RuntimeError("the device fell off the bus\nand more")
        return original(self, batch, recorder, now)

    monkeypatch.setattr(TransformersEngine, "_generate_batch", dies)
    outcome = run(with_settings(run_options, ()), Reporter(quiet=True))
    assert outcome.result.status == "failed"
    assert outcome.result.reason == "RuntimeError: the device fell off the bus"
    assert outcome.result.metrics["ttft.p50"].value > 0
    assert verify_run(outcome.directory).ok


def test_an_engine_that_does_not_open_leaves_a_failed_result_with_reasons(run_options, monkeypatch):
    from moecap_backends.transformers import TransformersBackend

    def fails(_self, _job):
        raise RuntimeError("no kernel image")

    monkeypatch.setattr(TransformersBackend, "open", fails)
    outcome = run(with_settings(run_options, ()), Reporter(quiet=True))
    assert outcome.result.status == "failed"
    assert outcome.result.metrics["decode.s_mbu"].reason
    assert verify_run(outcome.directory).ok


def test_few_requests_and_a_limit_are_flagged(run_options):
    _, result = _run(run_options | {"num_requests": 5})
    assert {"few_requests", "static_batch", "profile_from_file"} <= {flag.name for flag in result.flags}


def test_a_busy_neighbour_is_flagged(run_options):
    spin = f"{sys.executable} -c 'while True: pass' >/dev/null 2>&1 & echo $!"  # their shell ends: they are no child's
    spinners = [int(subprocess.check_output(["sh", "-c", spin])) for _ in range(2)]
    try:
        _, result = _run(run_options | {"num_requests": 40, "output_len": 16})
    finally:
        for spinner in spinners:
            os.kill(spinner, signal.SIGKILL)
    assert result.metrics["others_cpu_share"].value > 0.1
    assert "disturbed" in {flag.name for flag in result.flags}


def test_a_request_in_flight_when_the_engine_dies_is_failed_and_its_time_counts(run_options, monkeypatch):
    from moecap_backends.transformers import TransformersEngine

    original = TransformersEngine._pass

    def dies(self, **inputs):
        if self.passes == 30:
            time.sleep(0.5)
            raise RuntimeError("gone")
        self.passes += 1
        return original(self, **inputs)

    monkeypatch.setattr(TransformersEngine, "passes", 0, raising=False)
    monkeypatch.setattr(TransformersEngine, "_pass", dies)
    outcome = run(with_settings(run_options | {"warmup": {"max_batches": 1}}, ()), Reporter(quiet=True))
    requests = pq.read_table(outcome.directory / "requests.parquet").to_pandas()
    last = requests.iloc[-1]
    assert (last["status"], last["error"]) == ("failed", "RuntimeError")
    assert last["ended_ns"] - last["sent_ns"] > 500_000_000
    assert outcome.result.metrics["failed_requests"].value == 2
    assert verify_run(outcome.directory).ok


def test_an_interrupt_inside_the_recording_of_a_step_leaves_no_torn_row(run_options, monkeypatch):
    from moecap.observations import recorder

    original, calls = recorder.distinct_experts, []

    def interrupted(experts, number):
        calls.append(1)
        if len(calls) == 25:
            raise KeyboardInterrupt
        return original(experts, number)

    monkeypatch.setattr(recorder, "distinct_experts", interrupted)
    outcome = run(with_settings(run_options, ()), Reporter(quiet=True))
    assert outcome.result.status == "interrupted"
    assert pq.read_table(outcome.directory / "steps.parquet").num_rows == 24
    assert verify_run(outcome.directory).ok


def test_a_run_that_is_killed_leaves_a_failed_result(run_options):
    long = run_options | {"num_requests": 4000, "output_len": 200}
    process = subprocess.Popen([sys.executable, "-m", "moecap", *_arguments(long)], stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "requests: 4000" in line:
            break
    process.kill()
    process.communicate(timeout=300)
    result = read_result(Path(run_options["output"]))
    assert result.status == "failed"
    assert "did not end" in result.reason


def test_a_run_that_is_killed_in_a_task_has_kept_its_load(run_options):
    asked = run_options | {"task": ["arc_easy"], "limit": 60}
    process = subprocess.Popen([sys.executable, "-m", "moecap", *_arguments(asked)], stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "arc_easy questions: 60" in line:
            break
    process.kill()
    process.communicate(timeout=300)
    directory = Path(run_options["output"])
    result = read_result(directory)
    assert result.status == "failed"
    assert "did not end" in result.reason
    assert result.metrics["tpot.p50"].value > 0
    requests = pq.read_table(directory / "requests.parquet").to_pandas()
    assert (requests.loc[requests["stage"] == "load", "status"] == "completed").sum() == 10
    assert verify_run(directory).ok


def test_a_run_whose_end_finds_no_room_has_kept_its_load(run_options, monkeypatch):
    from moecap.errors import RunError
    from moecap.observations.recorder import Recorder

    original, calls = Recorder.write, []

    def full_at_the_end(recorder, directory):
        calls.append(1)
        if len(calls) == 3:  # after the beginning and the load
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(recorder, directory)

    monkeypatch.setattr(Recorder, "write", full_at_the_end)
    with pytest.raises(RunError, match="cannot be stored"):
        run(with_settings(run_options | {"task": ["arc_easy"], "limit": 2}, ()), Reporter(quiet=True))
    directory = Path(run_options["output"])
    result = read_result(directory)
    assert result.status == "failed"
    assert "cannot be stored (No space left on device)" in result.reason
    assert str(directory) not in result.reason
    assert result.metrics["tpot.p50"].value > 0
    assert verify_run(directory).ok


def test_a_place_that_another_run_has_taken_is_refused_even_between_check_and_start(run_options, monkeypatch):
    from moecap.errors import BadInputError
    from moecap.runner import run as module

    directory = Path(run_options["output"])
    original = module.make_plan

    def overtaken(config, say):
        plan = original(config, say)
        directory.mkdir()
        (directory / "result.json").touch()
        return plan

    monkeypatch.setattr(module, "make_plan", overtaken)
    with pytest.raises(BadInputError, match="another run has taken it"):
        run(with_settings(run_options, ()), Reporter(quiet=True))


def test_numbers_outside_the_metrics_are_recomputed_too(run_options):
    directory, result = _run(run_options)
    model = result.model.model_copy(update={"active_params": 1})
    workload = result.workload.model_copy(update={"num_requests": 1000})
    ttft = result.metrics["ttft.p50"].model_copy(update={"unit": "ms"})
    changes = {"model": model, "workload": workload, "metrics": result.metrics | {"ttft.p50": ttft}}
    forged = result.model_copy(update=changes).identified()
    (directory / "result.json").write_text(forged.model_dump_json())
    assert {d.metric for d in verify_run(directory).differences} == {
        "model.active_params",
        "workload.num_requests",
        "provenance.command",
        "ttft.p50",
    }


def test_a_result_without_digests_is_refused(run_options):
    directory, result = _run(run_options)
    bare = result.model_copy(update={"observations": {}}).identified()
    (directory / "result.json").write_text(bare.model_dump_json())
    assert {"steps.parquet", "requests.parquet"} <= set(verify_run(directory).corrupt)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("requests.parquet", lambda table: pa.concat_tables([table, table])),
        ("steps.parquet", lambda table: table.slice(0, 0)),
        ("chunks.parquet", lambda table: table.slice(0, 0)),
    ],
)
def test_observations_that_contradict_each_other_end_in_a_verdict(run_options, name, change):
    from moecap.files import file_sha256

    directory, result = _run(run_options)
    pq.write_table(change(pq.read_table(directory / name)), directory / name)
    digests = result.observations | {name: file_sha256(directory / name)}
    (directory / "result.json").write_text(
        result.model_copy(update={"observations": digests}).identified().model_dump_json()
    )
    assert not verify_run(directory).ok


@pytest.mark.parametrize(
    "sample", ["[]", "{}", '{"task": "t", "kind": "other", "scores": null}', '{"task": "t", "scores": {"accuracy": 7}}']
)
def test_malformed_samples_end_in_a_verdict(run_options, sample):
    from moecap.files import file_sha256

    directory, result = _run(run_options)
    (directory / "samples.jsonl").write_text(sample + "\n")
    digests = result.observations | {"samples.jsonl": file_sha256(directory / "samples.jsonl")}
    (directory / "result.json").write_text(
        result.model_copy(update={"observations": digests}).identified().model_dump_json()
    )
    assert not verify_run(directory).ok
