"""Published traces and data sets of conversations, on rows in their published formats."""

import csv
import hashlib
import json

import pytest

from moecap.data.texts import read_recording
from moecap.errors import BadInputError, UnknownNameError

MOONCAKE = [  # the first and two later rows of FAST25-release/traces/conversation_trace.jsonl
    {"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": list(range(14))},
    {"timestamp": 3000, "input_length": 915, "output_length": 355, "hash_ids": [0, 462]},
    {"timestamp": 27482, "input_length": 1024, "output_length": 9, "hash_ids": [0, 1]},
]
AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,3180,8
2023-11-16 18:17:33.4590290,1555,19
"""  # rows of data/AzureLLMInferenceTrace_code.csv
BURSTGPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,230,1317,Conversation log
50,GPT-4,90,0,90,API log
52,GPT-4,0,7,7,API log
118,GPT-4,417,276,693,Conversation log
"""
SHAREGPT = [
    {
        "id": "a_0",
        "conversations": [
            {"from": "system", "value": "Be brief."},
            {"from": "human", "value": "What is a router?"},
            {"from": "gpt", "value": "It chooses experts."},
            {"from": "human", "value": "How many?"},
            {"from": "human", "value": "Say a number."},
            {"from": "gpt", "value": "Two."},
            {"from": "human", "value": "A question that nobody answered"},
        ],
    },
    {"id": "b_0", "conversations": [{"from": "gpt", "value": "Only an answer"}]},
    {
        "id": "c_0",
        "conversations": [
            {"from": "gpt", "value": "Hm."},
            {"from": "human", "value": "One?"},
            {"from": "gpt", "value": "Yes."},
        ],
    },
]
SESSION = {
    "session": "fix-a-bug",
    "start": 2.5,
    "turns": [
        {"input_tokens": 300, "output_tokens": 40},
        {"input_tokens": 90, "output_tokens": 12, "tool_seconds": 1.5},
    ],
}


@pytest.fixture
def written(tmp_path):
    """A function that writes rows or a text to a file and reads it as a load."""

    def read(name, content, most=100, seed=0):
        path = tmp_path / name
        if isinstance(content, list):
            content = "".join(json.dumps(row) + "\n" for row in content)
        path.write_text(content)
        return read_recording(str(path), None, seed, most)

    return read


def test_a_mooncake_trace_has_times_in_seconds_lengths_and_shared_blocks(written):
    found = written("trace.jsonl", MOONCAKE)
    assert found.format == "mooncake"
    assert [s.at for s in found.sessions] == [0.0, 3.0, 27.482]
    assert [(s.turns[0].input_tokens, s.turns[0].output_tokens) for s in found.sessions] == [
        (6758, 500),
        (915, 355),
        (1024, 9),
    ]
    assert found.block_tokens == 512
    assert found.sessions[1].turns[0].blocks == (0, 462)


def test_an_azure_trace_has_the_gaps_of_its_clock_to_a_microsecond(written):
    found = written("azure.csv", AZURE)
    assert found.format == "azure"
    first = found.sessions[0].at
    assert [s.at - first for s in found.sessions] == pytest.approx([0, 0.052, 29.479069], abs=2e-6)
    assert [s.turns[0].input_tokens for s in found.sessions] == [4808, 3180, 1555]


def test_an_azure_trace_with_a_time_zone_is_read_too(written):
    """The week of 2024 writes ``2024-05-10 00:00:00.009930+00:00``."""
    rows = "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.009930+00:00,2162,5\n"
    rows += "2024-05-10 00:00:00.017335+00:00,2399,6\n"
    found = written("week.csv", rows)
    assert found.sessions[1].at - found.sessions[0].at == pytest.approx(0.007405, abs=1e-6)


def test_requests_that_failed_when_burstgpt_was_recorded_are_left_out(written):
    found = written("burst.csv", BURSTGPT)
    assert found.format == "burstgpt"
    assert [s.at for s in found.sessions] == [5.0, 45.0, 118.0]
    assert [(s.turns[0].input_tokens, s.turns[0].output_tokens) for s in found.sessions] == [
        (472, 18),
        (1087, 230),
        (417, 276),
    ]


def test_the_third_burstgpt_file_has_more_columns_and_is_read_by_name(written):
    rows = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    rows += "7.5,3,0.2,GPT-4,11,13,24,API log\n"
    turn = written("three.csv", rows).sessions[0].turns[0]
    assert (turn.input_tokens, turn.output_tokens) == (11, 13)


def test_a_trace_is_read_no_further_than_is_needed_and_sorted_by_time(written):
    late_first = "Timestamp,Request tokens,Response tokens\n9,1,1\n3,2,2\n"
    assert [s.at for s in written("b.csv", late_first + "nonsense,here,too\n", most=2).sessions] == [3.0, 9.0]


