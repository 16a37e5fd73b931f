"""Whole runs of every kind of load against a stub of known schedule, over real sockets."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from moecap.cli import main
from moecap.load.calibration import running_stub
from moecap.load.connection import Target
from moecap.runner.reporter import Reporter
from moecap.runner.run import run
from moecap.settings import with_settings
from moecap.tokenizer import Tokenizer
from moecap.verification.recomputation import verify_run
from moecap_backends.openai import OpenaiEngine

pytestmark = pytest.mark.engine

FIRST, GAP = 0.02, 0.002
MOONCAKE = [
    {"timestamp": 1000 + 50 * i, "input_length": 40 + i, "output_length": 2 + i % 3, "hash_ids": [5 + i % 2]}
    for i in range(12)
]
BURSTGPT = "Timestamp,Request tokens,Response tokens\n" + "".join(f"{i / 10},{20 + i},3\n" for i in range(12))
AGENTS = [
    {
        "session": i,
        "start": i * 0.05,
        "turns": [
            {"input_tokens": 20, "output_tokens": 4},
            {"input_tokens": 6, "output_tokens": 3, "tool_seconds": 0.15},
            {"input_tokens": 5, "output_tokens": 2, "tool_seconds": 0.05},
        ],
    }
    for i in range(6)
]
SHAREGPT = [
    {
        "conversations": [
            {"from": "human", "value": f"How do fungi number {i} and algae live together in a lichen?"},
            {"from": "gpt", "value": "The algae make food and the fungi hold water."},
            {"from": "human", "value": "And where do lichens grow?"},
            {"from": "gpt", "value": "On rocks and trees."},
        ]
    }
    for i in range(8)
]


@dataclass
class Sent:
    """What a run sent, in the order of sending, and what it left."""

    prompts: list
    result: object
    directory: object

    @property
    def load(self):
        """The load's requests."""
        table = pq.read_table(self.directory / "requests.parquet").to_pandas()
        return table[table["stage"] == "load"].reset_index(drop=True)


@pytest.fixture(scope="module")
def stub():
    with running_stub(FIRST, GAP) as target:
        yield f"http://{target.name}/v1"


@pytest.fixture
def sent(run_options, stub, monkeypatch, tmp_path, prompts):
    """A function that runs a configuration and keeps every prompt that was rendered."""
    rendered = []
    original = OpenaiEngine.render

    def render(self, prompt, key):
        rendered.append(prompt)
        return original(self, prompt, key)

    monkeypatch.setattr(OpenaiEngine, "render", render)
    numbers = iter(range(9))

    def start(*settings, without=(), **changes):
        rendered.clear()
        options = run_options | {"endpoint": stub, "backend": "auto", "output": str(tmp_path / f"run{next(numbers)}")}
        options |= {"texts": str(prompts)} | changes
        outcome = run(
            with_settings({k: v for k, v in options.items() if k not in without}, ("warmup.max_batches=2", *settings)),
            Reporter(quiet=True),
        )
        assert outcome.error is None, outcome.problem
        assert verify_run(outcome.directory).differences == ()
        return Sent(list(rendered), outcome.result, outcome.directory)

    return start


@pytest.fixture
def file(tmp_path):
    """A function that writes a data set and gives its path."""

    def write(name, content):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content))
        return str(path)

    return write


DATA = ("input_len", "output_len")


def test_a_mooncake_trace_is_replayed_with_its_lengths_its_times_and_its_shared_blocks(sent, file):
    trace = file("mooncake.jsonl", MOONCAKE)
    found = sent("arrival=trace", "trace_speed=2", dataset=trace, without=DATA, num_requests=12)
    load = found.load.sort_values("scheduled_ns")
    assert load["input_tokens_asked"].tolist() == [row["input_length"] for row in MOONCAKE]
    assert load["output_tokens_asked"].tolist() == [row["output_length"] for row in MOONCAKE]
    assert load["input_tokens"].tolist() == load["input_tokens_asked"].tolist()
    assert np.diff(load["scheduled_ns"]).tolist() == [25_000_000] * 11
    asked = found.prompts[-12:]
    assert len({p.tokens[:40] for p in asked}) == 2
    assert asked[0].tokens == asked[2].tokens[:40] != asked[1].tokens[:40]
    assert found.result.workload.lengths == "data"
    assert found.result.workload.dataset == "mooncake.jsonl"
    assert len(found.result.workload.dataset_sha256) == 64
    again = sent("arrival=trace", "trace_speed=2", dataset=trace, without=DATA, num_requests=12)
    assert not {p.tokens[:40] for p in again.prompts[-12:]} & {p.tokens[:40] for p in asked}, (
        "a cache could serve these"
    )


