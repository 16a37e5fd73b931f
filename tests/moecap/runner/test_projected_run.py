"""Runs that project: no weights, no tokenizer, no engine; the same loads, files, metrics, report and verification."""

import json
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from moecap.cli import main
from moecap.errors import BadInputError, NotAvailableError, UnknownNameError
from moecap.projection.coefficients import calibrated
from moecap.projection.engine_settings import engine_settings
from moecap.report.page import write_report
from moecap.result import read_result
from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.settings import with_settings
from moecap.verification.recomputation import verify_run

CONTRACT = """decode.s_mbu decode.s_mfu prefill.s_mbu prefill.s_mfu all.s_mbu all.s_mfu decode.s_mbu_paper decode.mbu
decode.mfu busy_fraction ttft.p50 ttft.p99 tpot.p50 tpot.p99 itl.p50 e2e.p50 output_tokens_per_second
output_tokens_per_second_per_device requests_per_second failed_requests experts.distinct_mean experts.load_entropy
cost_per_million_output_tokens cost_per_million_tokens energy_per_output_token""".split()

INTERVALS = """decode.s_mbu decode.s_mfu ttft.p50 tpot.p50 itl.p50 e2e.p50 output_tokens_per_second
output_tokens_per_second_per_device requests_per_second cost_per_million_output_tokens cost_per_million_tokens
energy_per_output_token""".split()

AGENTS = [
    {"session": f"s{n}", "start": 0.5 * n, "turns": [{"input_tokens": 300, "output_tokens": 40}] * 3} for n in range(6)
]
TRACE = [
    {"timestamp": 400 * n, "input_length": 1200 + n, "output_length": 20, "hash_ids": [0, 1, 2 + n]} for n in range(20)
]


def _lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_the_readme_s_command_projects_says_so_loudly_and_leaves_the_files_of_a_run(tmp_path, capsys):
    words = "run --model mixtral --hw a100 --num-gpus 2 --concurrency 16 --input-len 1024 --output-len 256 --json"
    assert main([*words.split(), "--output", str(tmp_path / "run")]) == 0
    told = capsys.readouterr()
    answer = json.loads(told.out)
    assert answer["kind"] == "projected"
    assert answer["backend"]["name"] == "projected"
    assert answer["hardware"]["count"] == 2
    assert "NOTHING IS MEASURED" in told.err
    assert "is not in this machine" in " ".join(told.err.split())
    assert set(CONTRACT) <= set(answer["metrics"])
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        "result.json",
        "requests.parquet",
        "chunks.parquet",
        "steps.parquet",
        "telemetry.parquet",
        "environment.json",
        "report.html",
    }
    assert answer["metrics"]["accuracy.arc_easy"] == {
        "value": None,
        "unit": "1",
        "low": None,
        "high": None,
        "n": 0,
        "reason": "projected: nothing was answered",
        "basis": None,
        "repeats": None,
    }
    assert verify_run(tmp_path / "run").ok


def test_every_headline_number_has_the_prediction_interval_of_its_quantity(project):
    result = project().result
    spread = result.projection.coefficients.spread_elsewhere  # an A100 is of no generation that was fitted
    for name in INTERVALS:
        metric = result.metrics[name]
        assert metric.basis == "prediction", name
        assert metric.low < metric.value < metric.high
    tpot, cost = result.metrics["tpot.p50"], result.metrics["cost_per_million_output_tokens"]
    assert tpot.high / tpot.value == pytest.approx(spread["tpot"])
    assert tpot.value / tpot.low == pytest.approx(spread["tpot"])
    assert cost.high / cost.value == pytest.approx(spread["output_throughput"])
    assert result.metrics["failed_requests"].basis is None


def test_costs_follow_from_the_projected_rate_by_hand(project):
    result = project(num_gpus=2, price=1.5).result
    rate = result.metrics["output_tokens_per_second"].value
    assert result.metrics["cost_per_million_output_tokens"].value == pytest.approx(2 * 1.5 / 3600 / rate * 1e6)
    watts = result.metrics["energy.mean_power"].value
    assert 2 * 400 * 0.3 < watts <= 2 * 400  # two boards of 400 W
    assert result.metrics["energy_per_output_token"].value == pytest.approx(watts / rate)


