"""Recorded streams of real servers, and a server that plays any bytes."""

import json
from pathlib import Path

import pytest
from scripted_server import ScriptedServer

RECORDINGS = Path(__file__).parents[2] / "recordings" / "streams.json"


@pytest.fixture(scope="session")
def recordings():
    """Bodies that vLLM, SGLang and llama.cpp sent, by name."""
    return json.loads(RECORDINGS.read_text())


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
