"""Server-sent events, decoded after the stream has ended, each with the time at which it was complete."""

from __future__ import annotations

import re
from collections.abc import Sequence
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
    if b"\r" not in data:
        return _plain_events(reads, data)
    ends = list(accumulate(len(body) for _, body in reads))
    events: list[tuple[int, bytes]] = []
    start = number = 0
    for blank in BLANK_LINE.finditer(data):
        while ends[number] < blank.end():
            number += 1
        if (content := _data(data[start : blank.start()])) is not None:
            events.append((reads[number][0], content))
        start = blank.end()
    return events, not data[start:].strip()


def _plain_events(reads: Sequence[tuple[int, bytes]], data: bytes) -> tuple[list[tuple[int, bytes]], bool]:
    """The same where lines end with newlines alone, as servers send them; several times as fast."""
    *found, rest = data.split(b"\n\n")
    arrivals = iter(reads)
    events: list[tuple[int, bytes]] = []
    complete = arrived = time_ns = 0
    for event in found:
        complete += len(event) + 2
        while arrived < complete:
            time_ns, body = next(arrivals)
            arrived += len(body)
        if event.startswith(b"data: ") and b"\n" not in event:
            events.append((time_ns, event[6:]))
        elif (content := _data(event)) is not None:
            events.append((time_ns, content))
    return events, not rest.strip()


def _data(event: bytes) -> bytes | None:
    lines = [line for line in LINE_END.split(event) if line.startswith(b"data")]
    values = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
    return b"\n".join(values) if values else None