def test_flags_say_what_the_projection_rests_on_and_nothing_of_measuring(project):
    names = {flag.name: flag for flag in project(num_requests=16).result.flags}
    assert set(names) == {"projected", "projection_basis", "projected_routing", "energy_scope", "few_requests"}
    assert names["projected"].level == "warning"
    assert "power law" in names["projected_routing"].text


def test_flags_name_what_the_projection_leaves_out_or_was_not_tested_on(project):
    assert "one_server" in {f.name for f in project(hw="h100", model="deepseek-v3").result.flags}  # 16 devices
    assert "one_server" not in {f.name for f in project(hw="gb200", model="deepseek-v3", num_gpus=16).result.flags}
    for options in ({"rate": 2}, {"turns": 2}, {"allow_prefix_cache": True}, {"hw": "mi300x"}):
        assert "interval_untested" in {flag.name for flag in project(**options).result.flags}
    assert "answers_at_most" in {flag.name for flag in project(natural_end=True).result.flags}
    small = project(num_gpus=2, engine_arg=["gpu-memory-utilization=0.58"], output_len=3000, concurrency=24)
    assert "preempted" in {flag.name for flag in small.result.flags}


def test_errors_of_other_coefficients_are_not_quoted(project, monkeypatch):
    from moecap.projection import known_errors

    monkeypatch.setattr(known_errors, "coefficients_digest", lambda: "of other coefficients")
    known_errors.known_errors.cache_clear()
    try:
        flags = {flag.name: flag.text for flag in project().result.flags}
    finally:
        monkeypatch.undo()
        known_errors.known_errors.cache_clear()
    assert "It was not tested on published results since its coefficients were fitted." in flags["projected"]


def test_the_fewest_devices_that_hold_the_model_are_taken_and_told(tmp_path, capsys):
    words = "run --model mixtral --hw a100 --task none --num-requests 8"  # 93 GB of weights: one A100 is too small
    assert main([*words.split(), "--output", str(tmp_path / "run")]) == 0
    assert "2 of a100-sxm4-80gb: the fewest that hold mistralai/Mixtral-8x7B-Instruct-v0.1" in " ".join(
        capsys.readouterr().err.split()
    )
    assert read_result(tmp_path / "run").workload.num_gpus == 2


