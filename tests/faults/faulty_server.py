"""A server that treats each request as a seed says: it answers wholly, in every form that a stream may have, or fails.

Runs as ``python faulty_server.py SEED FIRST GAP EVERY``, which prints its port and ends with its standard input, or in
process.
"""

import asyncio
import json
import random
import socket
import ssl
import struct
import sys
import threading
from dataclasses import dataclass, field
from itertools import pairwise

from moecap.load.connection import Target

WHOLE = (
    "plain",
    "crlf",
    "comments",
    "packed",
    "bytewise",
    "huge comment",
    "no usage",
    "usage in every event",
    "wrong usage",
)
BROKEN = (
    "reset at once",
    "reset midway",
    "closed midway",
    "closed without the end",
    "429",
    "500",
    "503",
    "malformed event",
    "error event",
    "bad framing",
    "half a character",
    "no HTTP",
)
WRONGLY_MORE = 3
"""Tokens that a wrong usage counts too many."""
SILENT = ("never answers", "headers and no body", "stalls midway", "one byte a second")


@dataclass
class Treatment:
    """What a request got.

    Attributes:
        kind: One of the names above.
        token_ids: The tokens of its answer.
        delivered: How many of them were handed to the socket.
        whole: Whether the answer was, to its end.
    """

    kind: str
    token_ids: list[int]
    delivered: int = 0
    whole: bool = False