def test_the_lengths_of_a_trace_go_with_a_closed_loop_too(sent, file):
    found = sent(dataset=file("burst.csv", BURSTGPT), without=DATA, num_requests=12, concurrency=2)
    assert sorted(found.load["input_tokens_asked"]) == list(range(20, 32))
    assert set(found.load["output_tokens"]) == {3}
    assert len({p.tokens for p in found.prompts}) == len(found.prompts)


def test_a_trace_can_give_its_times_alone(sent, file):
    settings = ("arrival=trace", "trace_speed=4", "lengths=asked")
    found = sent(*settings, dataset=file("burst.csv", BURSTGPT), num_requests=12)
    assert set(found.load["input_tokens_asked"]) == {16}
    gaps = np.diff(np.sort(found.load["scheduled_ns"])) * 1e-9
    assert gaps == pytest.approx([0.025] * 11, abs=1e-8)


def test_a_ramp_arrives_faster_and_faster_as_the_integral_of_its_rate_says(sent):
    found = sent("arrival=ramp", "rate_start=5", rate=35.0, num_requests=40)
    due = np.sort(found.load["scheduled_ns"]) * 1e-9
    due -= due[0]
    slope = (35.0**2 - 5.0**2) / (2 * 40)
    assert 5 * due + slope * due**2 / 2 == pytest.approx(np.arange(40), abs=1e-5)


def test_lengths_are_drawn_evenly_within_their_spread(sent):
    found = sent("length_spread=0.5", num_requests=80, concurrency=8)
    asked, answered = found.load["input_tokens_asked"], found.load["output_tokens_asked"]
    assert (asked.min(), asked.max()) == (8, 24)
    assert (answered.min(), answered.max()) == (3, 9)
    assert asked.mean() == pytest.approx(16, abs=1.7)  # 3 standard errors of an even draw over 17 lengths
    assert found.load["output_tokens"].tolist() == answered.tolist()


def test_a_shared_prefix_is_shared_by_all_and_new_in_each_run(sent):
    found = sent("shared_prefix_len=10", num_requests=10)
    assert len({p.tokens[:10] for p in found.prompts}) == 1
    assert len({p.tokens for p in found.prompts}) == len(found.prompts)
    assert {len(p.tokens) for p in found.prompts} == {16}
    other = sent("shared_prefix_len=10", num_requests=10)
    assert other.prompts[0].tokens[:10] != found.prompts[0].tokens[:10]


def test_each_turn_holds_the_conversation_so_far_with_the_answers_that_came(sent):
    found = sent("turns=3", "turn_wait=0.1", num_requests=12, concurrency=2)
    by_turn = {(p.session, p.turn): p for p in found.prompts if p.session is not None}
    assert len(by_turn) == 12
    for session in range(4):
        first, second, third = (by_turn[session, turn] for turn in range(3))
        answer = (7,) * 6  # what the stub answers
        assert second.tokens[:22] == (*first.tokens, *answer)
        assert third.tokens[:44] == (*second.tokens, *answer)
        assert [len(p.tokens) for p in (first, second, third)] == [16, 38, 60]
        assert third.parts[1] == third.parts[3] == answer
    load = found.load.sort_values(["session", "turn"])
    assert load["input_tokens"].tolist() == [16, 38, 60] * 4
    assert load["wait_ns"].fillna(0).tolist() == [0, 100_000_000, 100_000_000] * 4
    few = next(flag for flag in found.result.flags if flag.name == "few_requests")
    assert few.text.startswith("4 sessions at concurrency 2 are fewer than 5")
    waited = load["scheduled_ns"].to_numpy()[1:] - load["ended_ns"].to_numpy()[:-1]
    assert waited[[0, 1, 3, 4, 6, 7, 9, 10]].tolist() == [100_000_000] * 8