@pytest.mark.parametrize(
    ("options", "error", "problem"),
    [
        ({"measured": True}, NotAvailableError, "a100 .a100-sxm4-80gb. is not in this machine.*refuses to project"),
        ({"backend": "projected", "measured": True}, BadInputError, "measures nothing and --measured refuses that"),
        ({"backend": "transformers"}, NotAvailableError, "backend 'transformers' can measure nothing on it"),
        ({"num_gpus": 1}, NotAvailableError, "needs 93.4 GB for weights in bf16 and room for 240 tokens"),
        ({"num_gpus": 3}, BadInputError, "cannot share the 32 heads"),
        ({"engine_arg": ["engine=lmdeploy"]}, UnknownNameError, "no engine to project named 'lmdeploy'"),
        ({"engine_arg": ["engine=trtllm-0.20"]}, BadInputError, "engine=trtllm-0.20: give the version after a space"),
        ({"engine_arg": ["engine=vllm v0.11"]}, BadInputError, "engine=vllm v0.11: give the version after a space"),
        ({"engine_arg": ["max-num-seqs=4", "max_num_seqs=8"]}, BadInputError, "one is given twice"),
        ({"engine_arg": ["max-num-seq=4"]}, UnknownNameError, "did you mean 'max-num-seqs'"),
        ({"engine_arg": ["max-num-seqs=0"]}, BadInputError, "max-num-seqs=0: not a positive whole number"),
        ({"engine_arg": ["data-parallel=3"]}, NotAvailableError, "data-parallel 3 divides none; give a power of two"),
        ({"engine_arg": ["prefetched=0.5"]}, BadInputError, "host, sockets and prefetched .* give a --layout"),
        ({"engine_arg": ["gpu-memory-utilization=1.2"]}, BadInputError, "not a share of 0.01 to 1"),
        ({"routing": "even"}, BadInputError, "routing=even: no such run directory"),
        ({"routing": "9"}, BadInputError, "an exponent is 0 to 8"),
        ({"energy_source": "nvml"}, BadInputError, "a projection counts no energy"),
        ({"precision": "int8"}, BadInputError, "precision 'int8' is not projected; known: auto, bf16"),
        ({"hw": "rtx-a5000", "layout": {"experts": "dram"}}, BadInputError, "takes bytes from link and no rate"),
        (
            {"num_requests": 5000, "output_len": 10_000},
            BadInputError,
            "50,000,000 tokens and a projection keeps",
        ),
        ({"n": 2}, NotAvailableError, "n: backend 'projected' cannot do that"),
        (
            {"dataset": "tasks", "task": ["gsm8k"], "input_len": 64},
            NotAvailableError,
            "counted by the model's tokenizer",
        ),
        ({"input_len": 40_000}, BadInputError, "the model holds 32768"),
    ],
)
def test_what_cannot_be_projected_is_refused_in_one_line(project, options, error, problem):
    with pytest.raises(error, match=problem):
        project(**options)


@pytest.mark.parametrize(
    ("engine", "family"),
    [
        ("vllm", "vllm"),
        ("vllm 0.11", "vllm-before-0.14"),
        ("vllm-before-0.14", "vllm-before-0.14"),
        ("vLLM 0.14.1", "vllm"),
        ("TensorRT-LLM 0.20", "trtllm-before-1.0"),
        ("trtllm-before-1.0", "trtllm-before-1.0"),
    ],
)
def test_an_engine_is_named_by_its_family_or_with_its_version(engine, family):
    assert engine_settings({"engine": engine}, calibrated()).family == family


def test_a_chip_without_a_rate_is_refused_before_anything_is_said_or_made(tmp_path, capsys):
    options = {"model": "qwen3-30b-a3b", "hw": "grace", "task": ["none"], "output": str(tmp_path / "run")}
    with pytest.raises(NotAvailableError, match="'grace' has no peak for bf16 or a wider format"):
        run(with_settings(options, ()), Reporter())
    assert "PROJECTED" not in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ({"rate": 4}, ()),
        ({"rate": 4, "arrival": "constant"}, ()),
        ({"rate": 4, "arrival": "gamma", "burstiness": 0.5}, ()),
        ({"rate": 8, "arrival": "ramp", "rate_start": 1}, ()),
        ({"length_spread": 0.5}, ()),
        ({"natural_end": True}, ()),
        ({"preset": "4k/1k", "input_len": 4000, "output_len": 1000, "num_requests": 8}, ()),
        ({"turns": 3, "turn_wait": 0.5, "num_requests": 24}, ()),
        ({"turns": 3, "num_requests": 24, "allow_prefix_cache": True}, ()),
        ({"shared_prefix_len": 150, "allow_prefix_cache": True}, ()),
        ({"engine_arg": ["engine=sglang"]}, ()),
        ({"engine_arg": ["engine=trtllm"], "num_gpus": 4}, ("cost.basis=own", "cost.capital=60000")),
        ({"engine_arg": ["expert-parallel=4"], "num_gpus": 4, "routing": "uniform"}, ()),
        ({"engine_arg": ["data-parallel=2", "max-num-seqs=8", "max-num-batched-tokens=512"], "num_gpus": 4}, ()),
        ({"hw": "h100", "precision": "fp8", "num_gpus": 1, "routing": "0.5"}, ()),
        ({"hw": "b200", "model": "gpt-oss-120b", "engine_arg": ["kv-cache-dtype=fp8"]}, ()),
        ({"hw": "h200", "model": "deepseek-v3"}, ()),
    ],
)
def test_loads_engines_and_formats_are_projected_and_verify(project, options, settings):
    result = project(*settings, **options).result
    assert result.metrics["tpot.p50"].value > 0
    assert result.metrics["failed_requests"].value == 0
    assert 0 < result.metrics["decode.s_mbu"].value < 1


