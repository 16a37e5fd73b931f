"""The client: what it sends, what it repeats, and what it says of a refusal."""

import itertools
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from moecap.client import Leaderboard
from moecap.client.transport import TRIES, Transport
from moecap.errors import BadInputError, LeaderboardError

NOW = "2026-01-02T03:04:05Z"
SUBMISSION = {"id": "s1", "result": "r1", "kind": "measured", "state": "published", "owner": "ada", "created": NOW}
REQUEST = {"id": "q1", "state": "claimed", "config": {}, "owner": "ada", "created": NOW, "lease": "secret"}
ROW = {"kind": "measured", "state": "published", "model": {}, "hardware": {}}
BUSY = (503, {"Retry-After": "0"}, {"title": "busy", "status": 503, "detail": "busy; try again"})


@pytest.fixture
def waits(monkeypatch):
    """Seconds that the client waited, without the waiting."""
    seconds = []
    monkeypatch.setattr("moecap.client.transport.time.sleep", seconds.append)
    return seconds


def test_a_result_goes_as_two_files_and_the_row_that_it_repeats(board, tmp_path):
    (tmp_path / "result.json").write_bytes(b'{"a": 1}')
    (tmp_path / "observations.tar.gz").write_bytes(b"\x1f\x8b archive")
    board.script = [(201, {}, SUBMISSION | {"tier": "recomputed", "a_later_member": 1})]
    with Leaderboard(board.url, "token") as client:
        answer = client.submit(tmp_path / "result.json", tmp_path / "observations.tar.gz", "r0")
    (call,) = board.calls
    assert (call.method, call.path, call.headers["Authorization"]) == ("POST", "/api/v1/submissions", "Bearer token")
    assert call.headers["Content-Type"].startswith("multipart/form-data; boundary=")
    parts = call.content.split(call.headers["Content-Type"].partition("boundary=")[2].encode())
    named = {part.partition(b'name="')[2].partition(b'"')[0]: part.partition(b"\r\n\r\n")[2] for part in parts[1:-1]}
    assert {name: content.removesuffix(b"\r\n--") for name, content in named.items()} == {
        b"result": b'{"a": 1}',
        b"observations": b"\x1f\x8b archive",
        b"reproduces": b"r0",
    }
    assert (answer.id, answer.tier, answer.created) == ("s1", "recomputed", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


def test_a_busy_board_is_asked_again_after_as_long_as_it_says_and_gets_the_whole_file_again(board, tmp_path, waits):
    (tmp_path / "result.json").write_bytes(b"x" * 300_000)
    board.script = [
        (429, {"Retry-After": "7"}, {"title": "slow down"}),
        (503, {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)}, {}),
        (201, {}, SUBMISSION),
    ]
    with Leaderboard(board.url, "token") as client:
        client.submit(tmp_path / "result.json")
    assert waits[0] == 7
    assert 20 < waits[1] <= 30
    assert [call.content.count(b"x" * 300_000) for call in board.calls] == [1, 1, 1]


def test_a_connection_that_breaks_is_made_anew(board, waits):
    board.script = [None, (200, {}, {"items": [], "next": None})]
    with Leaderboard(board.url) as client:
        assert list(client.results()) == []
    assert len(board.calls) == 2
    assert all(0.25 <= seconds <= 0.5 for seconds in waits)


def test_an_end_comes_after_a_few_tries(board, waits):
    board.script = [BUSY] * TRIES
    with Leaderboard(board.url) as client, pytest.raises(LeaderboardError, match="busy; try again") as error:
        client.schema()
    assert (len(board.calls), len(waits), error.value.exit_status) == (TRIES, TRIES - 1, 1)


def test_who_asks_for_an_hour_is_not_waited_for(board, waits):
    board.script = [(429, {"Retry-After": "3600"}, {"title": "slow down", "detail": "60 calls a minute; wait"})]
    with Leaderboard(board.url) as client, pytest.raises(LeaderboardError, match="60 calls a minute; wait"):
        client.schema()
    assert not waits


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.claim("q1", "me", 900),
        lambda client: client.complete("q1", "secret", "s1"),
        lambda client: client.fail("q1", "secret", "why"),
        lambda client: client.ask({"model": "mixtral"}),
        lambda client: client.withdraw("s1", "why"),
        lambda client: client.new_key("ada", ["submit"]),
        lambda client: client.moderate("s1", "invalidated", "why"),
    ],
)
def test_a_call_that_would_count_twice_is_made_once(board, waits, call):
    for failure in (BUSY, None):
        board.calls.clear()
        board.script = [failure]
        with Leaderboard(board.url, "token") as client, pytest.raises(LeaderboardError):
            call(client)
        assert len(board.calls) == 1
    assert not waits


