"""A server that anyone could have written: ``/count`` streams the numbers that follow a prompt's last token.

``python -m moecap_example.counting_server PORT``; ``/ready`` answers 200. A request is JSON with ``ids`` and
``tokens``, its answer a stream of events with one ``id`` each.
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else several tokens wait for one packet

    def do_GET(self):
        """Whether it is ready."""
        self._head("text/plain", "Content-Length", "0")

    def do_POST(self):
        """Count."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._head("text/event-stream", "Transfer-Encoding", "chunked")
        for number in range(1, asked["tokens"] + 1):
            time.sleep(0.002)
            self._chunk(b"data: %s\n\n" % json.dumps({"id": asked["ids"][-1] + number}).encode())
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def log_message(self, *_arguments):
        """Print nothing."""

    def _head(self, kind, name, value):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header(name, value)
        self.end_headers()

    def _chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