def test_the_time_of_a_session_is_split_into_prefill_decode_tools_and_the_client(sent, file):
    found = sent(dataset=file("agents.jsonl", AGENTS), without=DATA, num_requests=18, concurrency=2)
    metrics = found.result.metrics
    prefill, decode, tool = 3 * FIRST, (3 + 2 + 1) * GAP, 0.15 + 0.05
    assert metrics["session.e2e.p50"].value == pytest.approx(prefill + decode + tool, abs=0.05)
    shares = {name: metrics[f"session.{name}_share"].value for name in ("prefill", "decode", "tool", "client")}
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["tool"] == pytest.approx(tool / (prefill + decode + tool), abs=0.15)
    assert shares["prefill"] > shares["decode"] > 0
    assert metrics["session.turns_mean"].value == 3
    assert found.load.sort_values(["session", "turn"])["input_tokens"].tolist() == [20, 30, 38] * 6
    assert metrics["output_tokens_per_second"].value is not None


def test_sessions_of_agents_arrive_at_their_times(sent, file):
    found = sent("arrival=trace", dataset=file("agents.jsonl", AGENTS), without=DATA, num_requests=18)
    firsts = found.load[found.load["turn"] == 0].sort_values("scheduled_ns")
    assert np.diff(firsts["scheduled_ns"]).tolist() == [50_000_000] * 5


def test_sharegpt_gives_words_and_lengths_and_with_turns_its_conversations(sent, file, run_options):
    path = file("share.json", json.dumps(SHAREGPT))
    single = sent("lengths=data", dataset=path, without=DATA, num_requests=8, concurrency=2)
    assert single.load["session"].isna().all()
    texts = {c["conversations"][0]["value"] for c in SHAREGPT}
    tokenizer = Tokenizer(Path(run_options["model"]))
    words = {tokenizer.encode(text) for text in texts}
    assert all(any(p.tokens[-len(w) :] == w for w in words) for p in single.prompts[-8:])
    answered = len(tokenizer.encode("The algae make food and the fungi hold water."))
    assert set(single.load["output_tokens"]) == {answered}
    whole = sent("turns=5", dataset=path, without=DATA, num_requests=16, concurrency=2)
    assert whole.load.groupby("session").size().tolist() == [2] * 8


def test_every_choice_of_a_request_counts_and_its_gaps_are_its_own(sent):
    found = sent("n=3", num_requests=20, concurrency=2, output_len=10)
    assert set(found.load["output_tokens"]) == set(found.load["output_tokens_asked"]) == {30}
    chunks = pq.read_table(found.directory / "chunks.parquet").to_pandas()
    of_load = chunks[chunks["request"].isin(found.load["request"]) & (chunks["kind"] == "content")]
    assert of_load.groupby(["request", "choice"]).size().unique().tolist() == [10]
    metrics = found.result.metrics
    assert metrics["itl.p50"].value == pytest.approx(GAP, abs=0.0015), "not the moment between two choices"
    assert metrics["tpot.p50"].value == pytest.approx(GAP, abs=0.0015)
    assert metrics["itl.p50"].n == 20 * 3 * 9


