"""Whole runs with a declared memory layout against a stub: what is stored, recomputed, shown and refused."""

import json
import shlex
import shutil

import pytest

from moecap.cli import main
from moecap.errors import BadInputError
from moecap.hardware.registry import load_profile
from moecap.load.calibration import running_stub
from moecap.models.registry import load_model
from moecap.report.page import run_page
from moecap.report.reported_run import read_run
from moecap.result import read_result, write_result
from moecap.runner.declared_layout import layout_problem
from moecap.runner.reporter import Reporter
from moecap.runner.reproduction import reproduction_command
from moecap.runner.run import run
from moecap.settings import with_settings
from moecap.verification.recomputation import verify_run

pytestmark = pytest.mark.engine

LAYOUT = {
    "hardware": "rtx-a5000",
    "experts": "dram",
    "hit_rate": 0.25,
    "tiers": {"link": {"kind": "pcie4-x16"}, "dram": {"kind": "ddr4-3200", "units": 8, "memory_bytes": 512e9}},
    "cost": {"cpu_usd": 2000, "board_usd": 800, "dram_usd": 1500, "ssd_usd": 200},
}


@pytest.fixture(scope="module")
def stub():
    with running_stub(0.02, 0.01) as target:
        yield f"http://{target.name}/v1"


@pytest.fixture
def options(run_options, stub):
    return run_options | {"endpoint": stub, "backend": "auto", "hw": "rtx-a5000"}


@pytest.fixture
def layout_file(tmp_path):
    path = tmp_path / "private-folder" / "layout.yaml"
    path.parent.mkdir()
    path.write_text(json.dumps(LAYOUT))
    return path


@pytest.fixture
def done(options, layout_file):
    outcome = run(with_settings(options | {"layout": str(layout_file)}, ()), Reporter(quiet=True))
    assert outcome.error is None
    return outcome


def test_a_run_with_a_layout_counts_each_memory_and_its_numbers_can_be_recomputed(done):
    metrics = done.result.metrics
    # a decode step of tiny-mixtral moves three quarters of its experts over the link, all of which come from dram
    link, dram = (metrics[f"decode.tier.{name}.bytes_per_step"] for name in ("link", "dram"))
    assert link.value == dram.value
    assert link.low < link.value < link.high  # the stub tells no experts
    steps = metrics["decode.time"].n
    mean = metrics["decode.time"].value / steps
    assert metrics["decode.tier.link.utilisation"].value == pytest.approx(link.value / 24.8e9 / mean)
    assert metrics["decode.least_step_time"].value == pytest.approx(
        max(link.value / 24.8e9, dram.value / 204.8e9, metrics["decode.tier.hbm.bytes_per_step"].value / 768e9)
    )
    assert metrics["decode.s_mbu"].value is None
    assert metrics["cost.purchase_usd"].value == 2400 + 2000 + 800 + 1500 + 200
    assert {"layout_declared", "binding_tier"} <= {flag.name for flag in done.result.flags}
    assert verify_run(done.directory).ok


def test_the_result_holds_the_content_of_the_layout_and_no_path(done, layout_file):
    text = (done.directory / "result.json").read_text()
    assert layout_file.parent.name not in text
    assert done.result.workload.layout.hit_rate == 0.25
    assert '--set \'layout={"hardware": "rtx-a5000", "experts": "dram"' in done.result.provenance.command


def test_the_printed_command_gives_the_same_layout_again(done):
    words = shlex.split(done.result.provenance.command)
    setting = next(word for word in words if word.startswith("layout="))
    again = with_settings({}, (setting,))
    assert again.layout == done.result.workload.layout


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"hit_rate": 0.9}, {"decode.tier.link.utilisation", "decode.least_step_time", "provenance.command"}),
        (
            {"experts": "hbm", "hit_rate": 0.0},
            {"decode.tier.link.bytes_per_step", "decode.s_mbu", "flags.binding_tier"},
        ),
        ({"hardware": "h100-sxm"}, {"workload.layout"}),
        ({"cost": {**LAYOUT["cost"], "dram_usd": 1}}, {"constants.dram_usd", "provenance.command"}),
        (None, {"decode.tier.hbm.bytes_per_step", "flags.layout_declared"}),
    ],
)
def test_a_forged_layout_is_found(done, tmp_path, change, names):
    directory = tmp_path / "forged"
    shutil.copytree(done.directory, directory)
    result = read_result(directory)
    declared = None if change is None else type(result.workload.layout).model_validate(LAYOUT | change)
    workload = result.workload.model_copy(update={"layout": declared})
    write_result(directory, result.model_copy(update={"workload": workload}).identified())
    outcome = verify_run(directory)
    assert not outcome.ok
    assert not outcome.corrupt, outcome
    assert names <= {difference.metric for difference in outcome.differences}


def test_a_layout_of_an_engine_that_keeps_all_in_one_memory_is_found(done, tmp_path):
    directory = tmp_path / "forged"
    shutil.copytree(done.directory, directory)
    result = read_result(directory)
    backend = result.backend.model_copy(update={"name": "transformers"})
    write_result(directory, result.model_copy(update={"backend": backend}).identified())
    (difference,) = [d for d in verify_run(directory).differences if d.metric == "workload.layout"]
    assert "llamacpp, openai" in difference.recomputed


