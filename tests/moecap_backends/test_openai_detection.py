"""Which server answers behind an endpoint, and what is asked of it so that it answers as is asked."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from moecap.load.connection import Target
from moecap_backends.openai import detect_server

PAGES = {
    "vllm": {"/version": {"version": "0.32.0"}, "/v1/models": {"data": [{"id": "m", "owned_by": "vllm"}]}},
    "sglang": {"/server_info": {"version": "0.5.23", "enable_return_routed_experts": True}},
    "unknown": {"/version": {"version": "1"}, "/v1/models": {"data": [{"id": "m", "owned_by": "somebody"}]}},
}
"""What the servers show of themselves at these paths."""


@pytest.fixture
def serving():
    """A function from pages to the target that serves them."""
    servers = []

    def serve(pages):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                body = json.dumps(pages.get(self.path)).encode()
                self.send_response(200 if self.path in pages else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments):
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return Target.parse(f"http://127.0.0.1:{servers[-1].server_port}")

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("kind", PAGES)
def test_a_server_is_recognised_by_its_pages(serving, kind):
    assert detect_server(serving(PAGES[kind])).kind == kind


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_the_sampling_that_the_model_comes_with_is_ruled_out(serving, kind):
    """Both put a model's generation_config.json (Qwen3: top_k 20, top_p 0.8) in where a request says nothing."""
    asked = detect_server(serving(PAGES[kind])).extras
    assert {name: asked[name] for name in ("top_p", "top_k", "min_p", "repetition_penalty")} == {
        "top_p": 1.0,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
    }