@pytest.mark.parametrize("arrival", ["poisson", "trace"])
def test_sessions_of_a_file_come_as_recorded(project, tmp_path, arrival):
    file = _lines(tmp_path / "agents.jsonl", AGENTS)
    load = {"arrival": "trace"} if arrival == "trace" else {"concurrency": 2}
    outcome = project(dataset=file, num_requests=18, input_len=64, output_len=32, **load)
    table = pq.read_table(outcome.directory / "requests.parquet").to_pandas()
    assert table["turn"].tolist() == [0, 1, 2] * 6
    assert table["input_tokens"].tolist() == [300, 640, 980] * 6
    firsts = table.loc[table["turn"] == 0, "scheduled_ns"].to_numpy()
    if arrival == "trace":
        np.testing.assert_array_equal(firsts, np.round(0.5e9 * np.arange(6)))
    else:
        assert (firsts[:2] == 0).all()
        assert (firsts[2:] > 0).all()


def test_a_trace_shares_its_blocks_where_the_prefix_cache_is_on(project, tmp_path):
    file = _lines(tmp_path / "trace.jsonl", TRACE)  # blocks of 512: the first two of each prompt are the same
    options = {"dataset": file, "arrival": "trace", "num_requests": 20, "input_len": 64, "output_len": 32}
    cold = pq.read_table(project(**options).directory / "requests.parquet")
    warm = pq.read_table(project(**options, allow_prefix_cache=True).directory / "requests.parquet")
    assert cold["cached_tokens"].to_pylist() == [0] * 20
    assert warm["cached_tokens"].to_pylist() == [0] + [1024] * 19


def test_a_layout_is_projected_with_its_binding_tier(project):
    """Experts in the host's memory: a decode step takes at least the time of its bytes over the link."""
    layout = {
        "experts": "dram",
        "hit_rate": 0.25,
        "tiers": {"link": {"kind": "pcie4-x16"}, "dram": {"kind": "ddr4-3200", "units": 8}},
    }
    result = project(hw="rtx-a5000", layout=layout).result
    moved = result.metrics["decode.tier.link.bytes_per_step"].value
    assert result.metrics["itl.p50"].value > moved / 24.8e9
    assert "link in decode" in next(f.text for f in result.flags if f.name == "binding_tier")
    assert result.metrics["decode.s_mbu"].value is None
    early = project(hw="rtx-a5000", layout=layout, engine_arg=["prefetched=0.9"]).result
    assert early.metrics["itl.p50"].value < result.metrics["itl.p50"].value
    by_host = layout | {"cpu_share": 1.0}
    with pytest.raises(BadInputError, match="give a host profile"):
        project(hw="rtx-a5000", layout=by_host)
    assert project(hw="rtx-a5000", layout=by_host, engine_arg=["host=xeon-6454s-1s", "sockets=2"]).result


def test_a_measured_run_s_routing_is_that_of_the_projection(project, tmp_path, monkeypatch):
    """Every token takes experts 0 and 1: two distinct ones a step, whatever the number of tokens."""
    earlier = project(num_gpus=2).directory
    steps = pq.read_table(earlier / "steps.parquet").to_pandas()
    tokens = [sum(new) for new in steps["seq_new"]]
    experts = np.zeros((sum(tokens), 32, 2), np.uint8)
    experts[:, :, 1] = 1
    token_step = np.repeat(np.arange(len(tokens), dtype=np.int32), tokens)
    np.savez(earlier / "routing.npz", experts=experts, token_step=token_step, capture=np.array("made for a test"))
    result = project(num_gpus=2, routing=str(earlier)).result
    assert result.workload.routing == earlier.name
    assert result.projection.routing.histogram == (0.5, 0.5, 0, 0, 0, 0, 0, 0)
    assert result.metrics["experts.distinct_mean"].value == pytest.approx(2)
    assert result.metrics["tpot.p50"].value < project(num_gpus=2).result.metrics["tpot.p50"].value


