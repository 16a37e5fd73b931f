"""What it costs llama.cpp to have its passes and experts recorded: two servers, one that records, loads in turns.

usage: python benchmarks/llamacpp_routing_cost.py [--pairs 12] [--concurrency 4]      (needs xllamacpp and a C compiler)

Both servers serve the embedded model in q8_0, each on one thread, and wait without taking a processor while the other
works; the order alternates from pair to pair. Printed: the median ratio of the servers' processor seconds a load, which
other work on the machine disturbs little, and that of output tokens a second, each with a 95 % bootstrap interval.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil

from moecap.backend import Engine, EngineJob, Prompt
from moecap.data.arc import load_arc
from moecap.models import embedded
from moecap.models.reading import read_model
from moecap.observations.recorder import Recorder
from moecap.tokenizer import Tokenizer, exact_length_prompts
from moecap_backends.llamacpp import LlamacppBackend

OUTPUT = 32


def processor_seconds(server: psutil.Process) -> float:
    """What a server's processes have used."""
    return float(sum(sum(p.cpu_times()[:2]) for p in [server, *server.children(recursive=True)]))


def measure(engine: Engine, server: psutil.Process, prompts: list[Prompt], concurrency: int) -> tuple[float, float]:
    """Processor seconds of the server and output tokens a second of one load."""
    begin, used = time.perf_counter(), processor_seconds(server)
    engine.generate(prompts, concurrency, Recorder(stage="warmup"), lambda _done: None)
    return processor_seconds(server) - used, len(prompts) * OUTPUT / (time.perf_counter() - begin)


def interval(ratios: npt.NDArray[np.float64]) -> str:
    """The median of ratios with its 95 % bootstrap interval."""
    rng = np.random.default_rng(0)
    low, high = np.percentile(np.median(rng.choice(ratios, (2000, len(ratios))), axis=1), [2.5, 97.5])
    return f"{np.median(ratios):.4f} ({low:.4f} to {high:.4f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--concurrency", type=int, default=4)
    arguments = parser.parse_args()
    folder = embedded.ensure()
    spec = read_model(embedded.config(), embedded.NAME, weights="gguf-q8_0", kv="fp16")
    texts = [question.question for question in load_arc("easy")]
    count = 2 * arguments.concurrency
    tokens = iter(exact_length_prompts(Tokenizer(folder), texts, count * 2 * (arguments.pairs + 1), 64))
    found = np.empty((arguments.pairs, 2, 2))
    with tempfile.TemporaryDirectory() as logs:
        job = EngineJob(folder, spec, "cpu", "gguf-q8_0", 1, 0, {}, print, concurrency=arguments.concurrency)
        here = psutil.Process()
        engines: list[tuple[Engine, psutil.Process]] = []
        try:
            for number, given in enumerate(({}, {"routing": "true"})):
                before = {child.pid for child in here.children()}
                engine = LlamacppBackend().open(replace(job, arguments=given, log=Path(logs) / f"{number}.log"))
                (server,) = [child for child in here.children() if child.pid not in before]
                engines.append((engine, server))
            for pair in range(-1, arguments.pairs):  # the first one warms up
                for which in (0, 1) if pair % 2 else (1, 0):
                    prompts = [Prompt(str(i), next(tokens), OUTPUT) for i in range(count)]
                    measured = measure(*engines[which], prompts, arguments.concurrency)
                    if pair >= 0:
                        found[pair, which] = measured
        finally:
            for engine, _ in engines:
                engine.close()
    ratio = found[:, 1] / found[:, 0]
    seconds, rates = np.median(found[..., 0], axis=0), np.median(found[..., 1], axis=0)
    print(f"llama.cpp, {embedded.NAME}, q8_0, one thread, concurrency {arguments.concurrency}, {arguments.pairs} pairs")
    print(f"processor seconds of a load: {seconds[0]:.2f} alone, {seconds[1]:.2f} recorded; {interval(ratio[:, 0])}")
    print(f"output tokens a second: {rates[0]:.1f} alone, {rates[1]:.1f} recorded; {interval(ratio[:, 1])}")


if __name__ == "__main__":
    main()
