"""A result whose author changed a statement and made the id anew, as an attacker would, is refused."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moecap.facts import result_facts
from moecap.files import file_sha256
from moecap.hardware.device import match_profile
from moecap.hardware.profile import Price
from moecap.hardware.registry import load_profile
from moecap.metrics.routing_source import seen_steps
from moecap.models.adapter import ADAPTER
from moecap.observations.reader import read_observations
from moecap.observations.schema import STEPS
from moecap.result import Flag, Result, read_result, write_result
from moecap.runner.flags import run_flags
from moecap.runner.reporter import Reporter
from moecap.runner.reproduction import public_hardware, reproduction_command
from moecap.runner.run import run
from moecap.settings import with_settings
from moecap.verification.recomputation import verify_run

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def honest(tmp_path_factory, tiny_model, prompts, host_yaml) -> Path:
    """A complete run whose hardware profile is a file."""
    options = {
        "model": str(tiny_model("mixtral")),
        "dataset": str(prompts),
        "hw": str(host_yaml),
        "backend": "transformers",
        "task": ["none"],
        "precision": "fp32",
        "num_requests": 6,
        "concurrency": 2,
        "input_len": 12,
        "output_len": 4,
        "output": str(tmp_path_factory.mktemp("honest") / "run"),
        "warmup": {"tolerance": 0.0001, "max_batches": 2},
    }
    outcome = run(with_settings(options, ()), Reporter(quiet=True))
    assert outcome.error is None
    assert verify_run(outcome.directory).ok
    return outcome.directory


@pytest.fixture
def forged(honest, tmp_path):
    """A function that copies the run with other statements and the id that belongs to them, and verifies it."""

    def forge(steps=None, **changes):
        directory = tmp_path / "forged"
        shutil.copytree(honest, directory, dirs_exist_ok=True)
        if steps is not None:
            pq.write_table(steps, directory / "steps.parquet")
        result = read_result(honest)
        digests = {name: file_sha256(directory / name) for name in result.observations}
        write_result(directory, result.model_copy(update={"observations": digests} | changes).identified())
        return verify_run(directory)

    return forge


@pytest.fixture
def result(honest) -> Result:
    return read_result(honest)


def _named(outcome):
    assert not outcome.corrupt, outcome
    return {d.metric for d in outcome.differences}


def _part(result, part, **changes):
    return {part: getattr(result, part).model_copy(update=changes)}


def test_a_metric_may_be_missing_only_where_another_version_did_not_know_it(forged, result):
    fewer = {name: metric for name, metric in result.metrics.items() if name != "busy_fraction"}
    assert _named(forged(metrics=fewer)) == {"busy_fraction"}
    older = _part(result, "provenance", moecap="0.0.1")
    assert forged(metrics=fewer, **older).ok
    other = fewer | {"ttft.p50": fewer["ttft.p50"].model_copy(update={"value": 1e-3})}
    assert _named(forged(metrics=other, **older)) == {"ttft.p50"}


def test_each_flag_that_is_taken_away_is_missed(forged, result):
    names = {flag.name for flag in result.flags}
    assert {"profile_from_file", "static_batch", "few_requests"} <= names
    for name in names:
        kept = tuple(flag for flag in result.flags if flag.name != name)
        (difference,) = forged(flags=kept).differences
        assert (difference.metric, difference.stored) == (f"flags.{name}", None)
        assert difference.recomputed


def test_a_flag_of_another_level_or_text_or_without_cause_is_refused(forged, result):
    first, *rest = result.flags
    for change in ({"level": "invalid"}, {"text": "All is well."}):
        assert _named(forged(flags=(first.model_copy(update=change), *rest))) == {f"flags.{first.name}"}
    (difference,) = forged(flags=(*result.flags, Flag(name="golden", level="info", text="Best."))).differences
    assert (difference.metric, difference.stored, difference.recomputed) == ("flags.golden", "info: Best.", None)
    assert _named(forged(flags=(*result.flags, first))) == {f"flags.{first.name}"}


@pytest.mark.parametrize(("last", "flagged"), [(104, False), (106, True)])
def test_the_warm_ups_flag_is_derived_from_its_steps(honest, forged, result, last, flagged):
    """Two batches of two requests: median decode steps of 100 and 104 ns agree within 5 %, 100 and 106 do not."""
    table = pq.read_table(honest / "steps.parquet").to_pandas()
    warmup = table.index[table["stage"] == "warmup"]
    half = len(warmup) // 2
    table.loc[warmup[:half], "duration_ns"] = 100
    table.loc[warmup[half:], "duration_ns"] = last
    warm = result.workload.warmup.model_copy(update={"tolerance": 0.05})
    workload = result.workload.model_copy(update={"warmup": warm})
    provenance = _part(result, "provenance", command=reproduction_command(workload))
    steps = pa.Table.from_pandas(table, STEPS, preserve_index=False)
    flags = tuple(flag for flag in result.flags if flag.name != "warmup_unstable")
    named = _named(forged(steps, workload=workload, flags=flags, **provenance))
    assert named == ({"flags.warmup_unstable"} if flagged else set())


@pytest.mark.parametrize(
    ("part", "changes", "names"),
    [
        ("hardware", {"price_source": "a friend"}, {"hardware.price_source"}),
        ("hardware", {"name": "A faster one"}, {"hardware.name"}),
        ("hardware", {"id": "h100-sxm"}, {"hardware.id"}),
        ("model", {"kv_dtype": "fp8"}, {"model.kv_dtype"}),
        ("model", {"active_params": 1}, {"model.active_params"}),
        ("provenance", {"command": "moecap run"}, {"provenance.command"}),
        ("provenance", {"started": "2999-01-01T00:00:00+00:00"}, {"provenance.finished"}),
        ("workload", {"num_requests": 1000}, {"workload.num_requests", "provenance.command"}),
    ],
)
def test_a_changed_field_is_named(forged, result, part, changes, names):
    assert names <= _named(forged(**_part(result, part, **changes)))


def test_a_number_of_devices_or_a_number_format_that_was_not_asked_for_is_refused(forged, result):
    assert not forged(**_part(result, "hardware", count=2)).ok
    assert "model.weight_dtype" in _named(forged(**_part(result, "model", weight_dtype="bf16")))
    assert "model.compute_dtype" in _named(forged(**_part(result, "model", compute_dtype="bf16")))


def test_a_price_that_is_neither_the_users_nor_the_profiles_is_refused(forged, result):
    hardware = result.hardware.model_copy(update={"usd_per_hour": 0.0001})
    constants = tuple(
        c.model_copy(update={"value": 0.0001}) if c.name == "usd_per_hour" else c for c in result.constants
    )
    assert {"hardware.usd_per_hour", "constants.usd_per_hour"} <= _named(forged(hardware=hardware, constants=constants))


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"reason": "the weather"}, {"reason"}),
        ({"status": "failed"}, {"reason"}),
        ({"status": "interrupted", "reason": ""}, {"reason"}),
    ],
)
def test_kind_status_and_reason_go_with_each_other_and_with_what_was_observed(forged, changes, names):
    assert _named(forged(**changes)) == names


def test_a_measured_run_cannot_be_passed_off_as_a_projection(forged):
    assert "kind" in _named(forged(kind="projected"))


def test_a_run_that_did_not_complete_cannot_be_passed_off_as_complete(run_options, monkeypatch):
    from moecap_backends.transformers import TransformersEngine

    original = TransformersEngine._generate_batch

    def interrupted(self, batch, recorder, now):
        if sum(request.stage == "load" for request in recorder.requests) >= 8:
            recorder.send("p-0-20", 16, 6, now)  # the next after 12 of the warm-up and 8 of the load
            raise KeyboardInterrupt
        return original(self, batch, recorder, now)

    monkeypatch.setattr(TransformersEngine, "_generate_batch", interrupted)
    outcome = run(with_settings(run_options, ()), Reporter(quiet=True))
    assert outcome.result.status == "interrupted"
    assert verify_run(outcome.directory).ok
    complete = outcome.result.model_copy(update={"status": "complete", "reason": None}).identified()
    write_result(outcome.directory, complete)
    assert {"status", "workload.num_requests"} <= _named(verify_run(outcome.directory))


def test_a_complete_measured_run_has_steps_and_a_sample_of_each_task(honest, forged, result, tmp_path):
    workload = result.workload.model_copy(update={"task": ("arc_easy",)})
    provenance = _part(result, "provenance", command=reproduction_command(workload))
    assert "workload.task.arc_easy" in _named(forged(workload=workload, **provenance))
    directory = tmp_path / "bare"
    shutil.copytree(honest, directory)
    pq.write_table(pq.read_table(directory / "steps.parquet").slice(0, 0), directory / "steps.parquet")
    (directory / "routing.npz").unlink()
    names = [name for name in result.observations if name != "routing.npz"]
    digests = {name: file_sha256(directory / name) for name in names}
    write_result(directory, result.model_copy(update={"observations": digests}).identified())
    assert "kind" in _named(verify_run(directory))


def test_a_profile_from_a_file_cannot_be_passed_off_as_packaged_or_probed(forged, result):
    assert result.hardware.source == "file"
    for source in ("packaged", "probed"):
        hardware = result.hardware.model_copy(update={"source": source})
        assert {"hardware.source", "flags.profile_from_file"} <= _named(forged(hardware=hardware))


def test_a_packaged_profile_must_be_the_packaged_one(forged, result):
    for change in (
        {"memory_bandwidth": 1e11},
        {"prices": (Price(usd_per_hour=0.01, provider="a cloud", date="2026-01-01"),)},
    ):
        genuine = load_profile("h100")
        profile = genuine.model_copy(update=change)
        hardware = result.hardware.model_copy(update={"profile": profile, "source": "packaged"})
        workload = result.workload.model_copy(update={"hw": "h100"})
        named = _named(forged(hardware=hardware, workload=workload))
        assert {n for n in named if n.startswith("hardware.profile.")} == {f"hardware.profile.{next(iter(change))}"}


@pytest.mark.parametrize("hw", ["auto", "v100"])
@pytest.mark.parametrize(("mib", "size"), [(16160, 16), (32510, 32)])
def test_a_board_that_is_sold_in_two_sizes_is_the_packaged_one_in_both(forged, result, hw, mib, size):
    found = match_profile(f"Tesla V100-SXM2-{size}GB", mib * 2**20)
    assert (found.id, found.memory_bytes) == ("v100-sxm2", size * 10**9)
    workload = result.workload.model_copy(update={"hw": hw})

    def wrong(profile):
        hardware = result.hardware.model_copy(update={"profile": profile, "source": "packaged"})
        named = _named(forged(hardware=hardware, workload=workload))
        return {name for name in named if name.startswith("hardware.profile")}

    assert wrong(found) == set()
    assert wrong(found.model_copy(update={"memory_bytes": 64_000_000_000})) == {"hardware.profile.memory_bytes"}


@pytest.mark.parametrize("by_request", [False, True])
def test_experts_that_the_model_does_not_have_are_refused(honest, result, tmp_path, by_request):
    """Ids beyond the experts would pass for experts without weights, which cost nothing; this model has none."""
    directory = tmp_path / "forged"
    shutil.copytree(honest, directory)
    with np.load(honest / "routing.npz") as data:
        arrays = {name: data[name].copy() for name in data.files}
    arrays["experts"][0, 0, 0] = 8
    if by_request:
        steps = arrays.pop("token_step")
        arrays |= {"token_request": np.zeros(len(steps), np.int32), "token_position": np.zeros(len(steps), np.int32)}
        arrays = {name: array[:1] if array.ndim else array for name, array in arrays.items()}
    np.savez_compressed(directory / "routing.npz", **arrays)
    digests = {name: file_sha256(directory / name) for name in result.observations}
    write_result(directory, result.model_copy(update={"observations": digests}).identified())
    found = verify_run(directory)
    assert found.corrupt == ("routing.npz",)
    assert "names expert 8 of MoE layer 0, which has 8 experts" in found.problem


def test_only_tokens_without_logits_may_be_left_out_of_the_last_layer(honest, result, tmp_path):
    """Every token of a decode step has logits, so the last layer has computed it."""
    directory = tmp_path / "forged"
    shutil.copytree(honest, directory)
    with np.load(honest / "routing.npz") as data:
        arrays = {name: data[name].copy() for name in data.files}
    steps = read_observations(honest).steps
    decode = int(np.flatnonzero(steps.logits_tokens == steps.tokens())[-1])
    arrays["experts"][arrays["token_step"] == decode, -1] = 8
    np.savez_compressed(directory / "routing.npz", **arrays)
    digests = {name: file_sha256(directory / name) for name in result.observations}
    write_result(directory, result.model_copy(update={"observations": digests}).identified())
    found = verify_run(directory)
    assert found.corrupt == ("routing.npz",)
    assert "leaves out the last layer of a token whose logits were asked for" in found.problem


def test_an_adapter_that_was_not_asked_for_is_refused(forged, result):
    """It would add bytes to every step."""
    config = result.model.config | {ADAPTER: {"rank": 2, "targets": ["q_proj"]}}
    assert f"model.config.{ADAPTER}" in _named(forged(**_part(result, "model", config=config)))


@pytest.mark.parametrize(("quantised", "device"), [(True, "cuda"), (True, "cpu"), (False, "cuda")])
def test_quantised_weights_on_a_gpu_are_flagged_as_untried(honest, result, quantised, device):
    seen = seen_steps(read_observations(honest), result_facts(result).spec)
    model = result.model.model_copy(update={"quantised": quantised})
    backend = result.backend.model_copy(update={"device": device})
    names = {f.name for f in run_flags(result.workload, model, result.hardware, backend, result.metrics, seen, ())}
    assert ("formats_untried" in names) == (quantised and device == "cuda")


def test_a_probed_profile_has_peaks_from_a_probe_alone(forged, result):
    profile = result.hardware.profile.model_copy(update={"memory_bandwidth": 1e9})
    hardware = result.hardware.model_copy(update={"profile": profile, "source": "probed"})
    workload = result.workload.model_copy(update={"hw": "auto"})
    named = _named(forged(hardware=hardware, workload=workload))
    assert "hardware.profile.probe" in named
    assert "hardware.source" not in named


def test_the_command_names_a_profile_file_and_not_the_profile(result, host_yaml):
    assert result.workload.hw == host_yaml.name
    assert f"--hw {host_yaml.name}" in result.provenance.command
    assert result.hardware.id not in result.provenance.command


@pytest.mark.parametrize(
    ("source", "flag"), [("probed", "probed_peak"), ("file", "profile_from_file"), ("packaged", "")]
)
def test_a_flag_says_where_peaks_come_from_that_are_not_packaged(honest, result, source, flag):
    hardware = result.hardware.model_copy(update={"source": source})
    seen = seen_steps(read_observations(honest), result_facts(result).spec)
    flags = run_flags(result.workload, result.model, hardware, result.backend, result.metrics, seen, ())
    assert {f.name for f in flags} & {"probed_peak", "profile_from_file"} == ({flag} if flag else set())


def test_a_profile_file_without_an_ending_is_not_named_like_a_profile():
    assert public_hardware("/srv/me/h100", "file") == "./h100"
    assert public_hardware("mine/h100.yaml", "file") == "h100.yaml"
    assert public_hardware("h100", "packaged") == "h100"


SAMPLE = {
    "task": "quiz",
    "kind": "multiple_choice",
    "id": "q1",
    "prompt": "?",
    "answers": [" no", " maybe", " yes"],
    "log_likelihoods": [-3.0, -1.5, -2.0],
    "answer": " maybe",
    "gold": 1,
    "scores": {"accuracy": 1, "norm": 1},
}


def _verified_samples(honest, directory, samples):
    shutil.copytree(honest, directory)
    (directory / "samples.jsonl").write_text("".join(json.dumps(s) + "\n" for s in samples))
    result = read_result(honest)
    digests = result.observations | {"samples.jsonl": file_sha256(directory / "samples.jsonl")}
    write_result(directory, result.model_copy(update={"observations": digests}).identified())
    return verify_run(directory)


def test_a_sample_that_holds_is_recomputed(honest, tmp_path):
    assert _verified_samples(honest, tmp_path / "run", [SAMPLE]).problem == ""


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"answer": " yes"}, "the answer is not the one of the highest log-likelihood"),
        ({"gold": 3}, "gold is not the number of an answer"),
        ({"gold": -2}, "gold is not the number of an answer"),
        ({"gold": True}, "gold is not the number of an answer"),
        ({"log_likelihoods": [-3.0, 0.5, -2.0]}, "a log-likelihood is not a number up to zero"),
        ({"log_likelihoods": [-3.0, math.nan, -2.0]}, "is not a number of JSON"),
        ({"log_likelihoods": [-3.0, -1.5, -math.inf]}, "is not a number of JSON"),
        ({"log_likelihoods": [-3.0, "-1.5", -2.0]}, "a log-likelihood is not a number up to zero"),
        ({"log_likelihoods": [-3.0, -1.5]}, "something is missing or malformed"),
        ({"scores": {"accuracy": 0, "norm": 1}}, "the scores are not those of the log-likelihoods"),
        ({"scores": {"accuracy": 1, "norm": 1, "luck": 1}}, "the scores are not those of the log-likelihoods"),
        ({"answers": []}, "gold is not the number of an answer"),
    ],
)
def test_a_sample_that_contradicts_itself_is_refused(honest, tmp_path, change, problem):
    outcome = _verified_samples(honest, tmp_path / "run", [SAMPLE | change])
    assert outcome.corrupt == ("samples.jsonl",)
    assert problem in outcome.problem


def test_an_item_that_is_counted_twice_is_refused(honest, tmp_path):
    outcome = _verified_samples(honest, tmp_path / "run", [SAMPLE, SAMPLE])
    assert outcome.corrupt == ("samples.jsonl",)
    assert "'q1' of quiz twice" in outcome.problem
