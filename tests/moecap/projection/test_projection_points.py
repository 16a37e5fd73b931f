"""Published points: what rows mean, and the error of the projection on them."""

import json
from pathlib import Path

import pytest

from moecap.cli import main
from moecap.models.parallelism import Parallelism
from moecap.projection.points import Point, Skipped, resolve
from moecap.projection.validation import validate_points

POINTS = Path(__file__).parent / "published_points.json"
ROWS = json.loads(POINTS.read_text(encoding="utf-8"))["points"]

BOUNDS = {
    ("calibration", "tpot"): (0.075, 0.21),
    ("calibration", "itl_median"): (0.08, 0.20),
    ("calibration", "output_throughput"): (0.04, 0.115),
    ("calibration", "ttft"): (0.135, 0.33),
    ("calibration", "gpu_power_avg_sum"): (0.18, 0.30),
    ("calibration", "energy_per_output_token"): (0.175, 0.31),
    ("calibration", "prefill_speed"): (0.05, 0.09),
    ("calibration", "decode_speed"): (0.06, 0.09),
    ("validation", "tpot"): (0.15, 0.24),
    ("validation", "itl_median"): (0.09, 0.41),
    ("validation", "output_throughput"): (0.18, 0.46),
    ("validation", "ttft"): (0.145, 0.39),
    ("validation", "gpu_power_avg_sum"): (0.10, 0.34),
    ("validation", "energy_per_output_token"): (0.11, 0.31),
}
"""Median and 90th percentile of |projected / published - 1|, a little above what docs/projection.md reports."""


@pytest.fixture(scope="module")
def validation():
    return validate_points(POINTS)


def _row(**changes):
    row = {
        "id": "X1",
        "model": "Mixtral-8x22B",
        "hw_id": "h100-sxm",
        "gpus": 8,
        "engine": "TensorRT-LLM 0.14.0",
        "precision": "fp8",
        "parallel": "TP8",
        "isl": 1000,
        "osl": 500,
        "concurrency": None,
        "metric": "output_throughput",
        "value": 100.0,
    }
    return row | changes


def test_a_row_of_maximum_load():
    point = resolve(_row())
    assert isinstance(point, Point)
    assert point.concurrency == float("inf")
    assert point.deployment.parallelism == Parallelism(tensor=8)
    assert point.deployment.spec.weight_dtypes["experts"] == "fp8"
    assert point.deployment.spec.weight_dtypes["router"] == "bf16"
    assert point.deployment.spec.kv_dtype == "fp8"  # this engine's published checkpoints hold the cache in fp8
    assert point.value == 100.0


def test_nvidias_tables_queue_so_many_requests_at_once():
    assert resolve(_row(group="trtllm-0.14", isl=128, osl=4096)).concurrency == 1500
    assert resolve(_row(group="trtllm-0.17", isl=128, osl=128)).concurrency == 30_000
    assert resolve(_row(group="elsewhere", isl=128, osl=128)).concurrency == float("inf")


def test_tensorrt_llm_1_0_keeps_a_replica_of_all_but_routed_experts_on_each_rank():
    newer = {"engine": "TensorRT-LLM 1.0 (PyTorch backend)", "group": "trtllm-1.0"}
    assert resolve(_row(**newer)).deployment.parallelism == Parallelism(data=8, expert=8, whole_replicas=True)
    assert resolve(_row(**newer, model="Qwen3-30B-A3B", parallel="TP1PP1", gpus=1)).deployment.devices == 1
    older = _row(engine="TensorRT-LLM 0.17", group="trtllm-0.17")
    assert resolve(older).deployment.parallelism == Parallelism(tensor=8)
    served = _row(engine="trtllm", group="inferencemax", model="openai/gpt-oss-120b", precision="fp4", concurrency=4)
    assert resolve(served).deployment.parallelism == Parallelism(tensor=8)


@pytest.mark.parametrize(
    ("hardware", "engine", "cache"),
    [("b200-sxm", "vllm 0.15.1", "fp8"), ("h200-sxm", "vllm 0.18.0", "bf16"), ("b200-sxm", "sglang 0.5", "bf16")],
)
def test_inferencemax_holds_the_cache_in_fp8_for_vllm_on_blackwell(hardware, engine, cache):
    row = _row(model="openai/gpt-oss-120b", precision="fp4", hw_id=hardware, engine=engine, group="inferencemax")
    assert resolve(row | {"concurrency": 4}).deployment.spec.kv_dtype == cache


