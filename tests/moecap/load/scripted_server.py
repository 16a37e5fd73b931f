"""A server that plays any bytes, good or bad."""

import asyncio
import threading

from moecap.load.connection import Target


class ScriptedServer:
    """Answers by a script of (seconds to wait, bytes to send); ``tls`` encrypts, ``closes`` closes after an answer."""

    def __init__(self, script, closes=False, tls=None):
        self.script, self.closes, self.tls = script, closes, tls
        self.requests, self.connections = [], 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *exception):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    def _run(self):
        self._loop.run_until_complete(self._serve())

    async def _serve(self):
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0, ssl=self.tls)
        scheme, host = ("https", "localhost") if self.tls else ("http", "127.0.0.1")
        self.target = Target.parse(f"{scheme}://{host}:{server.sockets[0].getsockname()[1]}")
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)

    async def _answer(self, reader, writer):
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                size = next(
                    (int(x.split(b":")[1]) for x in head.split(b"\r\n") if x.lower().startswith(b"content-le")), 0
                )
                self.requests.append((head, await reader.readexactly(size)))
                for wait, data in self.script:
                    await asyncio.sleep(wait)
                    if data is None:
                        writer.transport.abort()
                        return
                    writer.write(data)
                    await writer.drain()
                if self.closes:
                    writer.close()
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            writer.close()


def answer(body, kind="application/json", status="200 OK"):
    """A whole response."""
    body = body if isinstance(body, bytes) else body.encode()
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def chunked(*pieces, kind="text/event-stream"):
    """The bytes of a chunked response: its head with the first piece, then each further piece, then the end."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    framed = [b"%x\r\n%b\r\n" % (len(p), p) for p in pieces]
    return [head + framed[0], *framed[1:], b"0\r\n\r\n"]
