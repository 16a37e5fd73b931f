"""``moecap import`` of files that the tools themselves wrote: see files/README.md."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from moecap.cli import main
from moecap.errors import BadInputError
from moecap.importing.record import read_imported, write_imported
from moecap.importing.run import Given, import_file
from moecap.importing.verification import verify_imported
from moecap.result import read_result

FILES = Path(__file__).parent / "files"
EACH = {
    "vllm-detailed.json": "vllm bench",
    "vllm-summary.json": "vllm bench",
    "sglang.jsonl": "sglang bench",
    "sglang-detailed.jsonl": "sglang bench",
    "guidellm.json": "guidellm",
    "aiperf/profile_export_aiperf.json": "aiperf",
    "stage_0_lifecycle_metrics.json": "inference-perf",
    "lm-eval.json": "lm-eval",
}
OBSERVED = ("vllm-detailed.json", "guidellm.json", "aiperf/profile_export_aiperf.json")


def imported(name, place, **given):
    ((_, result),) = import_file(FILES / name, "auto", Given(**given), place)
    return result


def test_a_place_below_a_file_is_refused_in_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["import", str(next(FILES.glob("vllm*.json"))), "--output", str(tmp_path / "file" / "run")]) == 2
    assert "cannot be written (Not a directory)" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "tool"), EACH.items())
def test_each_tool_is_recognised_and_its_result_holds(name, tool, tmp_path, capsys):
    place = tmp_path / "run"
    assert main(["import", str(FILES / name), "--output", str(place), "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert (answer["kind"], answer["source"]["tool"]) == ("imported", tool)
    assert main(["verify", str(place), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["differences"]) == (True, [])
    assert bool(answer["observations"]) == (name in OBSERVED)
    assert main(["report", str(place)]) == 0
    assert "These numbers were not measured by moecap" in (place / "report.html").read_text()


@pytest.mark.parametrize("name", OBSERVED)
def test_numbers_that_are_recomputed_are_the_tools_own(name, tmp_path):
    """Medians and whole-run rates follow from the same times, whoever computes them."""
    result = imported(name, tmp_path / "run")
    both = [
        n for n in ("ttft.p50", "tpot.p50", "e2e.p50", "output_tokens_per_second_whole_run") if n in result.recomputed
    ]
    assert len(both) == 4
    for metric in both:
        assert result.metrics[metric].value == pytest.approx(result.stated[metric].value, rel=0.02), metric
    assert result.metrics["failed_requests"].value == 0


def test_vllms_times_are_kept_to_the_nanosecond(tmp_path):
    import pyarrow.parquet as pq

    content = json.loads((FILES / "vllm-detailed.json").read_text())
    imported("vllm-detailed.json", tmp_path / "run")
    requests = pq.read_table(tmp_path / "run" / "requests.parquet").to_pandas()
    chunks = pq.read_table(tmp_path / "run" / "chunks.parquet").to_pandas()
    starts = np.array(content["start_times"])
    assert requests["sent_ns"].to_numpy() == pytest.approx((starts - starts.min()) * 1e9, abs=1)
    first = chunks.groupby("request")["time_ns"].first() - requests["sent_ns"]
    assert first.to_numpy() * 1e-9 == pytest.approx(content["ttfts"], abs=2e-9)
    assert chunks["tokens"].tolist() == list(range(1, 9)) * 12


def test_what_a_source_lacks_is_null_with_the_reason(tmp_path):
    result = imported("vllm-detailed.json", tmp_path / "run")
    assert result.hardware.id is None
    assert result.missing["hardware.id"] == "vllm bench's file does not say"
    assert result.workload.input_len is None
    assert result.metrics["output_tokens_per_second"].value is None
    assert "steady state" in result.metrics["output_tokens_per_second"].reason


def test_what_the_importer_says_fills_gaps_and_overrides_nothing(tmp_path):
    result = imported("vllm-detailed.json", tmp_path / "run", model="other", hardware="h100-sxm", devices=2)
    assert (result.model.id, result.hardware.id) == ("tiny", "h100-sxm")
    assert result.given == ("hardware.id", "hardware.count")
    rate = result.metrics["output_tokens_per_second_whole_run"].value
    assert result.metrics["output_tokens_per_second_per_device_whole_run"].value == pytest.approx(rate / 2)


def test_guidellm_has_no_time_of_each_token_and_so_no_inter_token_latency(tmp_path):
    result = imported("guidellm.json", tmp_path / "run")
    assert result.metrics["itl.p50"].reason.startswith("the report has the first and the last token")
    assert result.workload.model_dump() == {
        "load": "closed", "concurrency": 4, "rate": None, "input_len": 32, "output_len": 8, "num_requests": 12,
        "dataset": "synthetic_text",
    }  # fmt: skip


def test_scores_of_lm_eval_have_its_standard_errors(tmp_path):
    score = imported("lm-eval.json", tmp_path / "run").metrics["accuracy.parity"]
    spread = json.loads((FILES / "lm-eval.json").read_text())["results"]["parity"]["acc_stderr,none"]
    assert (score.value, score.n) == (0.5, 20)
    assert score.high - score.low == pytest.approx(2 * 1.959964 * spread, rel=1e-6)


def test_moe_caps_metrics_and_metadata(tmp_path):
    """In the fields that its runner writes (moe_cap/runner/openai_api_profile.py)."""
    performance = {"e2e_s": 2.0, "request/s": 0.5, "ttft": 0.25, "tpot": 0.03}
    experts = {"avg_expert_activation_prefill": 60.0, "avg_expert_activation_decode": 21.5}
    metrics = {"performance": performance, "expert_activation": experts, "quality": {"acc": 0.8, "total": 50}}
    about = {
        "hardware": {"gpu_type": "NVIDIA-H100", "num_gpus": 4},
        "model_config": {"model_name": "Qwen/Qwen3-30B-A3B", "precision": "bfloat16"},
        "system_environment": {"inference_engine": "sglang", "inference_engine_version": "unknown"},
    }
    file = tmp_path / "metrics_gsm8k_20260101_120000.json"
    file.write_text(json.dumps(metrics))
    (tmp_path / "metadata_gsm8k_20260101_120000.json").write_text(json.dumps(about))
    ((_, result),) = import_file(file, "auto", Given(), tmp_path / "run")
    values = {name: metric.value for name, metric in result.metrics.items()}
    assert values == {
        "ttft.mean": 0.25, "tpot.mean": 0.03, "requests_per_second_whole_run": 0.5, "experts.distinct_mean": 21.5,
        "accuracy.gsm8k": 0.8,
    }  # fmt: skip
    assert (result.model.id, result.hardware.count, result.backend.name) == ("Qwen/Qwen3-30B-A3B", 4, "sglang")
    assert result.backend.version is None


def test_several_results_of_one_file_become_several_runs(tmp_path):
    file = tmp_path / "two.jsonl"
    file.write_text((FILES / "sglang.jsonl").read_text() * 2)
    made = import_file(file, "auto", Given(), tmp_path / "runs")
    assert [place.name for place, _ in made] == ["1", "2"]
    assert [result.source.part for _, result in made] == [1, 2]


def test_a_number_that_differs_from_the_tools_own_is_named(tmp_path):
    content = json.loads((FILES / "vllm-detailed.json").read_text()) | {"median_ttft_ms": 90.0}
    file = tmp_path / "vllm.json"
    file.write_text(json.dumps(content))
    ((_, result),) = import_file(file, "vllm", Given(), tmp_path / "run")
    (flag,) = [flag for flag in result.flags if flag.name == "differs_from_source"]
    assert flag.text.startswith("ttft.p50 is 0.09 s by vllm bench, 0.0463")


def test_a_failed_request_counts_as_failed(tmp_path):
    content = json.loads((FILES / "vllm-detailed.json").read_text())
    content["errors"][3], content["output_lens"][3], content["failed"] = "refused", 0, 1
    content["itls"][3], content["ttfts"][3] = [], 0.0
    file = tmp_path / "vllm.json"
    file.write_text(json.dumps(content))
    ((_, result),) = import_file(file, "auto", Given(), tmp_path / "run")
    assert (result.metrics["failed_requests"].value, result.metrics["ttft.p50"].n) == (1, 11)


def test_a_changed_file_or_number_is_found(tmp_path, capsys):
    place = tmp_path / "run"
    imported("vllm-detailed.json", place)
    content = json.loads((place / "result.json").read_text())
    content["metrics"]["ttft.p50"]["value"] *= 0.5
    (place / "result.json").write_text(json.dumps(content))
    assert main(["verify", str(place), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["corrupt"] == ["result.json"]
    assert [d["metric"] for d in found["differences"]] == ["ttft.p50"]
    (place / "chunks.parquet").write_bytes(b"")
    assert main(["verify", str(place), "--json"]) == 1
    assert "chunks.parquet" in json.loads(capsys.readouterr().out)["corrupt"]


def test_two_imports_of_one_tool_are_compared_and_of_two_tools_refused(tmp_path, capsys):
    for name in ("vllm-detailed.json", "guidellm.json"):
        imported(name, tmp_path / name)
    shutil.copytree(tmp_path / "vllm-detailed.json", tmp_path / "again")
    assert main(["compare", str(tmp_path / "vllm-detailed.json"), str(tmp_path / "again"), "--json"]) == 0
    capsys.readouterr()
    assert main(["compare", str(tmp_path / "vllm-detailed.json"), str(tmp_path / "guidellm.json")]) == 2
    assert "tool vllm bench in A and guidellm in B" in capsys.readouterr().err


def test_other_commands_say_that_they_do_not_take_an_import(tmp_path):
    imported("vllm-summary.json", tmp_path / "run")
    with pytest.raises(BadInputError, match="imported from another tool"):
        read_result(tmp_path / "run")


def vllm(**changes):
    return json.dumps(json.loads((FILES / "vllm-detailed.json").read_text()) | changes)


HOSTILE = {
    "deep": ("[" * 10_000, "nests too deeply"),
    "not-json": ('{"a": 1,\n "b": }', "line 2: not JSON"),
    "twice": ('{"a": 1, "a": 2}', "'a' comes twice"),
    "nan": (vllm(mean_ttft_ms=float("nan")), "mean_ttft_ms is nan"),
    "huge": (vllm(output_throughput=1e300), "output_throughput is 1e+300"),
    "digits": ('{"a": ' + "9" * 10_000 + "}", "digits"),
    "negative": (vllm(duration=1, median_ttft_ms=-1), "median_ttft_ms is -1"),
    "short": (vllm(ttfts=[0.1]), "ttfts has 1 entries and start_times 12"),
    "text": (vllm(ttfts=["x"] * 12), "ttfts[0] is 'x'"),
    "far-apart": (vllm(start_times=[0.0] * 11 + [1e15]), "beyond what can be stored"),
    "many-tokens": (vllm(output_lens=[2**40] * 12), "beyond what can be stored"),
    "unknown": ('{"a": 1}', "not the output of a tool that is known here"),
    "list": ("[1, 2]", "not the output of a tool"),
    "empty": ("", "line 1: not JSON"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_bad_input_is_refused_in_one_line(name, tmp_path, capsys):
    text, said = HOSTILE[name]
    file = tmp_path / "file.json"
    file.write_text(text)
    assert main(["import", str(file), "--output", str(tmp_path / "run")]) == 2
    line = capsys.readouterr().err.strip()
    assert said in line
    assert "\n" not in line
    assert len(line) < 500
    assert not (tmp_path / "run").exists()


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    file = tmp_path / "large.json"
    with file.open("wb") as opened:
        opened.truncate(1_000_000_000)
    with pytest.raises(BadInputError, match="larger than 256 MB"):
        import_file(file, "auto", Given(), None)


def test_a_place_that_is_taken_is_refused(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(BadInputError, match="empty"):
        imported("vllm-summary.json", tmp_path)


def test_the_identity_is_of_the_content(tmp_path):
    result = imported("lm-eval.json", tmp_path / "run")
    assert read_imported(tmp_path / "run") == result
    assert result.canonical_id() == result.id


@pytest.mark.parametrize(
    "changes",
    [{"completed": 10**400}, {"max_concurrency": 10**18}],
    ids=["beyond-a-float", "beyond-canonical-json"],
)
def test_a_number_that_nothing_holds_is_refused(changes, tmp_path):
    file = tmp_path / "x.json"
    summary = json.loads((FILES / "vllm-summary.json").read_text())
    file.write_text(json.dumps(summary | {"request_rate": "inf"} | changes))
    with pytest.raises(BadInputError, match=next(iter(changes))):
        import_file(file, "auto", Given(), tmp_path / "run")


def test_a_line_ends_at_a_newline_alone(tmp_path):
    line = json.loads((FILES / "sglang.jsonl").read_text().splitlines()[0])
    file = tmp_path / "x.jsonl"
    file.write_text(json.dumps(line | {"tag": "a\u2028b\x85c"}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert len(import_file(file, "auto", Given(), tmp_path / "run")) == 1


def test_a_file_in_the_place_of_the_run_directory_is_refused(tmp_path):
    place = tmp_path / "run"
    place.write_text("")
    with pytest.raises(BadInputError, match="no empty directory"):
        import_file(FILES / "vllm-summary.json", "auto", Given(), place)


def test_repeats_that_were_never_measured_do_not_verify(tmp_path):
    [(place, result)] = import_file(FILES / "vllm-detailed.json", "auto", Given(), tmp_path / "run")
    assert verify_imported(place).ok
    name = result.recomputed[0]
    value = result.metrics[name].value
    forged = result.metrics[name].model_copy(update={"repeats": (value,) * 3})
    write_imported(place, result.model_copy(update={"metrics": result.metrics | {name: forged}}))
    assert [d.metric for d in verify_imported(place).differences] == [name]


def test_a_result_that_recomputed_what_it_has_not_is_refused(tmp_path):
    [(place, result)] = import_file(FILES / "vllm-detailed.json", "auto", Given(), tmp_path / "run")
    write_imported(place, result.model_copy(update={"recomputed": ("nothing",)}))
    with pytest.raises(BadInputError, match="no metric of the result"):
        verify_imported(place)


def test_half_of_a_character_is_refused(tmp_path):
    file = tmp_path / "x.json"
    file.write_text(json.dumps(json.loads((FILES / "vllm-summary.json").read_text()) | {"model_id": "\ud800"}))
    with pytest.raises(BadInputError, match="half of a character"):
        import_file(file, "auto", Given(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_is_better_when_lower_is_no_score(tmp_path):
    content = json.loads((FILES / "lm-eval.json").read_text())
    task = next(iter(content["results"]))
    content["results"][task]["bits_per_byte,none"] = 0.7
    content["higher_is_better"] = {task: {"acc": True, "bits_per_byte": False}}
    file = tmp_path / "x.json"
    file.write_text(json.dumps(content))
    [(_, result)] = import_file(file, "auto", Given(), tmp_path / "run")
    assert f"accuracy.{task}" in result.metrics and f"accuracy.{task}_bits_per_byte" not in result.metrics
