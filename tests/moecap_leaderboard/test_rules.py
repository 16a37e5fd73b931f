"""Each rule holds for a real result and is broken by one that is changed."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from moecap.files import file_sha256
from moecap.hardware.registry import load_profile
from moecap_leaderboard.examination import examine
from moecap_leaderboard.rules import RULES, STANDING_RULES


def _examined(run):
    sent = [name for name in run.result["observations"] if (run.folder / name).exists()]
    return {rule["id"]: rule for rule in examine(run.folder, sent)["rules"]}


def _rewritten(run, name, change):
    """The run with a changed table, whose digest its result states."""
    path = run.folder / name
    table = pq.read_table(path)
    frame = table.to_pandas()
    change(frame)
    pq.write_table(table.from_pandas(frame, table.schema, preserve_index=False), path)
    return run.changed(lambda content: content["observations"].update({name: file_sha256(path)}))


def _on_accelerator(content, **profile):
    """Let a result claim an accelerator with the datasheet of a weak one."""
    content["workload"]["hw"] = "mine.yaml"
    content["hardware"] |= {"source": "file"}
    content["hardware"]["profile"] |= {
        "kind": "accelerator",
        "probe": None,
        "memory_bytes": 80_000_000_000,
        "memory_bandwidth": 1e12,
        "dense_flops": {"bf16": 1e14, "fp32": 1e13},
        **profile,
    }


@pytest.mark.parametrize("name", ["transformers-bf16", "vllm-bf16", "llamacpp-q8_0"])
def test_every_rule_holds_for_a_real_result(make_run, name):
    rules = _examined(make_run(name))
    assert list(rules) == [rule.id for rule in RULES]
    assert {key for key, rule in rules.items() if rule["outcome"] == "failed"} == set()
    assert rules["recomputation"]["outcome"] == rules["counts"]["outcome"] == rules["clock"]["outcome"] == "passed"
    assert rules["routing"]["outcome"] == ("skipped" if name == "llamacpp-q8_0" else "passed")
    assert rules["disclosure"]["outcome"] == "passed", rules["disclosure"]
    assert rules["roofline"]["outcome"] == rules["memory"]["outcome"] == "passed"


def test_every_rule_has_an_id_and_a_sentence():
    texts = {rule.id: rule.text for rule in RULES} | STANDING_RULES
    assert len(texts) == len(RULES) + len(STANDING_RULES)
    assert all(text[0].isupper() and text.endswith(".") for text in texts.values())


def test_identity_a_result_that_was_edited_has_not_its_id(make_run):
    run = make_run().changed(lambda content: content["model"].update(name="better"), identified=False)
    assert _examined(run)["identity"]["outcome"] == "failed"


def test_completed_a_run_that_failed_is_no_row(make_run):
    run = make_run().changed(lambda content: content.update(status="failed", reason="the engine died"))
    rule = _examined(run)["completed"]
    assert (rule["outcome"], rule["detail"]) == ("failed", "the run is failed (the engine died)")


def test_files_what_is_missing_changed_or_unnamed_is_named(make_run):
    missing = make_run()
    (missing.folder / "routing.npz").unlink()
    assert "routing.npz did not come" in _examined(missing)["files"]["detail"]

    changed = make_run()
    (changed.folder / "telemetry.parquet").write_bytes((changed.folder / "steps.parquet").read_bytes())
    rule = _examined(changed)["files"]
    assert rule["outcome"] == "failed" and "telemetry.parquet" in rule["detail"]

    surplus = make_run()
    sent = [*surplus.result["observations"], "notes.txt"]
    (surplus.folder / "notes.txt").write_text("hello")
    rules = {rule["id"]: rule for rule in examine(surplus.folder, sent)["rules"]}
    assert "notes.txt came" in rules["files"]["detail"]

    nothing = {rule["id"]: rule for rule in examine(make_run().folder, [])["rules"]}
    assert nothing["files"]["outcome"] == "failed"


def test_recomputation_a_number_that_does_not_follow_is_shown_with_both_values(make_run):
    run = make_run()
    true = run.result["metrics"]["decode.s_mbu"]["value"]
    run.changed(lambda content: content["metrics"]["decode.s_mbu"].update(value=true * 1.001))
    rule = _examined(run)["recomputation"]
    assert rule["outcome"] == "failed"
    assert rule["differences"] == [{"metric": "decode.s_mbu", "stored": true * 1.001, "recomputed": true}]


def test_recomputation_a_headline_is_not_left_out_by_claiming_another_version(make_run):
    def without(name):
        def change(content):
            content["provenance"]["moecap"] = "0.0.1"
            del content["metrics"][name]

        return _examined(make_run().changed(change))["recomputation"]

    rule = without("ttft.p99")
    assert rule["outcome"] == "failed"
    assert [difference["metric"] for difference in rule["differences"]] == ["ttft.p99"]
    assert without("e2e.p99")["outcome"] == "passed"


def test_recomputation_a_score_of_a_task_that_did_not_run_and_one_above_1(make_run):
    def scored(content):
        content["metrics"]["accuracy.gsm8k"] = content["metrics"]["accuracy.arc_easy"] | {"value": 1.0}

    def above(content):
        content["metrics"]["accuracy.arc_easy"]["value"] = 1.5

    assert (
        "no task of that name ran"
        in _examined(make_run("transformers-bf16").changed(scored))["recomputation"]["detail"]
    )
    assert "between 0 and 1" in _examined(make_run("transformers-bf16").changed(above))["recomputation"]["detail"]


def test_recomputation_a_flag_that_was_left_out_is_missed(make_run):
    run = make_run().changed(lambda content: content.update(flags=content["flags"][1:]))
    (difference,) = _examined(run)["recomputation"]["differences"]
    assert difference["metric"].startswith("flags.")


def test_clock_a_time_before_the_one_that_it_follows(make_run):
    def early(frame):
        frame.loc[3, "first_token_ns"] = frame.loc[3, "sent_ns"] - 1

    rule = _examined(_rewritten(make_run(), "requests.parquet", early))["clock"]
    assert rule["outcome"] == "failed" and "is before the one that it follows" in rule["detail"]


def test_clock_requests_that_span_more_than_the_run_lasted(make_run):
    def longer(content):
        content["provenance"]["finished"] = content["provenance"]["started"]

    rule = _examined(make_run("transformers-bf16").changed(longer))["clock"]
    assert rule["outcome"] == "failed" and "of a run that lasted 0 s" in rule["detail"]


def test_clock_a_time_that_is_none(make_run):
    run = make_run().changed(lambda content: content["provenance"].update(started="yesterday"))
    assert "is no time with its zone" in _examined(run)["clock"]["detail"]


def test_clock_a_run_of_the_future(make_run):
    def later(content):
        content["provenance"] |= {"started": "2999-01-01T00:00:00+00:00", "finished": "2999-01-01T01:00:00+00:00"}

    assert "future" in _examined(make_run().changed(later))["clock"]["detail"]


def test_counts_more_tokens_than_were_asked_for(make_run):
    def fewer(frame):
        frame.loc[frame["stage"] == "load", "output_tokens_asked"] = 3

    rule = _examined(_rewritten(make_run(), "requests.parquet", fewer))["counts"]
    assert rule["outcome"] == "failed" and "more answer tokens than it asked for" in rule["detail"]


def test_counts_a_rate_that_the_tokens_do_not_give(make_run):
    def faster(content):
        content["metrics"]["output_tokens_per_second_whole_run"]["value"] *= 1.2

    assert "are not the" in _examined(make_run().changed(faster))["counts"]["detail"]


def test_counts_failed_requests_that_are_not_stated(make_run):
    run = make_run().changed(lambda content: content["metrics"]["failed_requests"].update(value=1.0))
    assert "0 did not complete" in _examined(run)["counts"]["detail"]


def test_disclosure_a_key_is_refused_and_a_place_flagged(make_run):
    def keyed(content):
        content["model"]["source"] = "hub with hf_" + "a" * 30

    refused = _examined(make_run().changed(keyed))["disclosure"]
    assert refused["outcome"] == "failed" and "a key or password" in refused["detail"]
    assert "hf_aaaa" not in refused["detail"]
    folder = "/".join(("", "home", "ada", "models", "x"))
    placed = make_run().changed(lambda content: content["model"].update(source=folder))
    assert _examined(placed)["disclosure"]["outcome"] == "flagged"


def _on_h100(content, **profile):
    """Let a result claim a packaged accelerator."""
    packaged = load_profile("h100-sxm").model_dump(mode="json")
    content["workload"]["hw"] = "h100-sxm"
    content["hardware"] |= {"id": "h100-sxm", "source": "packaged", "profile": packaged | profile}


def test_profile_what_a_packaged_profile_does_not_say_is_flagged_whatever_version_the_run_claims(make_run):
    def cheap(content):
        _on_h100(content, prices=[{"usd_per_hour": 0.01, "provider": "me", "date": "2026"}], tdp_watts=9000.0)
        content["provenance"]["moecap"] = "0.0.1"

    rule = _examined(make_run().changed(cheap))["profile"]
    assert rule["outcome"] == "flagged"
    assert "0.01 USD/h" in rule["detail"] and "9000.0 W and 700.0 here" in rule["detail"]
    assert _examined(make_run().changed(_on_h100))["profile"]["outcome"] == "passed"


def test_profile_a_probed_host_is_not_cheaper_than_a_virtual_machine_of_its_cores(make_run):
    """Two cores of a virtual machine at 0.1008 USD/h for two."""

    def cheap(content):
        content["hardware"]["profile"]["prices"][0]["usd_per_hour"] = 0.1

    rule = _examined(make_run().changed(cheap))["profile"]
    assert rule["outcome"] == "flagged" and "0.1008 is the least for 2 cores" in rule["detail"]


@pytest.mark.parametrize(("part", "value"), [("id", "h100-sxm"), ("name", "H100")])
def test_profile_a_probed_host_under_the_name_of_an_accelerator(make_run, part, value):
    def named(content):
        content["hardware"][part] = content["hardware"]["profile"][part] = value

    def from_file(content):
        named(content)
        content["hardware"]["source"] = "file"

    assert _examined(make_run().changed(named))["profile"]["outcome"] == "failed"
    assert _examined(make_run().changed(from_file))["profile"]["outcome"] == "flagged"


def test_model_another_model_under_a_known_name(make_run):
    def named(identifier):
        return _examined(make_run().changed(lambda content: content["model"].update(id=identifier)))["model"]

    exact, alike = named("mistralai/Mixtral-8x7B-Instruct-v0.1"), named("Mixtral-8x7B-Instruct-v0.1")
    assert exact["outcome"] == "failed" and "46702792704" in exact["detail"]
    assert alike["outcome"] == "flagged"
    assert named("my-own-model")["outcome"] == "skipped"


def test_utilisation_above_the_datasheet_is_refused_and_on_a_host_flagged(make_run):
    def above(content):
        content["metrics"]["decode.s_mbu"]["value"] = 1.06

    def on_accelerator(content):
        above(content)
        _on_accelerator(content)

    assert _examined(make_run().changed(on_accelerator))["utilisation"]["outcome"] == "failed"
    flagged = _examined(make_run().changed(above))["utilisation"]
    assert flagged["outcome"] == "flagged" and "decode.s_mbu is 1.06" in flagged["detail"]
    within = make_run().changed(lambda content: content["metrics"]["decode.s_mbu"].update(value=1.04))
    assert _examined(within)["utilisation"]["outcome"] == "passed"


def test_roofline_more_tokens_than_the_reads_allow(make_run):
    """Two sequences of 214 M active parameters in bf16 read at least 0.3 GB a pass: 100 MB/s cannot give 1 token/s."""

    def slow_memory(content):
        _on_accelerator(content, memory_bandwidth=1e8)

    rule = _examined(make_run().changed(slow_memory))["roofline"]
    assert rule["outcome"] == "failed" and "that their reads allow" in rule["detail"]


def test_roofline_more_tokens_than_the_flops_allow(make_run):
    def slow_arithmetic(content):
        _on_accelerator(content, dense_flops={"bf16": 1e8, "fp32": 1e8})

    assert "the FLOPs allow" in _examined(make_run().changed(slow_arithmetic))["roofline"]["detail"]


def test_energy_more_than_the_design_power(make_run):
    def hot(content):
        _on_accelerator(content, tdp_watts=300.0)
        content["metrics"]["energy.mean_power"] |= {"value": 316.0, "reason": None}

    rule = _examined(make_run().changed(hot))["energy"]
    assert rule["outcome"] == "failed" and "316 W is more than 315 W" in rule["detail"]

    def cool(content):
        _on_accelerator(content, tdp_watts=300.0)
        rate = content["metrics"]["output_tokens_per_second"]["value"]
        content["metrics"]["energy_per_output_token"] |= {"value": 316.0 / rate, "reason": None}

    assert "J/token" in _examined(make_run().changed(cool))["energy"]["detail"]


def test_routing_fewer_experts_than_a_token_selects(make_run):
    run = make_run()
    (run.folder / "routing.npz").unlink()
    run.changed(lambda content: content["observations"].pop("routing.npz"))

    def fewer(frame):
        frame.at[5, "distinct_experts"] = np.ones_like(frame.at[5, "distinct_experts"])

    rule = _examined(_rewritten(run, "steps.parquet", fewer))["routing"]
    assert rule["outcome"] == "failed" and "step 5" in rule["detail"] and "2 to" in rule["detail"]


def test_memory_a_model_that_does_not_fit(make_run):
    def small(content):
        _on_accelerator(content, memory_bytes=500_000_000)

    rule = _examined(make_run().changed(small))["memory"]
    assert rule["outcome"] == "failed" and "0.7 GB" in rule["detail"] and "0.5 GB" in rule["detail"]
    host = make_run().changed(lambda content: content["hardware"]["profile"].update(memory_bytes=500_000_000))
    assert _examined(host)["memory"]["outcome"] == "flagged"