@dataclass
class FaultyServer:
    """Answers on a thread of its own.

    Attributes:
        seed: With a prompt's first token, what becomes of the request.
        faults: Share of requests that fail.
        silent: Share of those that keep the client waiting until it gives up.
        first, gap: Seconds to the first token and between tokens.
        every: Where it is not 0, only each so-manieth request may fail, so that no batch fails as a whole.
        only: What becomes of every request, if it is to be the same.
        tls: Its side of an encrypted connection.
        asked: How many requests came.
        treated: What became of each request, by its prompt's first token.
    """

    seed: int
    faults: float = 0.4
    silent: float = 0.0
    first: float = 0.0
    gap: float = 0.0
    every: int = 0
    only: str = ""
    tls: ssl.SSLContext | None = None
    asked: int = 0
    treated: dict[int, Treatment] = field(default_factory=dict)

    def __enter__(self):
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self.serve()), daemon=True)
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *exception):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    async def serve(self, told=lambda _port: None):
        self._stop = asyncio.Event()
        self._connections = set()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, ssl=self.tls)
        port = server.sockets[0].getsockname()[1]
        self.target = Target.parse(f"https://localhost:{port}" if self.tls else f"http://127.0.0.1:{port}")
        told(port)
        getattr(self, "_ready", threading.Event()).set()
        await self._stop.wait()
        server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connection(self, reader, writer):
        self._connections.add(asyncio.current_task())
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if head.startswith(b"GET"):
                    body = b'{"object":"list","data":[{"id":"faulty","object":"model"}]}'
                    status = b"200 OK" if b" /v1/models " in head else b"404 Not Found"
                    writer.write(b"HTTP/1.1 %b\r\nContent-Type: application/json\r\n" % status)
                    writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
                    continue
                lines = head.lower().split(b"\r\n")
                size = next(int(x.split(b":")[1]) for x in lines if x.startswith(b"content-length"))
                asked = json.loads(await reader.readexactly(size))
                if not await self._answer(asked, writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def treatment(self, name, tokens):
        """What becomes of a request of so many tokens whose prompt begins with a token, and what goes on drawing."""
        rng = random.Random(f"{self.seed} {name}")
        kinds = WHOLE
        if rng.random() < self.faults and not (self.every and self.asked % self.every):
            kinds = SILENT if rng.random() < self.silent else BROKEN
        kind = rng.choice(kinds)
        return Treatment(self.only or kind, [rng.randrange(1, 1000) for _ in range(tokens)]), rng

    async def _answer(self, asked, writer):
        """Answer one request; false where the connection has ended with it."""
        name = asked["prompt"][0]
        self.asked += 1
        treatment, rng = self.treatment(name, asked["max_tokens"])
        self.treated[name] = treatment
        await asyncio.sleep(self.first)
        if treatment.kind in WHOLE:
            return await self._whole(treatment, asked, writer, rng)
        failing = getattr(self, "_" + treatment.kind.replace(" ", "_"), self._status)
        return await failing(treatment, writer, rng)

    async def _whole(self, treatment, asked, writer, rng):
        kind, end = treatment.kind, b"\r\n" if treatment.kind == "crlf" else b"\n"
        writer.write(HEAD)
        counted = kind == "usage in every event"
        events = [_event(token, end, count if counted else None) for count, token in enumerate(treatment.token_ids, 1)]
        if kind == "comments":
            events = [b": keep-alive\n\n" + event for event in events]
        if kind == "huge comment":
            events[0] = b": " + b"x" * 2**20 + b"\n\n" + events[0]
        if kind != "no usage":
            told = len(events) + WRONGLY_MORE * (kind == "wrong usage")
            usage = {"prompt_tokens": len(asked["prompt"]), "completion_tokens": told}
            events.append(b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + end + end)
        events.append(b"data: [DONE]" + end + end)
        if kind == "packed":
            events = [b"".join(events[:3]), *events[3:]]
        if kind == "bytewise":
            data = b"".join(events)
            cuts = sorted({0, len(data), *(rng.randrange(len(data)) for _ in range(40))})
            events = [data[a:b] for a, b in pairwise(cuts)]
        for event in events:
            writer.write(_framed(event))
            treatment.delivered += 1
            await writer.drain()
            await asyncio.sleep(self.gap)
        writer.write(b"0\r\n\r\n")
        treatment.whole = True
        await writer.drain()
        return True

    async def _some(self, treatment, writer, rng):
        """Some of the answer's tokens, not all of them."""
        writer.write(HEAD)
        for token in treatment.token_ids[: rng.randrange(len(treatment.token_ids))]:
            writer.write(_framed(_event(token, b"\n")))
            treatment.delivered += 1
            await writer.drain()
            await asyncio.sleep(self.gap)

    async def _reset_at_once(self, treatment, writer, rng):
        return _reset(writer)

    async def _reset_midway(self, treatment, writer, rng):
        await self._some(treatment, writer, rng)
        return _reset(writer)

    async def _closed_midway(self, treatment, writer, rng):
        await self._some(treatment, writer, rng)
        writer.close()
        return False

    async def _closed_without_the_end(self, treatment, writer, rng):
        await self._some(treatment, writer, rng)
        writer.write(b"0\r\n\r\n")  # the body is whole, the stream of events is not
        return True

    async def _status(self, treatment, writer, rng):
        status = treatment.kind
        body = json.dumps({"error": {"message": f"refused with {status}"}}).encode()
        head = f"HTTP/1.1 {status} No\r\nRetry-After: 1\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return True

    async def _malformed_event(self, treatment, writer, rng):
        await self._some(treatment, writer, rng)
        writer.write(_framed(b'data: {"choices": [{"index": 0, "text\n\n') + b"0\r\n\r\n")
        return True

    async def _error_event(self, treatment, writer, rng):
        await self._some(treatment, writer, rng)
        writer.write(_framed(b'data: {"error": {"message": "out of memory"}}\n\n') + b"0\r\n\r\n")
        return True

    async def _bad_framing(self, treatment, writer, rng):
        await self._some(treatment, writer, rng)
        writer.write(b"zz\r\nno length\r\n")
        return False

    async def _half_a_character(self, treatment, writer, rng):
        await self._some(treatment, writer, rng)
        writer.write(_framed(b'data: {"choices": [{"index": 0, "text": "\xe2\x82"}]}\n\n') + b"0\r\n\r\n")
        return True

    async def _no_HTTP(self, treatment, writer, rng):
        writer.write(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
        writer.close()
        return False

    async def _never_answers(self, treatment, writer, rng):
        await asyncio.sleep(3600)

    async def _headers_and_no_body(self, treatment, writer, rng):
        writer.write(HEAD)
        await asyncio.sleep(3600)

    async def _stalls_midway(self, treatment, writer, rng):
        await self._some(treatment, writer, rng)
        await asyncio.sleep(3600)

    async def _one_byte_a_second(self, treatment, writer, rng):
        for byte in HEAD * 100:
            writer.write(bytes([byte]))
            await asyncio.sleep(1)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def _event(token, end, count=None):
    """One token, with a text of several bytes a character."""
    choice = {"index": 0, "text": f" wörd{token}€", "token_ids": [token]}
    more = {} if count is None else {"usage": {"prompt_tokens": 8, "completion_tokens": count}}
    return b"data: " + json.dumps({"choices": [choice], **more}, ensure_ascii=False).encode() + end + end


def _framed(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


def _reset(writer):
    """End the connection with RST, not FIN."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return False


async def main(seed, first, gap, every):
    server = FaultyServer(seed, faults=min(every, 1), first=first, gap=gap, every=every)
    serving = asyncio.create_task(server.serve(lambda port: sys.stdout.write(f"{port}\n") and sys.stdout.flush()))
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server._stop.set()
    await serving


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])))
