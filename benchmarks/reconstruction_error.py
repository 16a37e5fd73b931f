"""How well steps are reconstructed: against the exact records of an engine, in 12 loads.

usage: python benchmarks/reconstruction_error.py --engine vllm|transformers|sglang [--answers 0.5] [--only TEXT]

vLLM (`make vllm`) and the continuous batching of transformers record each step with its experts. The same load is then
looked at as an endpoint shows it, chunks with their times and routed experts by request, and its steps are
reconstructed. Printed for each load: decode steps that there were and that were found, in brackets those of all kinds,
and the relative errors of the decode steps' mean distinct experts, of their mean bytes, and of S-MBU twice. The first
S-MBU is per time from one step's end to the next, which a client can see. The second is per time of the passes alone,
which it cannot: this error is the share of the time that the engine is between two passes.

SGLang (`make sglang`) is looked at as it is, and held against its own `per_pass` record of the experts. That has no
times, so no S-MBU is compared, but the bytes that are its numerator. It names no requests either: a pass decodes if it
fed no more tokens than requests are in flight, so prompts there have a multiple of 32 tokens, and no part of one is as
small; and each token that is decoded reads its own context, whichever pass feeds it, so their sum is known.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from moecap.backend import Backend, Engine, EngineJob, Prompt
from moecap.data.arc import load_arc
from moecap.errors import RunError
from moecap.metrics.routing_source import seen_steps
from moecap.metrics.steps import step_work
from moecap.models import embedded
from moecap.models.config_file import read_config_file
from moecap.models.reading import read_model
from moecap.models.spec import ModelSpec
from moecap.observations.reader import Observations, Ragged, RequestRouting, Steps, read_observations
from moecap.observations.recorder import Recorder
from moecap.observations.schema import Phase
from moecap.tokenizer import Tokenizer, exact_length_prompts
from moecap_backends.expert_recorder import RecordedPasses
from moecap_backends.sglang import SglangBackend, SglangEngine
from moecap_backends.transformers import TransformersBackend
from moecap_backends.vllm import VllmBackend

LAYERS, EXPERTS, TOP_K = 12, 32, 4
WIDE = {
    "vocab_size": 49152,
    "hidden_size": 512,
    "intermediate_size": 512,
    "moe_intermediate_size": 256,
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
PART = 128


@dataclass(frozen=True)
class Setting:
    """How an engine is run.

    Attributes:
        backend: Its backend.
        arguments: Engine arguments with which it feeds each prompt in one step.
        in_parts: Those with which a step feeds at most ``PART`` tokens.
        dtype: Number format.
        multiple: Of how many tokens the lengths of prompts are multiples.
        layers: Layers of the model.
        threads: Processor threads; SGLang is to leave the client a core.
    """

    backend: type[Backend]
    arguments: dict[str, str]
    in_parts: dict[str, str]
    dtype: str = "bf16"
    multiple: int = 1
    layers: int = LAYERS
    threads: int = 2

    def servers(self) -> list[tuple[dict[str, str], bool, int | None, list[Load]]]:
        """Engine arguments, whether there is a prefix cache, the most tokens of a step, and the loads of each."""
        return [
            (self.arguments, False, None, FIXED + RAGGED),
            ({**self.arguments, **self.in_parts}, False, PART, CHUNKED),
            (self.arguments, True, None, CACHED),
        ]


ENGINES = {
    "vllm": Setting(VllmBackend, {}, {"max-num-batched-tokens": str(PART)}),
    "transformers": Setting(
        TransformersBackend,
        {"batching": "continuous", "max_batch_tokens": "4096"},
        {"max_batch_tokens": str(PART)},
    ),
    "sglang": Setting(
        SglangBackend,
        {"expert-distribution-recorder-mode": "per_pass", "chunked-prefill-size": "4096"},
        {"chunked-prefill-size": str(PART)},
        dtype="fp32",
        multiple=32,
        layers=4,
        threads=1,
    ),
}


def wide_model(folder: Path, dtype: str, layers: int) -> ModelSpec:
    """A Qwen3-MoE of 32 experts a layer with random weights, and the tokenizer of the embedded model."""
    import torch
    from transformers import AutoTokenizer, Qwen3MoeConfig, Qwen3MoeForCausalLM

    torch.manual_seed(0)
    stored = {"bf16": torch.bfloat16, "fp32": torch.float32}[dtype]
    Qwen3MoeForCausalLM(Qwen3MoeConfig(**WIDE, num_hidden_layers=layers)).to(stored).save_pretrained(folder)
    AutoTokenizer.from_pretrained(embedded.ensure()).save_pretrained(folder)
    return read_model(read_config_file(folder / "config.json"), "wide", weights=dtype, kv=dtype)


def prompts_of(
    load: Load, tokenizer: Tokenizer, texts: list[str], rng: np.random.Generator, multiple: int, answers: float
) -> list[Prompt]:
    """Three requests for each one in flight; ``answers`` is the length of their answers as a share of the load's."""
    count = max(6, 3 * load.concurrency)
    tokens = exact_length_prompts(tokenizer, texts, count, load.inputs[1])
    first = tokens[0][: load.shared]
    marks = [(1000 + i,) if load.shared else () for i in range(count)]  # so that no whole prompt is in the cache
    lengths = np.maximum(rng.integers(load.inputs[0], load.inputs[1] + 1, count) // multiple, 1) * multiple
    outputs = rng.integers(load.outputs[0], load.outputs[1] + 1, count) * answers
    return [
        Prompt(str(i), (*first, *mark, *t[load.shared + len(mark) :])[:n], max(int(o), 2))
        for i, (mark, t, n, o) in enumerate(zip(marks, tokens, lengths, outputs, strict=True))
    ]


def observe(engine: Engine, prompts: list[Prompt], concurrency: int) -> Observations:
    """A warm-up with halves of the first prompts, then the load."""
    halves = [replace(p, tokens=p.tokens[: len(p.tokens) // 2]) for p in prompts[:concurrency]]
    engine.generate(halves, concurrency, Recorder(), lambda _done: None)
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


def decode_passes(passes: RecordedPasses, requests: pd.DataFrame, concurrency: int) -> Steps:
    """The decode passes of SGLang's record as steps of unknown times, whose contexts are right in sum.

    Args:
        passes: SGLang's record.
        requests: The requests of the load.
        concurrency: Requests in flight.
    """
    decodes = passes.tokens <= concurrency
    tokens, distinct = passes.tokens[decodes], passes.distinct()[decodes]
    sizes = zip(requests["input_tokens"], requests["output_tokens"], strict=True)
    contexts = np.concatenate([np.arange(prompt, prompt + answer - 1) for prompt, answer in sizes])
    if tokens.sum() != len(contexts):
        raise RunError(
            f"{tokens.sum()} tokens were fed in small passes and {len(contexts)} decoded; change the lengths"
        )
    sequences, layers = np.append(0, np.cumsum(tokens)), distinct.shape[1]
    ones, unknown = np.ones(len(contexts), np.int64), np.zeros(len(tokens), np.int64)
    return Steps(
        stage=np.full(len(tokens), "load"),
        start_ns=unknown,
        duration_ns=unknown,
        seq_request=Ragged(0 * ones, sequences),
        seq_start=Ragged(contexts, sequences),
        seq_new=Ragged(ones, sequences),
        seq_phase=Ragged(Phase.DECODE * ones, sequences),
        logits_tokens=tokens,
        distinct_experts=Ragged(distinct.ravel(), np.arange(len(tokens) + 1) * layers),
    )


@dataclass(frozen=True)
class Decode:
    """Decode steps: their number, their means of distinct experts and bytes, and their times in ns.

    Attributes:
        steps: How many.
        distinct: Mean distinct experts of a layer.
        bytes: Mean bytes of a step.
        passes_ns: Mean time of a pass.
        arrivals_ns: Mean time from the end of the step before to its own.
    """

    steps: int
    distinct: float
    bytes: float
    passes_ns: float
    arrivals_ns: float

    @classmethod
    def of(cls, steps: Steps, spec: ModelSpec) -> Decode:
        """The decode steps among ``steps``; the first step of a load feeds a prompt."""
        work = step_work(spec, steps)
        assert work.bytes is not None
        mask, ends = work.decode, steps.start_ns + steps.duration_ns
        return cls(
            int(mask.sum()),
            float(steps.distinct_experts.values.reshape(len(steps), -1)[mask].mean()),
            float(work.bytes.total()[mask].mean()),
            float(steps.duration_ns[mask].mean()),
            float(np.diff(ends, prepend=ends[0])[mask].mean()),
        )


def compared(engine: Engine, observed: Observations, load: Load, spec: ModelSpec, most: int | None) -> list[str]:
    """Steps and errors of one load, as they are printed."""
    recorded = engine.passes if isinstance(engine, SglangEngine) else None
    seen = seen_steps(as_endpoint(observed) if recorded is None else observed, spec, most)
    found = seen.observations.steps
    b = Decode.of(found, spec)
    if recorded is None:
        count, a = len(observed.steps), Decode.of(observed.steps, spec)
        bandwidth = b.bytes / b.passes_ns
        errors = [bandwidth / (a.bytes / a.arrivals_ns) - 1, bandwidth / (a.bytes / a.passes_ns) - 1]
    else:
        count, a = len(recorded.tokens), Decode.of(decode_passes(recorded, observed.requests, load.concurrency), spec)
        errors = []
    errors = [b.distinct / a.distinct - 1, b.bytes / a.bytes - 1, *errors]
    shown = [f"{error:+.2%}" for error in errors] + ["no times"] * (4 - len(errors))
    sizes = [f"{a.steps} ({count})", f"{b.steps} ({len(found)})"]
    return [load.name, *sizes, *shown, f"{seen.lockstep or 0:.4f}", f"{seen.left_out}"]


def rows(setting: Setting, folder: Path, spec: ModelSpec, answers: float, only: str) -> Iterator[list[str]]:
    """Each load as it is printed, or those with ``only`` in their names."""
    texts = [f"{q.question} {' '.join(q.choices)}" for q in load_arc("easy")]
    tokenizer, rng = Tokenizer(folder), np.random.default_rng(0)
    job = EngineJob(
        folder, spec, "cpu", setting.dtype, setting.threads, 0, {}, lambda _line: None, concurrency=16, longest=800
    )
    for number, (arguments, cache, most, all_loads) in enumerate(setting.servers()):
        loads = [load for load in all_loads if only in load.name]
        if not loads:
            continue
        wanted = replace(job, arguments=arguments, prefix_cache=cache, log=folder / f"server{number}.log")
        with setting.backend.variant(arguments)().open(wanted) as engine:
            for load in loads:
                prompts = prompts_of(load, tokenizer, texts, rng, setting.multiple, answers)
                observed = observe(engine, prompts, load.concurrency)
                try:
                    yield compared(engine, observed, load, spec, most)
                except RunError as error:
                    yield [load.name, str(error)]


def main() -> None:
    """Run the loads and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=ENGINES, default="vllm")
    parser.add_argument(
        "--answers", type=float, default=1.0, help="length of the answers, as a share of the loads' own"
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="leave out loads without it in their names")
    asked = parser.parse_args()
    setting = ENGINES[asked.engine]
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        spec = wide_model(folder, setting.dtype, setting.layers)
        print("load | decode steps | found | distinct experts | bytes | S-MBU | S-MBU of passes | lockstep | left out")
        for row in rows(setting, folder, spec, asked.answers, asked.only):
            print(" | ".join(row), flush=True)
    print(f"load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
