"""How well steps are reconstructed: against exact records of vLLM's own workers, in 12 loads.

usage: python benchmarks/reconstruction_error.py [--engine vllm|transformers]   (vllm needs: make vllm)

An engine records each step with its experts. The same load is then looked at as an endpoint shows it, chunks with their
times and routed experts by request, and its steps are reconstructed. Printed for each load: decode steps that there
were and that were found, and the relative errors of their mean distinct experts, of their mean bytes, and of S-MBU
twice. The first S-MBU is per time from one step's end to the next, which a client can see. The second is per time of
the passes alone, which it cannot: this error is the share of the time that the engine is between two passes.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from moecap.backend import Engine, EngineJob, Prompt
from moecap.data.arc import load_arc
from moecap.metrics.routing_source import seen_steps
from moecap.metrics.steps import step_work
from moecap.models import embedded
from moecap.models.config_file import read_config_file
from moecap.models.reading import read_model
from moecap.models.spec import ModelSpec
from moecap.observations.reader import Observations, Ragged, RequestRouting, Steps, read_observations
from moecap.observations.recorder import Recorder
from moecap.tokenizer import Tokenizer, exact_length_prompts

LAYERS, EXPERTS, TOP_K = 12, 32, 4
WIDE = {
    "vocab_size": 49152,
    "hidden_size": 512,
    "intermediate_size": 512,
    "moe_intermediate_size": 256,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "num_experts": EXPERTS,
    "num_experts_per_tok": TOP_K,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
}


@dataclass(frozen=True)
class Load:
    """One load: requests in flight, tokens of the prompts and answers, and whether they all have the same beginning."""

    name: str
    concurrency: int
    inputs: tuple[int, int]
    outputs: tuple[int, int]
    shared: int = 0


FIXED = [Load(f"batch {n}", n, (64, 64), (48, 48)) for n in (1, 2, 4, 8, 16)]
RAGGED = [Load(f"batch {n}, ragged lengths", n, (16, 256), (8, 96)) for n in (4, 16)]
CHUNKED = [Load(f"batch {n}, prompts in parts of 128 tokens", n, (200, 500), (24, 64)) for n in (2, 4, 16)]
CACHED = [Load(f"batch {n}, prefix cache", n, (256, 256), (32, 48), shared=192) for n in (4, 16)]
SERVERS: list[tuple[dict[str, str], bool, int | None, list[Load]]] = [
    ({}, False, None, FIXED + RAGGED),
    ({"max-num-batched-tokens": "128"}, False, 128, CHUNKED),
    ({}, True, None, CACHED),
]


def wide_model(folder: Path) -> tuple[Path, ModelSpec]:
    """A Qwen3-MoE of 32 experts a layer with random weights, and the tokenizer of the embedded model."""
    import torch
    from transformers import AutoTokenizer, Qwen3MoeConfig, Qwen3MoeForCausalLM

    torch.manual_seed(0)
    Qwen3MoeForCausalLM(Qwen3MoeConfig(**WIDE)).to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(embedded.ensure()).save_pretrained(folder)
    return folder, read_model(read_config_file(folder / "config.json"), "wide", weights="bf16", kv="bf16")


def prompts_of(load: Load, tokenizer: Tokenizer, texts: list[str], rng: np.random.Generator) -> list[Prompt]:
    """Three requests for each one in flight."""
    count = max(6, 3 * load.concurrency)
    tokens = exact_length_prompts(tokenizer, texts, count, load.inputs[1])
    first = tokens[0][: load.shared]
    lengths = rng.integers(load.inputs[0], load.inputs[1] + 1, count)
    outputs = rng.integers(load.outputs[0], load.outputs[1] + 1, count)
    return [
        Prompt(str(i), (*first, *t[load.shared :])[:n], int(o))
        for i, (t, n, o) in enumerate(zip(tokens, lengths, outputs, strict=True))
    ]


def observe(engine: Engine, prompts: list[Prompt], concurrency: int) -> Observations:
    """A warm-up of the same kind, then the load."""
    engine.generate(prompts[:concurrency], concurrency, Recorder(), lambda _done: None)
    recorder = Recorder(stage="load")
    engine.generate(prompts, concurrency, recorder, lambda _done: None)
    with tempfile.TemporaryDirectory() as folder:
        recorder.write(Path(folder))
        return read_observations(Path(folder))


def as_endpoint(exact: Observations) -> Observations:
    """What an endpoint would have shown: no steps, and experts by request."""
    steps, routing = exact.steps, exact.routing
    assert routing is not None
    order = np.argsort(routing.token_step, kind="stable")
    new = steps.seq_new.values
    within = np.arange(int(new.sum())) - np.repeat(np.cumsum(new) - new, new)
    told = RequestRouting(
        routing.experts[order],
        np.repeat(steps.seq_request.values, new).astype(np.int32),
        (np.repeat(steps.seq_start.values, new) + within).astype(np.int32),
        routing.capture,
    )
    none = Ragged(np.empty(0, np.int64), np.zeros(1, np.int64))
    empty = np.empty(0, np.int64)
    nothing = Steps(np.empty(0, np.str_), empty, empty, none, none, none, none, empty, none)
    return replace(exact, steps=nothing, routing=None, request_routing=told)


@dataclass(frozen=True)
class Decode:
    """Sums over decode steps."""

    steps: int
    distinct: float
    bytes: float
    per_pass: float
    per_arrival: float


def decode(observations: Observations, spec: ModelSpec, between: bool) -> Decode:
    """Decode steps with one before them, so that a time from end to end is known."""
    steps, work = observations.steps, step_work(spec, observations.steps)
    assert work.bytes is not None
    mask = work.decode.copy()
    mask[0] = False
    total = work.bytes.total()[mask].sum()
    ends = steps.start_ns + steps.duration_ns
    spans = np.diff(ends, prepend=ends[0])[mask].sum() if between else steps.duration_ns[mask].sum()
    layers = len(spec.moe_layers)
    return Decode(
        int(mask.sum()),
        float(steps.distinct_experts.values.reshape(-1, layers)[mask].mean()),
        float(total / mask.sum()),
        float(total / steps.duration_ns[mask].sum()),
        float(total / spans),
    )


def rows(engine_name: str, folder: Path, spec: ModelSpec, logs: Path) -> Iterator[tuple[str, list[float]]]:
    """The errors of each load."""
    texts = [f"{q.question} {' '.join(q.choices)}" for q in load_arc("easy")]
    tokenizer, rng = Tokenizer(folder), np.random.default_rng(0)
    job = EngineJob(folder, spec, "cpu", "bf16", 2, 0, {}, lambda _line: None, concurrency=16, longest=800)
    for number, (arguments, cache, most, loads) in enumerate(SERVERS):
        wanted = replace(job, arguments=arguments, prefix_cache=cache, log=logs / f"server{number}.log")
        with open_engine(engine_name, wanted) as engine:
            for load in loads:
                exact = observe(engine, prompts_of(load, tokenizer, texts, rng), load.concurrency)
                seen = seen_steps(as_endpoint(exact), spec, most)
                a, b = decode(exact, spec, between=True), decode(seen.observations, spec, between=False)
                errors = [y / x - 1 for x, y in ((a.distinct, b.distinct), (a.bytes, b.bytes))]
                errors += [b.per_pass / a.per_arrival - 1, b.per_pass / a.per_pass - 1]
                yield load.name, [a.steps, b.steps, *errors, seen.lockstep or 0, seen.left_out]


def open_engine(name: str, job: EngineJob) -> Engine:
    """The engine to compare with."""
    if name == "vllm":
        from moecap_backends.vllm import VllmEngine

        return VllmEngine(job)
    from moecap_backends.transformers import TransformersEngine

    return TransformersEngine(replace(job, arguments={}))


def main() -> None:
    """Run the loads and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("vllm",), default="vllm")
    parser.add_argument("--model", choices=("wide", "embedded"), default="wide")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        if arguments.model == "wide":
            folder, spec = wide_model(Path(work) / "wide")
        else:
            folder = embedded.ensure()
            spec = read_model(embedded.config(), embedded.NAME, weights="bf16", kv="bf16")
        print("load | decode steps | found | distinct experts | bytes | S-MBU | S-MBU of passes | lockstep | left out")
        for name, (steps, found, *errors, lockstep, left) in rows(arguments.engine, folder, spec, Path(work)):
            shown = " | ".join(f"{error:+.2%}" for error in errors)
            print(f"{name} | {steps} | {found} | {shown} | {lockstep:.4f} | {left}", flush=True)


if __name__ == "__main__":
    main()