def test_minimax_m2_5_ran_with_expert_parallelism_whatever_its_field_says():
    row = _row(
        model="MiniMaxAI/MiniMax-M2.5", parallel="TP8 attnDP1 moeTP8 EP1 PP1", concurrency=4, engine="vllm 0.18.0"
    )
    assert resolve(row | {"group": "inferencemax"}).deployment.parallelism == Parallelism(tensor=8, expert=8)
    assert resolve(row).deployment.parallelism == Parallelism(tensor=8)


def test_rows_of_inferencemax_without_a_version_schedule_ahead():
    row = _row(model="openai/gpt-oss-120b", precision="fp4", engine="vllm", group="inferencemax", date="2025-11-02")
    assert resolve(row).deployment.engine == "vllm"
    assert resolve(_row(engine="vLLM (ML.ENERGY v3 benchmark)")).deployment.engine == "vllm-before-0.14"


def test_a_row_runs_as_many_sequences_as_it_says_the_engine_was_given(tmp_path):
    row = _row(model="openai/gpt-oss-20b", precision="mxfp4", parallel="TP1", gpus=1, hw_id="b200-sxm")
    row |= {"engine": "vllm", "isl": 250, "osl": 2000, "concurrency": 4000, "metric": "itl_median"}
    rows = [row | {"id": "few"}, row | {"id": "many", "max_num_seqs": 4096, "gpus": 1, "model": "gpt-oss-20b"}]
    (tmp_path / "p.json").write_text(json.dumps({"points": rows}))
    few, many = validate_points(tmp_path / "p.json").projected
    assert many > 2 * few


def test_times_are_published_in_milliseconds():
    point = resolve(_row(metric="tpot", value=12.5, engine="vllm 0.18"))
    assert point.value == pytest.approx(0.0125)
    assert point.deployment.spec.kv_dtype == "bf16"


def test_nominal_lengths_are_drawn_from_four_fifths_to_all():
    point = resolve(_row(note="RANDOM_RANGE_RATIO 0.8", date="2026-01-01", concurrency=4))
    assert (point.input_tokens, point.output_tokens) == pytest.approx((900, 450))


@pytest.mark.parametrize(
    ("parallel", "devices", "split"),
    [
        ("TP4 attnDP1 moeTP2 EP2 PP1", 4, Parallelism(tensor=4, expert=2)),
        ("TP2 attnDP moeTP2 EP1 PP1", 2, Parallelism(tensor=2)),
        ("leaderboard fields tp=1 ep=4 dp=1", 4, Parallelism(tensor=4, expert=4)),
        ("TP4PP1", 4, Parallelism(tensor=4)),
        ("TP4 PP2", 8, Parallelism(tensor=4, pipeline=2)),
        ("", 8, Parallelism(tensor=8)),
    ],
)
def test_splits_as_rows_write_them(parallel, devices, split):
    assert resolve(_row(parallel=parallel, gpus=devices)).deployment.parallelism == split


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"metric": "goodput"}, "goodput is not projected"),
        ({"hw_id": "h900"}, "no hardware profile named 'h900'"),
        ({"model": "Mixtral-9x99B"}, "no model named"),
        ({"precision": "int3"}, "no rule for precision 'int3'"),
        ({"isl": None}, "no length of prompts"),
        ({"value": 0}, "not above 0"),
        ({"value": "inf"}, "is infinite"),
        ({"concurrency": 0}, "no request in flight"),
        ({"isl": -5}, "no token in or out"),
        ({"osl": 0}, "no token in or out"),
        ({"gpus": 4}, "'TP8' is a split over 8 devices and the row has 4"),
        ({"hardware": "RTX-4090 + 2x Xeon"}, "no rule for the host '2x Xeon'"),
        ({"hardware": "RTX-4090 + 2x Xeon Gold 9999, 16xDDR5-4800"}, "no hardware profile named 'xeon-9999-1s'"),
        ({"engine": None, "gpus": "x"}, "lacks or misstates"),
    ],
)
def test_a_row_that_cannot_be_projected_is_named_with_the_reason(changes, reason):
    found = resolve(_row(**changes))
    assert isinstance(found, Skipped)
    assert found.id == "X1"
    assert reason in found.reason


@pytest.mark.parametrize(("split", "metric"), BOUNDS)
def test_errors_on_published_rows_are_as_documented(validation, split, metric):
    record = validation.table(lambda point: point.metric, split)[metric]
    median, p90 = BOUNDS[split, metric]
    assert record["median_abs_error"] <= median
    assert record["p90_abs_error"] <= p90


