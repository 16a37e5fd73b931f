"""What the main process and a client process of one load tell each other: msgpack, each message after its length."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import cast

import msgspec

__all__ = ["Begin", "Ended", "Finished", "Link", "Load", "Next", "Reads", "Ready", "Sent", "Stop", "Unreachable"]

LENGTH = struct.Struct("<I")


class _Message(msgspec.Struct, tag=True, array_like=True, gc=False):
    pass


class DealtSession(msgspec.Struct, array_like=True, gc=False):
    """A session that a client process sends.

    Attributes:
        number: Its number in the whole load.
        first: The request of its first turn.
        waits: Seconds before each turn, [turns].
    """

    number: int
    first: bytes
    waits: list[float]


class Load(_Message):
    """What a client process has to do; requests come rendered, so that it knows nothing of engines.

    Attributes:
        host: The server.
        port: Its port.
        tls: Whether the connection is encrypted.
        timeout: Seconds after which a request has failed.
        sessions: Those of this process.
        concurrency: How many of them are in flight (closed loop).
        arrivals: Seconds from the start at which each is sent instead (open loop).
    """

    host: str
    port: int
    tls: bool
    timeout: float
    sessions: list[DealtSession]
    concurrency: int
    arrivals: list[float] | None


class Ready(_Message):
    """The process has its connections."""


class Begin(_Message):
    """When the load starts, monotonic ns."""

    at_ns: int


class Next(_Message):
    """The next request of a session, or none."""

    session: int
    request: bytes | None


class Stop(_Message):
    """End at once and tell what there is."""


class Sent(_Message):
    """A request has been sent."""

    session: int
    turn: int
    scheduled_ns: int
    sent_ns: int


class Reads(_Message):
    """More of an answer that goes on; its headers come with the first of them."""

    session: int
    turn: int
    status: int
    headers: dict[str, str]
    reads: list[tuple[int, bytes]]


class Ended(_Message):
    """A request has ended, with what is left of its answer."""

    session: int
    turn: int
    status: int
    headers: dict[str, str]
    reads: list[tuple[int, bytes]]
    ended_ns: int
    error: str | None


class Unreachable(_Message):
    """No connection to the server, and why."""

    reason: str


class Finished(_Message):
    """Everything was sent and has ended; processor seconds that it took."""

    cpu_seconds: float


Message = Load | Ready | Begin | Next | Stop | Sent | Reads | Ended | Unreachable | Finished

_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


class Link(asyncio.Protocol):
    """One end of the socket between the two.

    Args:
        take: Gets each message.
        lost: Hears that the other end is gone.
    """

    def __init__(self, take: Callable[[Message], None], lost: Callable[[], None]) -> None:
        self._take, self._lost = take, lost
        self._transport: asyncio.Transport | None = None
        self._unread = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Some bytes of messages."""
        self._unread += data
        start = 0
        while len(self._unread) >= start + LENGTH.size:
            end = start + LENGTH.size + LENGTH.unpack_from(self._unread, start)[0]
            if len(self._unread) < end:
                break
            message = _DECODER.decode(self._unread[start + LENGTH.size : end])
            start = end
            self._take(message)
        del self._unread[:start]

    def connection_lost(self, exc: Exception | None) -> None:
        """The other end is gone."""
        self._transport = None
        self._lost()

    def tell(self, message: Message) -> None:
        """Send a message; nobody may be there any more to hear it."""
        if self._transport is not None and not self._transport.is_closing():
            data = _ENCODER.encode(message)
            self._transport.write(LENGTH.pack(len(data)) + data)

    def close(self) -> None:
        """Close the socket once everything that was told is on its way."""
        if self._transport is not None:
            self._transport.close()
