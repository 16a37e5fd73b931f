"""Small run directories, made by the recorder and the result's own models, so that reports can be checked by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moecap.config import CostConfig, RunConfig
from moecap.files import file_sha256
from moecap.hardware.profile import HardwareProfile, Price
from moecap.metrics.constants import constants_in_force
from moecap.metrics.routing_source import seen_steps
from moecap.metrics.summary import RunFacts, run_metrics
from moecap.models.accounting import count_parameters
from moecap.models.reading import read_model
from moecap.observations.reader import read_observations
from moecap.observations.recorder import Recorder
from moecap.observations.schema import Phase
from moecap.result import BackendRecord, Flag, HardwareRecord, ModelRecord, Provenance, Result, write_result

MIXTRAL = {
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 2,
    "vocab_size": 32,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "dtype": "bfloat16",
}
LLAMA = {
    **{k: v for k, v in MIXTRAL.items() if k not in ("num_local_experts", "num_experts_per_tok", "sliding_window")},
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
}
CHIP = HardwareProfile(
    id="test-chip",
    name="Test chip",
    vendor="Nobody",
    kind="accelerator",
    memory_bytes=10**9,
    memory_bandwidth=1e8,
    tdp_watts=None,
    dense_flops={"bf16": 1e9},
    prices=(Price(usd_per_hour=2.0, provider="Some cloud", date="2026-01-02"),),
)
MS = 1_000_000
LAYERS, EXPERTS, TOP_K = 3, 4, 2
INPUT, OUTPUT, CONCURRENCY = 16, 6, 2
WAIT = 20 * MS
LOOKS = [(2, 0, 0.1, 0, 100, 0), (6, 1, 0.6, 0, 250, 50), (6, 3, 0.9, 2, 300, 100), (1, 0, 0.2, 2, 500, 100)]
"""At each look: requests running and waiting, share of the KV cache, preemptions, prompt tokens and those cached."""
NAMES = (
    "num_requests_running",
    "num_requests_waiting",
    "kv_cache_usage_perc",
    "num_preemptions_total",
    "prompt_tokens_total",
    "prompt_tokens_cached_total",
)


@dataclass(frozen=True)
class Wish:
    """What a run directory should hold."""

    config: dict[str, Any]
    routing: bool = True
    batches: int = 5
    samples: int = 4
    kind: str = "measured"
    status: str = "complete"
    reason: str | None = None
    name: str = "tiny-mixtral"
    task: tuple[str, ...] = ("quiz",)
    flags: tuple[Flag, ...] = ()
    usd_per_hour: float | None = 2.0
    cost: CostConfig = field(default_factory=CostConfig)
    sessions: bool = False
    server: bool = False


MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """A function that makes a run directory; its keywords are the fields of a wish, ``dense=True`` takes a dense "
    "model."""
    made = 0

    def make(*, dense: bool = False, **wishes: Any) -> Path:
        nonlocal made
        made += 1
        directory = tmp_path / f"run{made}"
        directory.mkdir()
        _write(directory, Wish(**({"config": LLAMA if dense else MIXTRAL} | wishes)), dense)
        return directory

    return make


