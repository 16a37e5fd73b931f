"""How near vLLM's answers and routing are to transformers' on the embedded model, in bf16 on the processor.

usage: python benchmarks/vllm_against_transformers.py [--prompts 20]   (needs vLLM: make vllm)

Both engines answer the same prompts of 64 tokens with 32 greedy tokens, one at a time. Printed: how many answers are
equal; of those that are not, the gap between the two likeliest tokens, by transformers, where they part (a near tie in
bf16 is a matter of rounding); and the overlap of the experts of every token and layer up to there.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from moecap.backend import Engine, EngineJob, Prompt
from moecap.data.arc import load_arc
from moecap.models import embedded
from moecap.models.reading import read_model
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap.tokenizer import Tokenizer, exact_length_prompts
from moecap_backends.transformers import TransformersEngine
from moecap_backends.vllm import VllmEngine

OUTPUT = 32


def answers(engine: Engine, prompts: list[Prompt]) -> list[tuple[tuple[int, ...], np.ndarray]]:
    """Token ids of each answer and the experts of each token that was fed, [tokens, layers, k]."""
    found = []
    for prompt in prompts:
        recorder = Recorder(stage="load")
        answer = engine.generate([prompt], 1, recorder, lambda _done: None)[0]
        with tempfile.TemporaryDirectory() as folder:
            recorder.write(Path(folder))
            routing = read_observations(Path(folder)).routing
        assert routing is not None
        found.append((answer.tokens, np.sort(routing.experts[: len(prompt.tokens) + OUTPUT - 1], -1)))
    return found


def gap(engine: TransformersEngine, tokens: list[int]) -> float:
    """Difference of the two likeliest next tokens' log-likelihoods, nat."""
    import torch

    with torch.inference_mode():
        logp = engine._model(torch.tensor([tokens]), logits_to_keep=1).logits[0, -1].float().log_softmax(-1)
    first, second = logp.topk(2).values.tolist()
    return first - second


def main() -> None:
    """Run both and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=20)
    arguments = parser.parse_args()
    folder = embedded.ensure()
    spec = read_model(embedded.config(), embedded.NAME, weights="bf16", kv="bf16")
    texts = [q.question for q in load_arc("easy")[:200]]
    tokens = exact_length_prompts(Tokenizer(folder), texts, arguments.prompts, 64)
    prompts = [Prompt(str(i), t, OUTPUT) for i, t in enumerate(tokens)]
    job = EngineJob(folder, spec, "cpu", "bf16", 2, 0, {}, print)
    with tempfile.TemporaryDirectory() as logs, VllmEngine(replace(job, log=Path(logs) / "server.log")) as engine:
        theirs = answers(engine, prompts)
    with TransformersEngine(job) as engine:
        ours = answers(engine, prompts)
        equal, gaps, overlaps = 0, [], []
        for prompt, (a, x), (b, y) in zip(prompts, ours, theirs, strict=True):
            parted = next((i for i, (p, q) in enumerate(zip(a, b, strict=True)) if p != q), None)
            equal += parted is None
            if parted is not None:
                gaps.append(gap(engine, [*prompt.tokens, *a[:parted]]))
            same = slice(0, len(prompt.tokens) + (OUTPUT - 1 if parted is None else parted))
            shared = (x[same][..., :, None] == y[same][..., None, :]).any(-1).mean(-1)  # [tokens, layers]
            overlaps.append(shared.ravel())
    overlap = np.concatenate(overlaps)
    print(f"{equal} of {len(prompts)} answers of {OUTPUT} tokens are equal")
    if gaps:
        print(f"the others part at gaps of {min(gaps):.3f} to {max(gaps):.3f} nat, median {np.median(gaps):.3f}")
    print(f"overlap of the experts of a token and layer: mean {overlap.mean():.4f}, all in {(overlap == 1).mean():.4f}")


if __name__ == "__main__":
    main()