def test_each_failed_rule_and_each_number_that_differs_has_its_line(board, tmp_path):
    differences = [{"metric": "ttft.p50", "stored": 0.1, "recomputed": 0.2}]
    rules = [
        {"id": "recomputation", "detail": "1 statement does not follow", "differences": differences},
        {"id": "bandwidth", "text": "Bytes fit the datasheet.", "detail": ""},
    ]
    problem = {"type": "/problems/rules-failed", "title": "Refused", "status": 422, "detail": "2 rules failed"}
    (tmp_path / "result.json").write_bytes(b"{}")
    board.script = [(422, {"Content-Type": "application/problem+json"}, problem | {"rules": rules, "submission": "s1"})]
    with Leaderboard(board.url, "token") as client, pytest.raises(LeaderboardError) as refused:
        client.submit(tmp_path / "result.json")
    assert str(refused.value).splitlines() == [
        f"{board.url}: Refused",
        "  recomputation: 1 statement does not follow",
        "    ttft.p50: stored 0.1, recomputed 0.2",
        "  bandwidth: Bytes fit the datasheet.",
    ]
    assert (refused.value.kind, refused.value.exit_status) == ("rules-failed", 1)
    assert refused.value.problem["submission"] == "s1"


@pytest.mark.parametrize(
    ("status", "exit_status"), [(400, 2), (401, 2), (403, 2), (404, 2), (409, 1), (413, 2), (500, 1)]
)
def test_a_wrong_call_and_a_refusal_have_their_own_exit_status(board, status, exit_status):
    board.script = [(status, {}, {"title": "no", "detail": "no; do otherwise", "type": "/problems/x"})]
    with Leaderboard(board.url) as client, pytest.raises(LeaderboardError, match="no; do otherwise") as error:
        client.result("r1")
    assert (error.value.exit_status, error.value.status) == (exit_status, status)


def test_pages_are_fetched_as_they_are_read_with_the_same_filters(board):
    pages = [{"items": [ROW | {"id": f"r{page}{row}"} for row in range(2)], "next": f"c{page}"} for page in range(3)]
    pages[-1]["next"] = None
    board.script = [(200, {}, page) for page in pages]
    with Leaderboard(board.url) as client:
        rows = client.results(model="mixtral", ranked=True, tier=None)
        assert [row.id for row in itertools.islice(rows, 2)] == ["r00", "r01"]
        assert len(board.calls) == 1
        assert [row.id for row in rows] == ["r10", "r11", "r20", "r21"]
    assert [call.path.partition("?")[2] for call in board.calls] == [
        "limit=200&model=mixtral&ranked=true",
        "limit=200&model=mixtral&ranked=true&cursor=c0",
        "limit=200&model=mixtral&ranked=true&cursor=c1",
    ]


def test_a_board_whose_pages_lead_in_a_circle_ends(board):
    board.script = [(200, {}, {"items": [ROW | {"id": "r"}], "next": "c"})] * 3
    with Leaderboard(board.url) as client:
        assert len(list(client.results())) == 2


@pytest.mark.parametrize(
    "answer",
    [
        (200, {}, b"<html>hello</html>"),
        (502, {}, b"<html>hello</html>"),
        (200, {}, {"items": [{"id": 1}], "next": None}),
        (200, {}, [1]),
        (404, {}, {"message": "no such page"}),
    ],
)
def test_what_is_no_leaderboard_is_told_in_one_line(board, answer, waits):
    board.script = [answer] * TRIES
    with Leaderboard(board.url) as client, pytest.raises(LeaderboardError) as error:
        list(client.results())
    assert board.url in str(error.value)
    assert "\n" not in str(error.value)


def test_a_key_follows_no_redirection(board):
    board.script = [(302, {"Location": "http://elsewhere.example/x"}, b"")]
    with Leaderboard(board.url, "token") as client, pytest.raises(LeaderboardError, match=r"on to elsewhere\.example"):
        client.own_key()
    assert len(board.calls) == 1


def test_a_file_is_no_larger_than_it_may_be_and_begins_anew_when_the_connection_breaks(board, tmp_path, waits):
    board.script = [(200, {"Content-Type": "application/gzip"}, b"x" * 5000)] * 2
    with Leaderboard(board.url) as client:
        client.download_result("r1", tmp_path / "result.json")
        assert (tmp_path / "result.json").read_bytes() == b"x" * 5000
        with (tmp_path / "small").open("wb") as file, pytest.raises(LeaderboardError, match="larger than 4000 bytes"):
            Transport(board.url, None).download("/x", file, 4000)


@pytest.mark.parametrize(
    ("url", "token", "said"),
    [
        ("http://board.example", "token", "is not encrypted"),
        ("ftp://board.example", None, "is no address of a leaderboard"),
        ("https://", None, "is no address of a leaderboard"),
        ("https://ada:pw@board.example", None, "is no address of a leaderboard"),
        ("https://board.example", "to ken\n", "characters that no key has"),
    ],
)
def test_an_address_or_key_that_cannot_be_used_is_refused_before_any_call(url, token, said):
    with pytest.raises(BadInputError, match=said) as error:
        Leaderboard(url, token)
    assert (token or "\0") not in str(error.value)


def test_a_lease_is_renewed_even_over_a_bad_line(board, waits):
    board.script = [None, (200, {}, REQUEST)]
    with Leaderboard(board.url, "token") as client:
        assert client.renew("q1", "secret", 900).lease == "secret"


def test_waits_without_a_word_grow_and_differ(monkeypatch):
    from moecap.client.transport import _wait

    assert [_wait({}, number) <= 0.5 * 2 ** (number - 1) for number in range(1, 5)] == [True] * 4
    assert len({_wait({}, 4) for _ in range(20)}) > 1