def test_an_80_per_cent_interval_holds_70_to_90_per_cent_of_the_validation_rows(validation):
    record = validation.table(lambda _: "all", "validation")["all"]
    assert record["n"] == 343
    assert 0.70 <= record["interval_coverage"] <= 0.90


def test_experts_on_the_processors_of_a_host_are_projected():
    row = _row(
        model="DeepSeek-V3",
        hw_id="rtx-4090",
        gpus=1,
        engine="KTransformers 0.2 (6 of 8 experts)",
        precision="q4_k_m (int4)",
        parallel="",
        hardware="RTX-4090-24GB + 2x Xeon Gold 6454S, 2x8xDDR5-4800",
        isl=500,
        osl=None,
        concurrency=1,
        metric="decode_speed",
        value=13.7,
    )
    point = resolve(row)
    placement = point.deployment.placement
    assert placement.sockets == 2
    assert placement.host.id == "xeon-6454s-1s"
    assert (placement.layout.experts, placement.layout.cpu_share) == ("dram", 1.0)
    assert (placement.layout.tiers.dram.kind, placement.layout.tiers.dram.units) == ("ddr5-4800", 16)
    assert point.deployment.spec.moe_layers[0].top_k == 6
    assert point.deployment.spec.weight_dtypes["experts"] == "int4"
    assert resolve(row | {"hardware": "RTX-4090"}).deployment.placement is None


def test_trtllm_bench_sizes_batch_and_steps_by_memory_and_lengths():
    """Mixtral-8x22B in fp8 on eight H100, by the rule of the tool's tuning code.

    Weights: 140.6 GB; cache: 0.95 * (8 * 85.5 - 140.6) = 516 GB; a token takes 2 * 56 * 8 * 128 bytes: 4.50 M tokens.
    """
    row = _row(engine="TensorRT-LLM 0.17", group="trtllm-0.17", isl=1000, osl=1000)
    tuned = resolve(row)
    assert (tuned.sequences, tuned.step_tokens) == (2304, 4608)  # 2,250 sequences, up to 256; 4,500 tokens, up to 512
    long = resolve(row | {"isl": 20_000, "osl": 2000})
    assert (long.sequences, long.step_tokens) == (224, 20_000)  # a whole prompt fits in a step
    assert resolve(_row(group="trtllm-0.14")).step_tokens == 0


def test_every_row_is_projected_or_named(validation):
    named = {item.id for item in validation.skipped}
    projected = {point.id for point in validation.points}
    assert named | projected == {row["id"] for row in ROWS}
    assert not named & projected


def test_the_command_answers_in_json_by_metric_model_chip_and_engine(capsys):
    assert main(["validate", "--points", str(POINTS), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["n"] == len(ROWS)
    assert answer["n_projected"] + len(answer["skipped"]) == answer["n"]
    assert set(answer["by_metric"]["tpot"]) == {"n", "median_abs_error", "p90_abs_error", "interval_coverage"}
    for key in ("by_metric", "by_model", "by_hardware", "by_engine"):
        assert sum(record["n"] for record in answer[key].values()) == answer["n_projected"]


def test_the_command_counts_what_is_left_out(tmp_path, capsys):
    (tmp_path / "p.json").write_text(json.dumps({"points": [_row(), _row(id="X2", metric="goodput")]}))
    assert main(["validate", "--points", str(tmp_path / "p.json")]) == 0
    out = capsys.readouterr().out
    assert "1 of 2 rows are projected" in out
    assert "1 rows are not projected: goodput is not projected" in out


def test_the_command_prints_the_table(capsys):
    assert main(["validate", "--points", str(POINTS)]) == 0
    out = capsys.readouterr().out
    assert f"{len(ROWS)} of {len(ROWS)} rows are projected" in out


@pytest.mark.parametrize(("content", "says"), [("{", "is no JSON"), ('{"a": 1}', "has no list of points")])
def test_a_file_that_holds_no_points_is_refused(content, says, tmp_path, capsys):
    (tmp_path / "p.json").write_text(content)
    assert main(["validate", "--points", str(tmp_path / "p.json")]) == 2
    assert says in capsys.readouterr().err


def test_a_model_that_does_not_fit_is_named(tmp_path):
    (tmp_path / "p.json").write_text(json.dumps({"points": [_row(parallel="TP1", gpus=1)]}))
    found = validate_points(tmp_path / "p.json")
    assert not found.points
    assert "do not fit in 1 of h100-sxm" in found.skipped[0].reason
