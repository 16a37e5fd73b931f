"""Connections whose requests must begin in time: uvicorn waits for a request's headers without end and of any size."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["BoundedProtocol"]


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 that closes a connection whose request line and headers are late or large.

    Attributes:
        head_seconds: How long they may take, from the connection or from their own first byte.
        head_bytes: How large they may be, give or take one read.
    """

    head_seconds: ClassVar[float] = 20.0
    head_bytes: ClassVar[int] = 65_536

    _awaited: asyncio.TimerHandle | None = None
    _head: int = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Take what came; a head that goes on and on is refused."""
        self._head += len(data)
        super().data_received(data)
        if self._awaited is not None and self._head > self.head_bytes and not self.transport.is_closing():
            self._have_head()
            self.send_400_response("The request's headers are too large.")

    def on_message_begin(self) -> None:
        """Wait for the headers of a request."""
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        """Wait no longer: the body has bounds of its own."""
        self._have_head()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._have_head()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._have_head()
        self._head = 0
        self._awaited = self.loop.call_later(self.head_seconds, self._too_late)

    def _have_head(self) -> None:
        if self._awaited is not None:
            self._awaited.cancel()
            self._awaited = None

    def _too_late(self) -> None:
        self._awaited = None
        self.transport.close()
