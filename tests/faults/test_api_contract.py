"""Schemathesis holds the running service against its own OpenAPI description: thousands of requests, good and bad."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from string import Template

import httpx2 as httpx
import pytest
from service_process import ServiceProcess

MANY = dict.fromkeys(("MOECAP_READS_PER_SECOND", "MOECAP_READS_AT_ONCE", "MOECAP_WRITES_PER_MINUTE"), "1000000")
SCOPES = ("submit", "work", "moderate", "admin")

KNOWN = Template("""
[phases.stateful.generation]
max-examples = 20

[[operations]]
include-path-regex = '/results/[{]identifier'
parameters = { identifier = "$result" }

[[operations]]
include-path-regex = '/submissions/[{]identifier'
parameters = { identifier = "$submission" }

[[operations]]
include-path = "/api/v1/compare"
parameters = { ids = "$result,$other" }

[[operations]]
include-path = "/api/v1/keys/{identifier}"
parameters = { identifier = "$key" }
""")
"""Things that are there, where a made-up name would only ever be told that there is no such thing."""


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with ServiceProcess(tmp_path_factory.mktemp("service"), {"MOECAP_DEMO": "1"} | MANY) as running:
        yield running


def _checked(service, folder, examples, *options, config=""):
    """Run every check of every phase, and give the number of requests that were made."""
    (folder / "schemathesis.toml").write_text(config)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(folder / "schemathesis.toml"), "run"]
    command += [f"{service.url}/openapi.json", "--checks", "all", "--exclude-checks", "positive_data_acceptance"]
    command += ["--phases", "examples,coverage,fuzzing,stateful", "--max-examples", str(examples)]
    command += ["--generation-deterministic", "--warnings", "off", "--no-color", *options]
    hooks = {"SCHEMATHESIS_HOOKS": "contract_hooks", "PYTHONPATH": str(Path(__file__).parent)}
    given = {"env": os.environ | hooks, "cwd": folder, "timeout": 600}
    ran = subprocess.run(command, **given, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    operations = sum(len(methods) for methods in httpx.get(f"{service.url}/openapi.json").json()["paths"].values())
    assert f"Tested: {operations}" in ran.stdout
    return int(re.search(r"(\d+) generated", ran.stdout)[1])


def test_whoever_has_no_key_finds_what_the_description_says(service, tmp_path):
    assert _checked(service, tmp_path, 10) > 1000


def test_a_key_of_all_scopes_finds_what_the_description_says(service, tmp_path):
    key = service.token("ada", *SCOPES)
    with service.board() as board:
        rows = list(board.results())
        spare = board.new_key("bob", ["submit"])
    known = {"result": rows[0].id, "other": rows[1].id, "submission": rows[2].submission, "key": spare.id}
    header = f"Authorization: Bearer {key}"
    assert _checked(service, tmp_path, 10, "--header", header, config=KNOWN.substitute(known)) > 1000
    with service.board(key) as board:
        assert board.own_key().owner == "ada", "the key was ended on the way: the rest was asked without one"
