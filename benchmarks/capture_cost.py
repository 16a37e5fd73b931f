"""What it costs to capture the routed experts: decode steps with the hooks on and off, interleaved step by step.

usage: python benchmarks/capture_cost.py [--batch 1 4] [--pairs 200] [--precision fp32]

Each pair is two decode steps in a row of the same batch, one with capture (the pass, and taking the selection after
it) and one without, in an order that alternates from pair to pair. Printed: the median ratio of the pairs with a 95 %
bootstrap interval, and the median step times.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from moecap.backend import EngineJob
from moecap.data.arc import load_arc
from moecap.hardware.host import read_host
from moecap.models import embedded
from moecap.models.reading import read_model
from moecap.tokenizer import Tokenizer, exact_length_prompts
from moecap_backends.transformers import TransformersBackend, TransformersEngine

CONTEXT = 64
STEPS_A_BATCH = 64


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--precision", default="auto")
    arguments = parser.parse_args()
    host = read_host()
    folder = embedded.ensure()
    spec = read_model(embedded.config(), embedded.NAME)
    dtype = TransformersBackend.dtype(spec, "cpu", arguments.precision, frozenset(host.flags))
    spec = read_model(embedded.config(), embedded.NAME, weights=dtype, kv=dtype)
    job = EngineJob(folder, spec, "cpu", dtype, host.cores, 0, {}, lambda _line: None)
    print(f"{embedded.NAME}, {dtype}, {host.cpu_model}, {host.cores} cores, torch {torch.__version__}")
    with TransformersEngine(job) as engine:
        for batch in arguments.batch:
            report(batch, paired_steps(engine, folder, batch, arguments.pairs))


def paired_steps(engine: TransformersEngine, folder, batch: int, pairs: int) -> np.ndarray:
    """Seconds of decode steps without and with capture, [pairs, 2]."""
    texts = [q.question for q in load_arc("easy")]
    times = []
    prompts = iter(exact_length_prompts(Tokenizer(folder), texts, batch * (2 * pairs // STEPS_A_BATCH + 2), CONTEXT))
    keep = np.ones(batch, bool)
    while len(times) < pairs:
        ids = torch.tensor([next(prompts) for _ in range(batch)])
        output, _, _ = engine._pass(input_ids=ids, use_cache=True, logits_to_keep=1)
        engine.capture.take(np.ones(ids.numel(), bool))
        pair = [0.0, 0.0]
        for step in range(STEPS_A_BATCH + 4):
            captured = (step + step // 2) % 2 == 1
            engine.capture.attach() if captured else engine.capture.detach()
            ids = output.logits[:, -1].argmax(-1)[:, None]
            start = time.perf_counter()
            output, _, _ = engine._pass(input_ids=ids, past_key_values=output.past_key_values, use_cache=True)
            if captured:
                engine.capture.take(keep)
            pair[captured] = time.perf_counter() - start
            if step % 2 == 1 and step >= 4:
                times.append(tuple(pair))
        engine.capture.attach()
    return np.array(times[:pairs])


def report(batch: int, times: np.ndarray) -> None:
    """Print the medians and the interval of the ratio."""
    ratios = times[:, 1] / times[:, 0]
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(ratios, (4000, len(ratios))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    off, on = np.median(times, axis=0) * 1e3
    print(
        f"batch {batch}: off {off:.1f} ms, on {on:.1f} ms, median of {len(ratios)} pair ratios "
        f"{np.median(ratios) - 1:+.2%} (95 % interval {low - 1:+.2%} to {high - 1:+.2%})"
    )


if __name__ == "__main__":
    main()
