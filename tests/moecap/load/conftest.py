"""Recorded streams of real servers, and a server that plays any bytes."""

import json
import ssl
import subprocess
from pathlib import Path

import pytest
from scripted_server import ScriptedServer

RECORDINGS = Path(__file__).parents[2] / "recordings" / "streams.json"


@pytest.fixture(scope="session")
def recordings():
    """Bodies that vLLM, SGLang and llama.cpp sent, by name."""
    return json.loads(RECORDINGS.read_text())


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Key and self-signed certificate of ``localhost``, and the server's side of TLS."""
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return folder / "cert.pem", context


@pytest.fixture
def server():
    """A function that starts a scripted server, ended with the test."""
    running = []

    def start(script, closes=False, tls=None):
        running.append(ScriptedServer(script, closes, tls).__enter__())
        return running[-1]

    yield start
    for one in running:
        one.__exit__()