@pytest.mark.parametrize("as_array", [True, False])
def test_sharegpt_conversations_become_pairs_of_question_and_answer(written, as_array):
    found = written("share.json", json.dumps(SHAREGPT) if as_array else SHAREGPT)
    assert found.format == "sharegpt"
    by_length = sorted(found.sessions, key=lambda s: len(s.turns))
    assert [[(t.text, t.answer) for t in s.turns] for s in by_length] == [
        [("One?", "Yes.")],
        [("Be brief.\n\nWhat is a router?", "It chooses experts."), ("How many?\n\nSay a number.", "Two.")],
    ]
    assert not found.has_times


def test_sessions_of_agents_have_turns_with_the_time_of_their_tools(written):
    found = written("agents.jsonl", [SESSION])
    assert found.format == "sessions"
    session = found.sessions[0]
    assert session.at == 2.5
    assert [(t.input_tokens, t.output_tokens, t.wait) for t in session.turns] == [(300, 40, 0.0), (90, 12, 1.5)]


def test_prompts_are_shuffled_by_the_seed_alone(written):
    rows = [{"prompt": f"text {i}"} for i in range(30)]
    one, same, other = (written("p.jsonl", rows, seed=s).texts for s in (1, 1, 2))
    assert one == same != other
    assert sorted(one) == sorted(other)


def test_the_digest_is_that_of_the_file(written, tmp_path):
    found = written("agents.jsonl", [SESSION])
    assert found.sha256 == hashlib.sha256((tmp_path / "agents.jsonl").read_bytes()).hexdigest()


BAD = {
    "an unknown format": (
        "x.jsonl",
        [{"question": "?"}],
        "line 1: fields question are of no format that is known; known are prompts",
    ),
    "unknown columns": ("x.csv", "time,tokens\n1,2\n", "fields time, tokens are of no format"),
    "no data": ("x.csv", "Timestamp,Request tokens,Response tokens\n", "no request is in it"),
    "an empty file": ("x.jsonl", "", "line 1: not JSON, and no header of a trace"),
    "a count that is none": (
        "x.csv",
        AZURE + "2023-11-16 18:17:34.0,many,3\n",
        "line 5: TIMESTAMP, ContextTokens, GeneratedTokens are not a time and two numbers",
    ),
    "a broken number": ("x.csv", BURSTGPT + "119,GPT-4,1.5,2,3.5,API log\n", "line 7: Timestamp, Request tokens"),
    "blocks that do not fit": (
        "x.jsonl",
        [MOONCAKE[0] | {"hash_ids": [1]}],
        "line 1: 1 hash_ids for 6758 tokens, which are 14 blocks of 512",
    ),
    "a field that is missing": (
        "x.jsonl",
        [MOONCAKE[0], {"timestamp": 1}],
        "line 2: not a request of a Mooncake trace",
    ),
    "no answer": ("x.jsonl", [MOONCAKE[1] | {"output_length": 0}], "line 1: 915 tokens in and 0 out"),
    "a session without turns": ("x.jsonl", [SESSION | {"turns": []}], "line 1: the session has no turn"),
    "a tool before the first turn": (
        "x.jsonl",
        [SESSION | {"turns": SESSION["turns"][1:]}],
        "the first turn has no answer before it",
    ),
    "a misspelt field": (
        "x.jsonl",
        [SESSION | {"turns": [{"input_tokens": 1, "output_tokens": 1, "tool_second": 1}]}],
        "tool_second",
    ),
    "a conversation that is none": (
        "x.json",
        '[{"conversations": [{"from": "human"}]}]',
        "entry 1: not a conversation of ShareGPT",
    ),
    "a wait that never ends": (
        "x.jsonl",
        [SESSION | {"turns": [SESSION["turns"][0], SESSION["turns"][1] | {"tool_seconds": 1e300}]}],
        "line 1: tool_seconds of turn 2 is no time from 0 to 86400 s",
    ),
    "a count without end": ("x.csv", BURSTGPT + "119,GPT-4,inf,2,3,API log\n", "line 7: Timestamp, Request tokens"),
    "a field that no CSV has": ("x.csv", BURSTGPT + "9" * 140_000 + ",GPT-4,1,2,3,API log\n", "cannot be read (field"),
    "a JSON without bottom": (
        "x.jsonl",
        json.dumps(MOONCAKE[0]) + '\n{"timestamp": 1, "more": ' + "[" * 5000 + "]" * 5000 + "}\n",
        "cannot be read (maximum recursion",
    ),
    "broken JSON": ("x.json", "[{]", "not a JSON array of conversations"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_named_in_one_line(written, case):
    name, content, problem = BAD[case]
    with pytest.raises(BadInputError) as caught:
        written(name, content)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_no_file_is_refused_with_the_known_ones():
    with pytest.raises(UnknownNameError, match="no data set of prompts named 'arc_esy'; known: arc_easy"):
        read_recording("arc_esy", None, 0, 1)


def test_the_quoted_csv_that_python_writes_is_read(written, tmp_path):
    path = tmp_path / "quoted.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(["Timestamp", "Request tokens", "Response tokens"])
        writer.writerow([1, 2, 3])
    assert read_recording(str(path), None, 0, 5).format == "burstgpt"