def _write(directory: Path, wish: Wish, dense: bool) -> None:
    recorder = Recorder(stage="load", capture="hook" if wish.routing and not dense else None)
    _load(recorder, wish, dense)
    if wish.server:
        _server(recorder)
    for i in range(wish.samples):
        recorder.samples.append(
            {
                "task": "quiz",
                "kind": "other",
                "id": f"q{i}",
                "prompt": "What is <b>two</b> & two?",
                "answers": [" three", " four"],
                "log_likelihoods": [-2.0, -1.0],
                "answer": " four",
                "gold": 1 if i % 2 else 0,
                "scores": {"accuracy": i % 2},
            }
        )
    recorder.telemetry((0, 10**8, 1.0, 1.0, 0.5, 0.0, 2, 2.0, 1.0, 0.0, None, None))
    names = recorder.write(directory)
    spec = read_model(wish.config, wish.name, weights="bf16", kv="bf16")
    profile = CHIP if wish.usd_per_hour is not None else CHIP.model_copy(update={"prices": ()})
    constants = constants_in_force(wish.cost, None, profile, 1)
    facts = RunFacts(
        spec=spec,
        profile=profile,
        devices=1,
        compute_dtype="bf16",
        concurrency=CONCURRENCY,
        usd_per_hour=wish.usd_per_hour,
        basis=wish.cost.basis,
        constants=constants,
    )
    seen = seen_steps(read_observations(directory), facts.spec)
    parameters = count_parameters(spec)
    result = Result(
        kind=wish.kind,
        status=wish.status,
        reason=wish.reason,
        model=ModelRecord(
            id=wish.name,
            name=wish.name,
            revision=None,
            source="made for a test",
            config=wish.config,
            weights_sha256=None,
            weight_dtype="bf16",
            kv_dtype="bf16",
            compute_dtype="bf16",
            total_params=parameters.total,
            active_params=parameters.active,
            is_moe=spec.is_moe,
        ),
        hardware=HardwareRecord(
            id=CHIP.id,
            name=CHIP.name,
            count=1,
            usd_per_hour=wish.usd_per_hour,
            price_source="Some cloud (2026-01-02)",
            source="file",
            profile=profile,
        ),
        backend=BackendRecord(
            name="stub", version="1", device="none", timer="host", batching="static", details={"torch": "none"}
        ),
        workload=RunConfig(
            model=wish.name,
            num_requests=max(CONCURRENCY, wish.batches * CONCURRENCY),
            input_len=INPUT,
            output_len=OUTPUT,
            concurrency=CONCURRENCY,
            task=wish.task,
            cost=wish.cost,
        ),
        constants=constants,
        metrics=run_metrics(seen, facts),
        routing_source=seen.source,
        flags=wish.flags,
        provenance=Provenance(
            moecap="0",
            started="2026-01-02T03:04:05+00:00",
            finished="2026-01-02T03:05:05+00:00",
            seconds={"load": 1.0} if wish.batches else {},
            command="moecap run --model tiny",
            environment={"python": "3"},
        ),
        observations={name: file_sha256(directory / name) for name in names},
    ).identified()
    write_result(directory, result)


def _load(recorder: Recorder, wish: Wish, dense: bool) -> None:
    random = np.random.default_rng(0)

    def experts(tokens: int) -> Any:
        if dense or not wish.routing:
            return None
        return np.argsort(random.random((tokens, LAYERS, EXPERTS)), axis=2)[:, :, :TOP_K]

    now = 10 * MS
    for turn in range(wish.batches):
        wait = WAIT * bool(turn) if wish.sessions else 0
        now += wait
        batch = [recorder.send("p", INPUT, OUTPUT, now) for _ in range(CONCURRENCY)]
        if wish.sessions:
            for session, record in enumerate(batch):
                record.session, record.turn, record.wait_ns = session, turn, wait if turn else None
        for step in range(OUTPUT):
            prefill = step == 0
            new = INPUT if prefill else 1
            duration = (12 if prefill else 4) * MS
            recorder.step(
                start_ns=now,
                duration_ns=duration,
                seq_request=[r.request for r in batch],
                seq_start=[0 if prefill else INPUT + step - 1] * CONCURRENCY,
                seq_new=[new] * CONCURRENCY,
                phase=Phase.PREFILL if prefill else Phase.DECODE,
                logits_tokens=CONCURRENCY,
                experts=experts(new * CONCURRENCY),
                num_experts=EXPERTS,
            )
            now += duration
            for record in batch:
                recorder.chunk(record.request, now, step + 1)
                record.first_token_ns = record.first_token_ns or now
                record.last_token_ns = record.ended_ns = now
                record.output_tokens = step + 1
                record.status = "completed" if step == OUTPUT - 1 else "unfinished"


def _server(recorder: Recorder) -> None:
    """Looks at a server's own counters, of which the first is before the load and the last after it."""
    looks = [LOOKS[0], *LOOKS, LOOKS[-1]]
    for number, values in enumerate(looks):
        moment = {0: "before", len(looks) - 1: "after"}.get(number, "during")
        samples = [(f"vllm:{name}", "{}", float(value)) for name, value in zip(NAMES, values, strict=True)]
        recorder.server_metrics((10 + 20 * number) * MS, moment, samples)
