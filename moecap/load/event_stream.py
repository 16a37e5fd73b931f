"""Server-sent events, decoded after the stream has ended, each with the time at which it was complete."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate

from moecap.errors import RunError

__all__ = ["MalformedStreamError", "stream_events"]

BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r){2,}")
LINE_END = re.compile(rb"\r\n|\n|\r")


class MalformedStreamError(RunError):
    """A stream of events that breaks off or is none."""


def stream_events(reads: Sequence[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """The ``data`` of each event and the time of the read that completed it.

    Comments and fields other than ``data`` are dropped; several ``data`` lines of one event are joined by a newline.

    Args:
        reads: Time in ns and body bytes of each read, in order.

    Returns:
        Time in ns and data, in order; an event without data is left out.

    Raises:
        MalformedStreamError: If the stream breaks off inside an event.
    """
    data = b"".join(body for _, body in reads)
    ends = list(accumulate(len(body) for _, body in reads))
    events: list[tuple[int, bytes]] = []
    start = 0
    number = 0
    for blank in BLANK_LINE.finditer(data):
        complete = _second_line_end(data, blank.start())
        while ends[number] < complete:
            number += 1
        event = data[start : blank.start()]
        start = blank.end()
        if event.startswith(b"data: ") and b"\n" not in event and b"\r" not in event:
            events.append((reads[number][0], event[6:]))
        elif (content := _data(event)) is not None:
            events.append((reads[number][0], content))
    if data[start:].strip():
        raise MalformedStreamError("the stream of events broke off inside an event")
    return events


def _second_line_end(data: bytes, first: int) -> int:
    """Where the second of two line ends that start at ``first`` is over."""
    for _ in range(2):
        first += 2 if data[first : first + 2] == b"\r\n" else 1
    return first


def _data(event: bytes) -> bytes | None:
    lines = [line for line in LINE_END.split(event) if line.startswith(b"data")]
    values = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
    return b"\n".join(values) if values else None
