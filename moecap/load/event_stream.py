"""Server-sent events, decoded after the stream has ended, each with the time at which it was complete."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate

__all__ = ["stream_events"]

BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r){2}")
LINE_END = re.compile(rb"\r\n|\n|\r")


def stream_events(reads: Sequence[tuple[int, bytes]]) -> tuple[list[tuple[int, bytes]], bool]:
    """The ``data`` of each event and the time of the read that completed it.

    Comments and fields other than ``data`` are dropped; several ``data`` lines of one event are joined by a newline.

    Args:
        reads: Time in ns and body bytes of each read, in order.

    Returns:
        Time in ns and data of each, in order, where one without data is left out; and whether the stream ends with an
        event and does not break off inside one.
    """
    data = b"".join(body for _, body in reads)
    ends = list(accumulate(len(body) for _, body in reads))
    events: list[tuple[int, bytes]] = []
    start = 0
    number = 0
    for first, complete in _blank_lines(data):
        while ends[number] < complete:
            number += 1
        event = data[start:first]
        start = complete
        if event.startswith(b"data: ") and b"\n" not in event and b"\r" not in event:
            events.append((reads[number][0], event[6:]))
        elif (content := _data(event)) is not None:
            events.append((reads[number][0], content))
    return events, not data[start:].strip()


def _blank_lines(data: bytes) -> Iterator[tuple[int, int]]:
    """Where each blank line starts that ends an event, and where it is over."""
    if b"\r" in data:
        for blank in BLANK_LINE.finditer(data):
            yield blank.span()
        return
    first = data.find(b"\n\n")  # many times as fast, and what servers send
    while first >= 0:
        yield first, first + 2
        first = data.find(b"\n\n", first + 2)


def _data(event: bytes) -> bytes | None:
    lines = [line for line in LINE_END.split(event) if line.startswith(b"data")]
    values = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
    return b"\n".join(values) if values else None
