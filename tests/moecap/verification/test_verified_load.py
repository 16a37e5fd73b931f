"""What a result says of its load is compared with every request that was sent."""

import pandas as pd
import pytest

from moecap.runner.asked import asked_arrivals, asked_lengths
from moecap.runner.reproduction import reproduction_command
from moecap.settings import with_settings
from moecap.verification.load import load_pairs


def _load(config, **changes):
    """The requests that a configuration asks for, first those of the warm-up."""
    warm = config.warmup.max_batches * config.concurrency
    lengths = asked_lengths(config, config.num_requests)
    turns = config.turns or 1
    sessions = -(-config.num_requests // turns)
    due = asked_arrivals(config, sessions)
    rows, tokens = [], 0
    for i, (asked, answered) in enumerate(lengths):
        turn = i % turns
        tokens = asked if turn == 0 else tokens + answered + asked
        at = 0 if due is None else round(float(due[i // turns]) * 1e9)
        rows.append(
            {
                "stage": "load",
                "status": "completed",
                "prompt_id": f"set-0-{warm + i}",
                "input_tokens_asked": tokens,
                "output_tokens_asked": answered * config.n,
                "choices": config.n if config.n > 1 else None,
                "scheduled_ns": 10**15 + at + turn * 10**9,
                "session": i // turns if turns > 1 else None,
                "turn": turn if turns > 1 else None,
                "wait_ns": round(config.turn_wait * 1e9) if turn else None,
            }
        )
    warmup = [rows[0] | {"stage": "warmup", "prompt_id": f"set-0-{i}"} for i in range(warm)]
    table = pd.DataFrame([*warmup, *rows])
    for column, change in changes.items():
        table[column] = change(table[column])
    return table


def _contradictions(config, requests, complete=True):
    return {name for name, (a, b) in load_pairs(config, requests, complete, same_numpy=True).items() if a != b}


STATED = {"dataset": "arc_easy"}
"""A result states the data set that was in force."""

CONFIGS = {
    "as it is": (),
    "a spread": ("length_spread=0.4", "seed=3"),
    "turns": ("turns=3", "turn_wait=0.5"),
    "turns that do not divide": ("turns=7", "concurrency=2"),
    "a ramp": ("rate=9", "arrival=ramp", "rate_start=2"),
    "bursts": ("rate=9", "arrival=gamma", "burstiness=0.3"),
    "choices": ("n=4", "temperature=1"),
}


@pytest.fixture(params=CONFIGS)
def config(request):
    return with_settings(STATED, CONFIGS[request.param])


def test_the_load_that_was_asked_for_contradicts_nothing(config):
    assert not _contradictions(config, _load(config))


def test_other_choices_than_stated_are_found():
    config = with_settings(STATED, CONFIGS["choices"])
    assert _contradictions(config, _load(config, choices=lambda column: column + 1)) == {"workload.n"}


def test_a_load_in_another_order_of_sending_is_the_same_load(config):
    assert not _contradictions(config, _load(config).sample(frac=1, random_state=1))


def test_an_interrupted_load_holds_what_was_sent(config):
    requests = _load(config)
    assert not _contradictions(config, requests.iloc[:-3], complete=False)
    assert "workload.num_requests" in _contradictions(config, requests.iloc[:-3])


@pytest.mark.parametrize("column", ["input_tokens_asked", "output_tokens_asked"])
def test_one_request_of_another_length_is_found(config, column):
    def shorten(values):
        return values.where(values.index != values.index[-1], 1)

    assert _contradictions(config, _load(config, **{column: shorten}))


def test_another_seed_than_stated_is_found():
    drawn = with_settings(STATED, ("length_spread=0.4", "seed=3"))
    assert _contradictions(drawn.model_copy(update={"seed": 4}), _load(drawn)) == {
        "workload.input_len",
        "workload.output_len",
    }


def test_arrivals_at_another_rate_than_stated_are_found():
    sent = with_settings(STATED, ("rate=9", "arrival=constant"))
    stated = sent.model_copy(update={"rate": 10.0})
    assert _contradictions(stated, _load(sent)) == {"workload.arrival"}


def test_arrivals_that_another_numpy_drew_are_not_judged():
    sent = with_settings(STATED, ("rate=9",))
    stated = sent.model_copy(update={"rate": 10.0})
    pairs = load_pairs(stated, _load(sent), True, same_numpy=False)
    assert "workload.arrival" not in pairs


def test_another_wait_between_turns_than_stated_is_found():
    sent = with_settings(STATED, ("turns=3", "turn_wait=0.5"))
    assert _contradictions(sent.model_copy(update={"turn_wait": 0.1}), _load(sent)) == {"workload.turn_wait"}


def test_a_turn_that_does_not_hold_the_conversation_before_it_is_found():
    config = with_settings(STATED, ("turns=3",))
    found = _contradictions(config, _load(config, input_tokens_asked=lambda v: v.clip(upper=64)))
    assert found == {"workload.turns.input_len"}


def test_lengths_of_a_data_set_are_not_compared_with_those_of_the_options():
    config = with_settings({"dataset_sha256": "0" * 64}, ("lengths=data",))
    assert not _contradictions(config, _load(config, input_tokens_asked=lambda v: v + 7))


@pytest.mark.parametrize("setting", ["lengths=data", "arrival=trace", "dataset=other.jsonl"])
def test_what_a_data_set_is_said_to_decide_needs_the_digest_of_its_file(setting):
    config = with_settings(STATED, (setting,))
    assert _contradictions(config, _load(config)) == {"workload.dataset_sha256"}


@pytest.mark.parametrize("arrival", ["constant", "poisson", "ramp"])
def test_arrivals_at_a_rate_are_compared_whoever_says_the_lengths(arrival):
    settings = ("lengths=data", "rate=9", f"arrival={arrival}", *["rate_start=3"] * (arrival == "ramp"))
    sent = with_settings({"dataset_sha256": "0" * 64}, settings)
    assert not _contradictions(sent, _load(sent))
    assert _contradictions(sent.model_copy(update={"rate": 10.0}), _load(sent)) == {"workload.arrival"}


def test_sessions_of_a_data_set_arrive_by_their_number():
    config = with_settings({"dataset_sha256": "0" * 64}, ("lengths=data", "turns=3", "rate=9", "arrival=constant"))
    assert not _contradictions(config, _load(config))


def test_a_turn_that_was_not_sent_after_a_failure_holds_its_new_tokens_alone():
    config = with_settings(STATED, ("turns=3",))
    requests = _load(config)
    warm = config.warmup.max_batches * config.concurrency
    requests.loc[warm : warm + 2, "status"] = "failed"
    assert "workload.turns.input_len" in _contradictions(config, requests)
    requests.loc[warm + 1 : warm + 2, "input_tokens_asked"] = config.input_len
    assert not _contradictions(config, requests)


def test_an_answer_that_is_all_reasoning_adds_no_token_to_its_conversation():
    config = with_settings(STATED, ("turns=3",))
    requests = _load(config)
    requests["input_tokens_asked"] = (requests["turn"].fillna(0).astype(int) + 1) * config.input_len
    assert not _contradictions(config, requests)


def test_the_command_that_repeats_a_load_gives_its_configuration():
    from moecap.cli.app import build_app

    settings = (
        "arrival=ramp",
        "rate=4",
        "rate_start=1.5",
        "length_spread=0.25",
        "stop=[END, '--']",
        "natural_end=true",
    )
    settings += ("temperature=0.5", "top_p=0.9", "turns=2", "turn_wait=1.5", "lengths=data", "texts=a.jsonl")
    config = with_settings({"task": ["none"], "dataset_sha256": "0" * 64}, settings)
    import shlex

    words = shlex.split(reproduction_command(config))
    _, bound, _ = build_app().parse_args(words[1:], exit_on_error=False, print_error=False)
    values = bound.arguments["options"].model_dump(exclude_unset=True)
    assert with_settings(values, bound.arguments.get("set_", ())) == config
