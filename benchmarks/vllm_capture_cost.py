"""What it costs vLLM to record its steps and routed experts: the same loads with the worker of moecap's and without.

usage: python benchmarks/vllm_capture_cost.py [--pairs 20] [--concurrency 4] [--first plain]   (needs vLLM: make vllm)

Two vLLM servers of the embedded model run side by side, one with the recording worker and one as it comes; loads go
to one and the other in turns, in an order that alternates from pair to pair, while the other idles. Printed: the median
ratio of output tokens a second, recording over plain, with a 95 % bootstrap interval, and both medians. Which server is
started first decides where its memory lies: take both orders.
"""

from __future__ import annotations

import argparse
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
from moecap_backends.server_process import ServerProcess, free_port
from moecap_backends.vllm_arguments import server_command, server_variables, server_words

OUTPUT = 32


def start(job: EngineJob, *, recording: bool) -> tuple[ServerProcess, OpenaiEngine]:
    """A server with or without the recording worker, and a client of it."""
    port = free_port()
    words = server_words(job, port)
    if not recording:
        at = words.index("--worker-cls")
        del words[at : at + 2]
    server = ServerProcess(
        "vLLM",
        [*server_command(), *words],
        variables=server_variables(job),
        log=job.log.with_name(f"{recording}.log"),
        health=f"http://127.0.0.1:{port}/health",
        deadline=900,
    )
    server.wait_until_ready(lambda _line: None)
    return server, OpenaiEngine(replace(job, arguments={}, endpoint=f"http://127.0.0.1:{port}"))


def rate(engine: OpenaiEngine, prompts: list[Prompt], concurrency: int) -> float:
    """Output tokens a second of one load."""
    begin = time.perf_counter()
    engine.generate(prompts, concurrency, Recorder(stage="warmup"), lambda _done: None)
    return len(prompts) * OUTPUT / (time.perf_counter() - begin)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--first", choices=("plain", "recording"), default="plain")
    arguments = parser.parse_args()
    folder = embedded.ensure()
    spec = read_model(embedded.config(), embedded.NAME, weights="bf16", kv="bf16")
    texts = [q.question for q in load_arc("easy")]
    count = 2 * arguments.concurrency
    tokens = iter(exact_length_prompts(Tokenizer(folder), texts, count * (2 * arguments.pairs + 4), 64))
    with tempfile.TemporaryDirectory() as logs:
        job = EngineJob(folder, spec, "cpu", "bf16", 2, 0, {}, print, log=Path(logs) / "log")
        job = replace(job, concurrency=arguments.concurrency)
        first = start(job, recording=arguments.first == "recording")
        second = start(job, recording=arguments.first == "plain")
        plain, recording = (first, second) if arguments.first == "plain" else (second, first)
        try:
            rates = np.empty((arguments.pairs, 2))
            for pair in range(-2, arguments.pairs):  # the first two warm both up
                for which in (0, 1) if pair % 2 else (1, 0):
                    prompts = [Prompt(str(i), next(tokens), OUTPUT) for i in range(count)]
                    found = rate((plain, recording)[which][1], prompts, arguments.concurrency)
                    if pair >= 0:
                        rates[pair, which] = found
        finally:
            plain[0].stop()
            recording[0].stop()
    ratio = rates[:, 1] / rates[:, 0]
    rng = np.random.default_rng(0)
    low, high = np.percentile(np.median(rng.choice(ratio, (2000, len(ratio))), axis=1), [2.5, 97.5])
    print(
        f"vLLM, {embedded.NAME}, bf16, concurrency {arguments.concurrency}, {arguments.pairs} pairs of {count} requests"
    )
    print(f"plain {np.median(rates[:, 0]):.1f} tokens/s, recording {np.median(rates[:, 1]):.1f} tokens/s")
    print(f"recording over plain {np.median(ratio):.4f} ({low:.4f} to {high:.4f})")


if __name__ == "__main__":
    main()