def test_projected_files_say_the_numbers_of_the_simulation(project):
    """Closed loop of one: TTFT and TPOT by the steps of one request."""
    outcome = project(concurrency=1, num_requests=6, num_gpus=2)
    steps = pq.read_table(outcome.directory / "steps.parquet").to_pandas()
    costs = outcome.result.projection.coefficients.engine("vllm")
    prefills = steps[[phase[0] == 0 for phase in steps["seq_phase"]]]
    assert len(prefills) == 6
    ttft = prefills["duration_ns"].iloc[0] * 1e-9 + costs.prompt + 200 * costs.prompt_token
    assert outcome.result.metrics["ttft.p50"].value == pytest.approx(ttft, rel=1e-6)
    decodes = steps.drop(prefills.index)["duration_ns"].to_numpy().reshape(6, 39)
    assert outcome.result.metrics["tpot.p50"].value == pytest.approx(decodes[0].mean() * 1e-9, rel=1e-6)


def test_a_report_marks_every_chart_as_projected(project, tmp_path):
    page = write_report(project().directory).read_text()
    assert "Every number on this page is a projection." in page
    charts = json.loads(page.split('<script type="application/json" id="charts">')[1].split("</script>")[0])
    assert charts
    for chart in charts.values():
        assert "projected, not measured" in [note["text"] for note in chart["layout"]["annotations"]]


def test_no_engine_is_imported(tmp_path):
    code = (
        "import sys; from moecap.cli import main; "
        f"status = main(['run', '--model', 'mixtral', '--hw', 'a100', '--output', {str(tmp_path / 'run')!r}]); "
        "print(status, sorted({'torch', 'transformers', 'vllm', 'sglang'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "0 []"


@pytest.mark.engine
def test_a_measured_run_is_held_against_the_projection_of_its_load(run_options):
    outcome = run(with_settings(run_options, ()), Reporter(quiet=True))
    assert outcome.error is None
    metrics = outcome.result.metrics
    for name in ("ttft.p50", "tpot.p50", "itl.p50", "output_tokens_per_second"):
        ratio = metrics[f"projection.ratio.{name}"]
        assert ratio.reason is None
        assert 0 < ratio.value < float("inf")
    assert outcome.result.projection.engine.startswith("transformers")
    assert verify_run(outcome.directory).ok
    page = write_report(outcome.directory).read_text()
    assert "Beside the projection" in page
    assert f'data-metric="projection.ratio.tpot.p50">{metrics["projection.ratio.tpot.p50"].value:.3f}' in page


@pytest.mark.engine
def test_the_ratio_is_that_of_the_same_load_projected(run_options):
    """By a run that projects this very host with the same lengths and the same engine's costs."""
    measured = run(with_settings(run_options, ()), Reporter(quiet=True)).result
    asked = run_options | {"backend": "projected", "output": run_options["output"] + "-projected"}
    projected = run(with_settings(asked, ()), Reporter(quiet=True)).result
    coefficients = projected.projection.coefficients
    assert coefficients.engine("vllm") == coefficients.engine(measured.projection.engine)  # the declared default
    ratio = measured.metrics["projection.ratio.tpot.p50"].value
    assert ratio == pytest.approx(projected.metrics["tpot.p50"].value / measured.metrics["tpot.p50"].value, rel=1e-6)


@pytest.mark.engine
def test_what_only_a_projection_takes_is_refused_where_a_run_measures(run_options):
    with pytest.raises(BadInputError, match="routing is of a projection"):
        run(with_settings(run_options | {"routing": "uniform"}, ()), Reporter(quiet=True))
