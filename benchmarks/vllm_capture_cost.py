"""What it costs vLLM to record its steps and routed experts: the same loads, recorded and not, on one server.

usage: python benchmarks/vllm_capture_cost.py [--pairs 30] [--concurrency 4]      (needs vLLM: make vllm)

One vLLM server of the embedded model runs moecap's worker, which is told before each load whether to record; the order
alternates from pair to pair, so that where the server's memory lies and how busy the machine is weigh on both alike.
Printed: the median ratio of output tokens a second, recorded over not, with a 95 % bootstrap interval, and both
medians. What the switch cannot take out of the compiled model, one small copy a router, is timed by itself, each copy
as an operation of its own, and printed as a share of a step: a bound from above.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from moecap.backend import EngineJob, Prompt
from moecap.data.arc import load_arc
from moecap.models import embedded
from moecap.models.reading import read_model
from moecap.observations.recorder import Recorder
from moecap.tokenizer import Tokenizer, exact_length_prompts
from moecap_backends.openai import OpenaiEngine
from moecap_backends.served import fetch
from moecap_backends.server_process import ServerProcess, free_port
from moecap_backends.vllm_arguments import server_command, server_variables, server_words

OUTPUT = 32


def start(job: EngineJob) -> tuple[ServerProcess, OpenaiEngine]:
    """A server with the switched worker, and a client of it."""
    port = free_port()
    words = server_words(job, port)
    words[words.index("--worker-cls") + 1] = "switched_worker.SwitchedWorker"
    variables = server_variables(job)
    here = str(Path(__file__).parent)
    server = ServerProcess(
        "vLLM",
        [*server_command(), *words],
        variables=variables | {"PYTHONPATH": os.pathsep.join([here, variables["PYTHONPATH"]])},
        log=job.log,
        health=f"http://127.0.0.1:{port}/health",
        deadline=900,
    )
    server.wait_until_ready(lambda _line: None)
    return server, OpenaiEngine(replace(job, arguments={}, endpoint=f"http://127.0.0.1:{port}"))


def tell(engine: OpenaiEngine, method: str, argument: str) -> str:
    """What the worker answers to a call of one of its methods."""
    reply = fetch(engine.target, "/collective_rpc", {"method": method, "args": [argument]}, timeout=60)
    return str(json.loads(reply.body)["results"][0])


def rate(engine: OpenaiEngine, prompts: list[Prompt], concurrency: int) -> float:
    """Output tokens a second of one load."""
    begin = time.perf_counter()
    engine.generate(prompts, concurrency, Recorder(stage="warmup"), lambda _done: None)
    return len(prompts) * OUTPUT / (time.perf_counter() - begin)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--concurrency", type=int, default=4)
    arguments = parser.parse_args()
    folder = embedded.ensure()
    spec = read_model(embedded.config(), embedded.NAME, weights="bf16", kv="bf16")
    texts = [q.question for q in load_arc("easy")]
    count = 2 * arguments.concurrency
    tokens = iter(exact_length_prompts(Tokenizer(folder), texts, count * (2 * arguments.pairs + 4), 64))
    rates = np.empty((arguments.pairs, 2))
    with tempfile.TemporaryDirectory() as logs:
        job = EngineJob(folder, spec, "cpu", "bf16", 2, 0, {}, print, log=Path(logs) / "log")
        server, engine = start(replace(job, concurrency=arguments.concurrency))
        try:
            for pair in range(-2, arguments.pairs):  # the first two warm up
                for which in ("off", "on") if pair % 2 else ("on", "off"):
                    tell(engine, "switch", which)
                    prompts = [Prompt(str(i), next(tokens), OUTPUT) for i in range(count)]
                    found = rate(engine, prompts, arguments.concurrency)
                    if pair >= 0:
                        rates[pair, int(which == "on")] = found
            copies = float(tell(engine, "copies", str(arguments.concurrency)))
        finally:
            server.stop()
    ratio = rates[:, 1] / rates[:, 0]
    rng = np.random.default_rng(0)
    low, high = np.percentile(np.median(rng.choice(ratio, (2000, len(ratio))), axis=1), [2.5, 97.5])
    step = arguments.concurrency / np.median(rates[:, 0])
    print(
        f"vLLM, {embedded.NAME}, bf16, concurrency {arguments.concurrency}, {arguments.pairs} pairs of {count} requests"
    )
    print(f"not recorded {np.median(rates[:, 0]):.1f} tokens/s, recorded {np.median(rates[:, 1]):.1f} tokens/s")
    print(f"recorded over not {np.median(ratio):.4f} ({low:.4f} to {high:.4f})")
    print(f"copies of the routers {copies:.0f} us a step, {copies * 1e-6 / step:.2%} of {step * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
