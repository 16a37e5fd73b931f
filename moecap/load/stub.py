"""A server that answers on a known schedule, against which the client is calibrated and its timing is tested.

``python -m moecap.load.stub [FIRST GAP]`` listens on a free port of the loopback interface, prints the port, and ends
when its standard input is closed. It lists one model at ``/v1/models``. Any posted request is answered by a stream of
``max_tokens`` chunks: the first is due ``first`` seconds after the request was read, each further one ``gap`` seconds
later; the body may hold both, else they are those of the command line. With ``n`` choices, one chunk of each is due at
each of these times. The usage counts the tokens of the prompt, if it is a list of ids. Each chunk carries ``sent_ns``,
the monotonic clock just before it was handed to the socket; the clock is the same for all processes of a machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any, cast

import httptools

__all__ = ["StubProtocol", "main"]

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n"
    b"Connection: keep-alive\r\n\r\n"
)
CHUNK = (
    'data: {"id":"cmpl-8c99c23b4565b058","object":"text_completion","created":1795527313,"model":"stub","choices":'
    '[{"index":%d,"text":" word","logprobs":null,"finish_reason":null,"token_ids":[7]}],"sent_ns":%d}\n\n'
)
USAGE = (
    'data: {"id":"cmpl-8c99c23b4565b058","object":"text_completion","created":1795527313,"model":"stub","choices":[],'
    '"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d},"read_ns":%d}\n\ndata: [DONE]\n\n'
)


MODELS = b'{"object":"list","data":[{"id":"stub","object":"model"}]}'


class StubProtocol(asyncio.Protocol):
    """One connection.

    Args:
        first: Seconds until the first chunk where a request does not say.
        gap: Seconds between chunks where it does not.
    """

    def __init__(self, first: float, gap: float) -> None:
        self._schedule = (first, gap)
        self._url = b""
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._body = b""
        self._read_ns = 0
        self._prompt, self._choices = 1, 1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class does not derive from it

    def data_received(self, data: bytes) -> None:
        """One read of the socket."""
        self._read_ns = time.monotonic_ns()
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """The path of the request."""
        self._url = url

    def on_body(self, body: bytes) -> None:
        """A piece of the request's body."""
        self._body += body

    def on_message_complete(self) -> None:
        """The request is whole."""
        assert self._transport is not None
        if self._parser.get_method() == b"GET":
            status, body = (b"200 OK", MODELS) if self._url == b"/v1/models" else (b"404 Not Found", b"{}")
            head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            self._transport.write(head % (status, len(body)) + body)
            return
        settings: dict[str, Any] = json.loads(self._body or b"{}")
        self._body = b""
        self._transport.write(HEAD)
        loop = asyncio.get_running_loop()
        first, gap = (float(settings.get(n, d)) for n, d in zip(("first", "gap"), self._schedule, strict=True))
        prompt = settings.get("prompt")
        self._prompt = len(prompt) if isinstance(prompt, list) else 1
        self._choices = int(settings.get("n", 1))
        self._emit(loop, loop.time() + first, gap, int(settings.get("max_tokens", 16)), 0)

    def _emit(self, loop: asyncio.AbstractEventLoop, due: float, gap: float, total: int, sent: int) -> None:
        """Send every chunk that is due, then wait for the next."""
        transport = self._transport
        assert transport is not None
        while sent < total and not transport.is_closing():
            if loop.time() < due:
                loop.call_at(due, self._emit, loop, due, gap, total, sent)
                return
            for choice in range(self._choices):
                transport.write(_framed(CHUNK % (choice, time.monotonic_ns())))
            sent, due = sent + 1, due + gap
        if not transport.is_closing():
            answered = total * self._choices
            usage = USAGE % (self._prompt, answered, self._prompt + answered, self._read_ns)
            transport.write(_framed(usage) + b"0\r\n\r\n")


def _framed(text: str) -> bytes:
    data = text.encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


async def _serve(first: float, gap: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: StubProtocol(first, gap), "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await loop.run_in_executor(None, sys.stdin.read)


def main() -> None:
    """Serve until standard input is closed."""
    from moecap.load.loop import run_exact_loop

    first, gap = (float(word) for word in sys.argv[1:3] or ("0", "0"))
    try:
        run_exact_loop(_serve(first, gap))
    except BrokenPipeError:  # whoever started it has been killed meanwhile
        os._exit(1)  # nobody reads what Python would still write


if __name__ == "__main__":
    main()