def test_what_is_drawn_and_where_it_ends_reaches_the_server(sent, monkeypatch):
    bodies = []
    original = Target.request

    def request(self, path, body=None, headers=None):
        if body:
            bodies.append(json.loads(body))
        return original(self, path, body, headers)

    monkeypatch.setattr(Target, "request", request)
    sent("temperature=0.7", "top_p=0.9", "stop=[END, '.']", "natural_end=true", "seed=5", num_requests=10)
    body = bodies[-1]
    assert {k: body[k] for k in ("temperature", "top_p", "stop", "seed")} == {
        "temperature": 0.7,
        "top_p": 0.9,
        "stop": ["END", "."],
        "seed": 5,
    }
    assert "ignore_eos" not in body
    sent(num_requests=10)
    assert (bodies[-1]["temperature"], "top_p" in bodies[-1], "n" in bodies[-1]) == (0.0, False, False)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (["--backend", "transformers", "--temperature", "0.5"], "temperature: backend 'transformers' cannot do that"),
        (["--backend", "transformers", "--turns", "2"], "turns: backend 'transformers' answers single requests only"),
        (["--backend", "transformers", "--n", "2"], "n: backend 'transformers' cannot do that"),
        (["--set", "arrival=trace"], "arrival=trace: PROMPTS has no times of arrival"),
        (["--set", "arrival=ramp"], "arrival=ramp is of an open loop; give its --rate"),
        (["--rate", "3", "--set", "arrival=ramp"], "arrival=ramp and rate_start belong together"),
        (["--rate", "3", "--set", "arrival=trace"], "leave rate out, or set trace_speed"),
        (["--set", "trace_speed=2"], "trace_speed is of arrival=trace"),
        (["--rate", "3", "--set", "burstiness=0.5"], "burstiness is of arrival=gamma; give both or none"),
        (["--set", "turn_wait=2"], "turn_wait is between the turns of a session; set turns above 1"),
        (["--set", "shared_prefix_len=16"], "leaves nothing of prompts of 16 tokens"),
        (["--set", "stop=x"], "stop ends answers early; set natural_end with it"),
        (["--set", "top_p=0.5"], "top_p has no effect on greedy answers"),
        (["--set", "turns=5"], "10 requests in sessions of 5 turns never reach"),
        (["--set", "n=2", "--set", "turns=2"], "n above 1 has no one answer that a next turn could follow"),
        (["--set", "length_spread=1"], "length_spread: Input should be less than 1"),
        (["--set", "dataset_sha256=" + "0" * 64], "asked for is 0000"),
        (["--set", "dataset_sha256=12"], "dataset_sha256: not a SHA-256"),
    ],
)
def test_what_does_not_go_together_is_one_line(run_options, capsys, settings, problem, prompts):
    options = run_options | {"concurrency": 3}
    words = ["run"]
    for name, value in options.items():
        if f"--{name}" not in settings:
            words += [f"--{name.replace('_', '-')}", *([str(value)] if not isinstance(value, list) else value)]
    assert main([*words, *settings]) == 2
    assert problem.replace("PROMPTS", str(prompts)) in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_data_set_decides_lengths_alone_or_not_at_all(run_options, capsys, file):
    words = ["run", "--endpoint", "http://127.0.0.1:1", "--model", str(run_options["model"]), "--task", "none"]
    words += ["--hw", str(run_options["hw"]), "--dataset", file("mooncake.jsonl", MOONCAKE), "--num-requests", "12"]
    assert main([*words, "--input-len", "32"]) == 2
    assert "input_len: the data set says how long requests are; leave it out" in capsys.readouterr().err
    assert main([*words[:-1], "13"]) == 2
    assert "has 12 requests, 13 are asked for; lower --num-requests" in capsys.readouterr().err


def test_a_request_that_the_model_cannot_hold_is_refused_before_anything_starts(run_options, capsys, file):
    words = ["run", "--endpoint", "http://127.0.0.1:1", "--model", str(run_options["model"]), "--task", "none"]
    words += ["--hw", str(run_options["hw"]), "--num-requests", "1", "--concurrency", "1"]
    long = [{"timestamp": 0, "input_length": 9000, "output_length": 5, "hash_ids": list(range(18))}]
    assert main([*words, "--dataset", file("long.jsonl", long)]) == 2
    assert "the longest request takes 9005 tokens with its answer, the model holds 512" in capsys.readouterr().err
    text = file("text.jsonl", [{"prompt": "lichen " * 900}])
    assert main([*words, "--dataset", text, "--set", "lengths=data"]) == 2
    assert "tokens with what is to be answered, the model holds 512" in capsys.readouterr().err


def test_the_longest_prompt_and_the_longest_answer_may_be_of_two_requests_that_both_fit(sent, file):
    rows = [{"timestamp": 0, "input_length": i, "output_length": o} for i, o in ((400, 5), (5, 400))]
    found = sent("arrival=trace", dataset=file("mooncake.jsonl", rows), without=DATA, num_requests=2)  # 512 are held
    assert sorted(found.load["input_tokens_asked"]) == [5, 400]
