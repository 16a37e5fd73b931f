"""The run configuration: defaults of the contract, settings by key, and refusals in one line."""

from pathlib import Path

import pytest

from moecap.config import RunConfig
from moecap.errors import BadInputError
from moecap.runner.reproduction import reproduction_command
from moecap.settings import with_settings


def test_the_defaults_are_those_of_the_contract():
    config = RunConfig()
    assert (config.num_requests, config.input_len, config.output_len, config.concurrency) == (20, 64, 32, 4)
    assert (config.model, config.hw, config.backend, config.task, config.limit) == (
        "smollm2-moe",
        "auto",
        "auto",
        ("arc_easy",),
        50,
    )


def test_a_setting_overrides_a_nested_key_and_keeps_its_siblings():
    config = with_settings({"warmup": {"output_len": 4}}, ("warmup.tolerance=0.2", "concurrency=2"))
    assert (config.warmup.output_len, config.warmup.tolerance, config.concurrency) == (4, 0.2, 2)


def test_a_limit_of_zero_means_all_and_none_means_no_task():
    config = with_settings({"limit": 0, "task": ["none"]}, ())
    assert config.limit is None
    assert config.task == ()


@pytest.mark.parametrize(
    ("values", "settings", "problem"),
    [
        ({"concurrency": -1}, (), r"concurrency: .*greater than 0 \(got -1\)"),
        ({"concurrency": "many"}, (), "concurrency: .*valid integer"),
        ({"rate": float("nan")}, (), "rate: .*finite"),
        ({"conccurrency": 1}, (), "no setting named 'conccurrency'.*did you mean 'concurrency'"),
        ({}, ("foo",), "--set foo: not KEY=VALUE"),
        ({}, ("cost.usd=1",), "no setting named 'cost.usd'"),
        ({}, ("seed=[",), "not YAML"),
        ({}, ("seed=2024-13-99",), "not YAML"),
        ({}, ("seed=1", "seed=2"), "--set seed is given twice"),
        ({}, ("num-requests=8", "num_requests=9"), "--set num_requests is given twice"),
        ({"revision": 1234567}, (), r"revision: .*valid string \(got 1234567\); quote it"),
        ({"task": ["none", "arc_easy"]}, (), "'none' cannot be combined"),
        ({"task": ["arc_easy", "arc_easy"]}, (), "named twice"),
        ({"concurrency": True}, (), "not true or false"),
        ({"num_requests": 2}, (), "2 requests never reach a concurrency of 4"),
        ({"client_processes": 5}, (), "5 cannot share a concurrency of 4; take at most 4"),
        ({"client_processes": 21, "rate": 2}, (), "21 cannot share a load of 20; take at most 20"),
        ({"client_processes": 3, "rate": 2, "turns": 10}, (), "3 cannot share a load of 2; take at most 2"),
        ({"client_processes": True}, (), "a whole number is needed, not true or false"),
        ({"price": 1, "cost": {"usd_per_hour": 2}}, (), "differ; give one"),
    ],
)
def test_bad_values_are_refused_in_one_line(values, settings, problem):
    with pytest.raises(BadInputError, match=problem) as caught:
        with_settings(values, settings)
    assert "\n" not in str(caught.value)


def test_the_price_of_the_user_wins_wherever_it_is_given():
    assert with_settings({"price": 2.0}, ()).usd_per_hour == 2.0
    assert with_settings({}, ("cost.usd_per_hour=3",)).usd_per_hour == 3.0
    assert RunConfig().usd_per_hour is None


def test_the_reproduction_command_bounds_the_answers_of_tasks_also_at_the_default_length():
    words = reproduction_command(RunConfig(dataset="tasks", task=("gsm8k",)))
    assert "--output-len 32" in words
    assert "--output-len" not in reproduction_command(RunConfig(dataset="arc_easy"))


def test_the_reproduction_command_gives_the_same_configuration():
    from moecap.cli.app import build_app

    config = with_settings(
        {
            "concurrency": 2,
            "num_requests": 8,
            "task": ["none"],
            "limit": 0,
            "engine_arg": ["score_batch_size=4"],
            "price": 0.5,
            "measured": True,
        },
        ("warmup.tolerance=0.2",),
    )
    words = reproduction_command(config).split()
    assert words[:2] == ["moecap", "run"]
    _, bound, _ = build_app().parse_args(words[1:], exit_on_error=False, print_error=False)
    values = bound.arguments["options"].model_dump(exclude_unset=True)
    assert with_settings(values, bound.arguments["set_"]) == config


def test_one_task_needs_no_list_and_nested_settings_are_merged():
    from moecap.cli.asked import _merged

    assert with_settings({}, ("task=none",)).task == ()
    assert with_settings({"task": "arc_easy"}, ()).task == ("arc_easy",)
    both = _merged({"warmup": {"tolerance": 0.5}}, {"warmup": {"max_batches": 1}})
    assert both == {"warmup": {"tolerance": 0.5, "max_batches": 1}}


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("revision=1234567", "1234567"),
        ("revision=1e5", "1e5"),
        ("revision=2024-01-01", "2024-01-01"),
        ("revision=2024-13-99", "2024-13-99"),
        ("revision=true", "true"),
        ("revision='12'", "12"),
        ("revision=null", None),
        ("engine-arg=7", ("7",)),
        ("task=[arc_easy]", ("arc_easy",)),
        ("data=2024", Path("2024")),
    ],
)
def test_a_setting_of_a_text_is_taken_as_it_is_written(setting, value):
    key = setting.partition("=")[0].replace("-", "_")
    assert getattr(with_settings({}, (setting,)), key) == value


@pytest.mark.parametrize(
    ("preset", "lengths"), [("4k/1k", (4000, 1000)), ("13k/1k", (13000, 1000)), ("1k/8k", (1000, 8000))]
)
def test_a_preset_is_exact_lengths_and_stays_so_when_a_result_is_read_again(preset, lengths):
    config = with_settings({"task": "gsm8k"}, (f"preset={preset}",))
    assert (config.input_len, config.output_len, config.lengths, config.exact) == (*lengths, "asked", True)
    assert config.dataset == "arc_easy"  # not the questions of the task, which have lengths of their own
    assert RunConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"preset": "4k/1k", "input_len": 64}, "preset 4k/1k means input_len 4000, not 64"),
        ({"preset": "4k/1k", "output_len": 64}, "preset 4k/1k means output_len 1000, not 64"),
        ({"preset": "4k/1k", "natural_end": True}, "a load of exact lengths"),
        ({"preset": "4k/1k", "length_spread": 0.5}, "a load of exact lengths"),
        ({"preset": "4k/1k", "dataset": "tasks"}, "a load of exact lengths"),
        ({"preset": "2k/1k"}, "Input should be '4k/1k', '13k/1k' or '1k/8k'"),
    ],
)
def test_a_preset_is_refused_with_other_lengths(values, problem):
    with pytest.raises(BadInputError, match=problem):
        with_settings(values, ())