def test_the_report_has_a_table_of_the_memories_where_a_layout_was_declared(done, options, tmp_path):
    page = run_page(read_run(done.directory))
    assert "What a step takes from each memory of the layout that the user declared" in page
    shown = done.result.metrics["decode.tier.link.utilisation"].value
    assert f'value="{shown!r}" data-metric="decode.tier.link.utilisation"' in page
    assert "the accelerator&#x27;s peak is not that of all bytes" in page
    without = run(with_settings(options | {"output": str(tmp_path / "plain")}, ()), Reporter(quiet=True))
    assert "each memory of the layout" not in run_page(read_run(without.directory))
    assert not any(".tier." in name for name in without.result.metrics)
    assert without.result.metrics["decode.s_mbu"].value is not None


def test_keys_of_a_layout_can_be_set_one_by_one(layout_file):
    config = with_settings({"layout": str(layout_file)}, ("layout.hit_rate=0.5", "layout.tiers.link.kind=pcie3-x16"))
    assert (config.layout.hit_rate, config.layout.tiers.link.kind) == (0.5, "pcie3-x16")
    assert config.layout.tiers.dram.units == 8
    assert with_settings({"layout": LAYOUT}, ()).layout == with_settings({"layout": str(layout_file)}, ()).layout
    assert shell_words(config)["layout"]["hit_rate"] == 0.5


def shell_words(config):
    words = shlex.split(reproduction_command(config))
    settings = (word.partition("=") for word in words if word.startswith("layout="))
    return {name: json.loads(text) for name, _, text in settings}


BAD = [
    ({"layout": {**LAYOUT, "experts": "tape"}}, "layout is no layout: experts: Input should be 'hbm', 'dram' or 'ssd'"),
    ({"layout": {**LAYOUT, "surprise": 1}}, "no key named 'surprise'"),
    ({"layout": {**LAYOUT, "prefill": {"hits": 1}}}, "no key named 'prefill.hits'; known: cpu_share"),
    ({"layout": "nowhere.yaml"}, "cannot read the layout nowhere.yaml"),
    ({"layout": 3}, "layout is no layout"),
    ({"layout": {**LAYOUT, "devices": 2}}, "a layout accounts for a model on one accelerator"),
    ({"layout": LAYOUT, "num_gpus": 2}, "a layout accounts for a model on one accelerator"),
    ({"layout": {**LAYOUT, "cost": {"basis": "own"}}}, "the basis is the run's; give cost.basis=own"),
    ({"layout": LAYOUT, "cost": {"dram_usd": 1}}, "cost.dram_usd and that of the layout are given and differ"),
    ({"layout": LAYOUT, "cost": {"capital": 9000}}, "capital is the price of all parts"),
    ({"layout": {**LAYOUT, "cost": {"usd_per_hour": 2}}, "price": 1}, "given and differ"),
]


@pytest.mark.parametrize(("values", "problem"), BAD, ids=[text[:40] for _, text in BAD])
def test_a_layout_that_contradicts_itself_or_the_run_is_refused_in_one_line(values, problem):
    with pytest.raises(BadInputError) as caught:
        with_settings(values, ())
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


UNFIT = [
    ({}, {"hw": "h100"}, "its hardware is rtx-a5000 and the run's is h100-sxm"),
    ({"hardware": None}, {"hw": "generic-vm-2vcpu"}, "is a host, whose memory is the tier hbm"),
    ({"tiers": {"dram": {"kind": "ddr4-3200"}}}, {}, "takes bytes from link and no rate is given"),
    ({"tiers": {**LAYOUT["tiers"], "dram": {"kind": "ddr4-3200", "memory_bytes": 1000}}}, {}, "into dram, which holds"),
]


@pytest.mark.parametrize(("change", "others", "problem"), UNFIT, ids=[text[:30] for *_, text in UNFIT])
def test_a_layout_that_is_not_that_of_the_machine_is_refused_before_anything_is_sent(
    options, tmp_path, capsys, change, others, problem
):
    file = tmp_path / "layout.yaml"
    file.write_text(json.dumps(LAYOUT | change))
    assert main([*words(options | others), "--layout", str(file)]) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("moecap: ")]
    assert problem in line
    assert not (tmp_path / "run").exists()


def words(options):
    found = ["run"]
    for name, value in options.items():
        for item in value if isinstance(value, list) else [value]:
            found += [f"--{name.replace('_', '-')}", str(item)]
    return found


def test_an_engine_that_keeps_the_whole_model_in_one_memory_refuses_a_layout(run_options, layout_file, capsys):
    assert main([*words(run_options), "--layout", str(layout_file)]) == 2
    assert "take a backend whose engine can offload: llamacpp, openai" in capsys.readouterr().err


def test_a_model_that_one_accelerator_does_not_hold_needs_no_more_of_them_with_a_layout():
    config = with_settings({"model": "mixtral", "layout": LAYOUT}, ())
    spec, _ = load_model("mixtral")
    assert layout_problem(config.layout, spec, load_profile("rtx-a5000"), 1024) == ""
    whole = with_settings({"model": "mixtral", "layout": {"experts": "hbm"}}, ()).layout
    assert "GB into hbm, which holds 24 GB" in layout_problem(whole, spec, load_profile("rtx-a5000"), 1024)


def test_on_a_host_only_the_drive_is_another_memory():
    spec, _ = load_model("mixtral")
    host = load_profile("generic-vm-2vcpu")
    rates = {"hbm": {"bytes_per_second": 20e9}, "ssd": {"kind": "nvme-pcie4-x4"}}
    drive = {"experts": "ssd", "hit_rate": 0.5, "cpu_share": 1, "tiers": rates}
    assert layout_problem(with_settings({"layout": drive}, ()).layout, spec, host, 1024) == ""
    crossing = with_settings({"layout": {**drive, "cpu_share": 0.5}}, ()).layout
    assert "has no link before it" in layout_problem(crossing, spec, host, 1024)
