"""Server-sent events: every way of ending a line, and the time of the read that completed an event."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moecap.load.event_stream import stream_events


def _reads(body, cuts):
    edges = [0, *sorted(cuts), len(body)]
    return [(1000 + i, body[a:b]) for i, (a, b) in enumerate(itertools.pairwise(edges))]


def test_an_event_has_the_time_of_the_read_that_completed_it():
    body = b"data: one\n\ndata: two\n\n"
    assert stream_events([(10, body)]) == ([(10, b"one"), (10, b"two")], True)
    reads = [(10, body[:4]), (20, body[4:10]), (30, body[10:11]), (40, body[11:])]
    assert stream_events(reads) == ([(30, b"one"), (40, b"two")], True)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_all_line_ends_comments_and_several_data_lines(end):
    lines = [b": keep-alive", b"", b"event: x", b"data: a", b"data:b", b"id: 3", b"", b"retry: 5", b""]
    assert stream_events([(1, end.join(lines) + end)]) == ([(1, b"a\nb")], True)


def test_a_stream_that_breaks_off_inside_an_event_keeps_those_before():
    assert stream_events([(1, b'data: {"a":1}\n\ndata: {"b"')]) == ([(1, b'{"a":1}')], False)


@given(
    st.lists(st.text(st.characters(codec="ascii", exclude_characters="\r\n"), min_size=1), min_size=1, max_size=8),
    st.data(),
)
def test_how_the_network_cuts_the_stream_changes_no_event(texts, data):
    body = b"".join(b"data: " + t.encode() + b"\r\n\r\n" for t in texts)
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=10))
    events, whole_stream = stream_events(_reads(body, cuts))
    assert whole_stream
    assert [e for _, e in events] == [t.encode() for t in texts]
    times = [t for t, _ in events]
    assert times == sorted(times)
    whole, position = [], 0
    for text in texts:  # the read in which the event's last byte lies, found byte by byte
        position += len(text) + 10
        seen = 0
        for time, piece in _reads(body, cuts):
            seen += len(piece)
            if seen >= position:
                whole.append(time)
                break
    assert times == whole
