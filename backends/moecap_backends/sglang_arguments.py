"""The command line of SGLang's server: what moecap sets, what it passes on, and what a run cannot account for."""

from __future__ import annotations

import os
from pathlib import Path

from moecap.backend import EngineJob
from moecap.models.adapter import ADAPTER_ARGUMENT
from moecap_backends.engine_arguments import ArgumentRules, command_words
from moecap_backends.expert_recorder import FOLDER_VARIABLE
from moecap_backends.sglang_adapter import ADAPTER_NAME, adapter_folder

__all__ = ["ARGUMENTS", "DTYPES", "SCORING_AT_ONCE", "server_variables", "server_words"]

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
SCORING_AT_ONCE = 16
LEAST_CONTEXT = 256
RESERVED = 8
"""Tokens that SGLang keeps back of its context and of its cache."""

ARGUMENTS = ArgumentRules(
    uncounted=(
        "config",
        "cpu-offload-gb",
        "enable-dp-attention",
        "enable-eplb",
        "enable-flexkv",
        "enable-fp32-lm-head",
        "enable-hicache",
        "enable-hierarchical-cache",
        "enable-hisparse",
        "enable-kv-cache-sharding",
        "enable-lmcache",
        "enable-lora",
        "enable-paged-experts",
        "enable-pdmux",
        "enable-two-batch-overlap",
        "enable-unified-cache-external-linker",
        "encoder-only",
        "ep",
        "forward-hooks",
        "is-embedding",
        "json-model-override-args",
        "kv-cache-dtype",
        "language-only",
        "load-format",
        "max-ep-size",
        "model-impl",
        "nnodes",
        "node-rank",
        "num-reserved-decode-tokens",
        "ple-offload-embedding",
        "prefill-kv-cache-dequant-dtype",
        "use-ray",
    ),
    families=(
        "attention-context-parallel",
        "attention-data-parallel",
        "attn-cp-",
        "attn-dp-",
        "custom-weight-loader",
        "data-parallel-",
        "dcp-",
        "decode-context-parallel",
        "decoupled-spec-",
        "disaggregation-",
        "dllm-",
        "dp-",
        "dwdp-",
        "elastic-ep-",
        "ep-",
        "expert-parallel-",
        "hicache-",
        "kt-",
        "lora-",
        "moe-data-parallel",
        "moe-dense-tp-",
        "moe-dp-",
        "modelopt-",
        "offload-",
        "pipeline-parallel-",
        "pp-",
        "quanti",
        "speculative-",
        "tensor-parallel-",
        "tp-",
    ),
    owned=(
        "device",
        "dtype",
        "enable-return-routed-experts",
        "host",
        "incremental-streaming-output",
        "model",
        "model-path",
        "port",
        "random-seed",
        "served-model-name",
        "skip-tokenizer-init",
        "stream-interval",
        "tokenizer-path",
    ),
)


def server_words(job: EngineJob, model: Path, port: int) -> list[str]:
    """The server's command line.

    Args:
        job: What it is started for.
        model: The folder to serve.
        port: Where it shall listen.
    """
    own = {
        "model-path": str(model),
        "served-model-name": "moecap",
        "host": "127.0.0.1",
        "port": str(port),
        "device": job.device,
        "dtype": DTYPES[job.dtype],
        "context-length": str(min(job.spec.max_context, max(job.longest + RESERVED, LEAST_CONTEXT))),
        "random-seed": str(job.seed),
        "incremental-streaming-output": "true",
        "enable-metrics": "true",
    }
    if job.spec.is_moe:
        own["enable-return-routed-experts"] = "true"
    if not job.prefix_cache:
        own["disable-radix-cache"] = "true"
    given = {name: value for name, value in job.arguments.items() if name != ADAPTER_ARGUMENT}
    if (folder := adapter_folder(job.arguments)) is not None:
        own |= {ADAPTER_ARGUMENT: f"{ADAPTER_NAME}={folder}", "max-loras-per-batch": "1"}
    if job.device == "cpu":
        sequences = max(2 * job.concurrency * job.sampling.n, SCORING_AT_ONCE)
        own |= {
            "attention-backend": "torch_native",
            "sampling-backend": "pytorch",
            "max-total-tokens": str(sequences * max(job.longest + RESERVED, LEAST_CONTEXT)),
            "sleep-on-idle": "true",  # else it takes a core while it waits, also from the client
        }
        if folder is not None:
            own["lora-backend"] = "torch_native"
    return command_words(own, given)


def server_variables(job: EngineJob) -> dict[str, str]:
    """Its environment variables, in addition to this process's own."""
    found = {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION": "0",  # else asking whether it is ready makes it run a token
        FOLDER_VARIABLE: str(job.log.absolute().parent),
    }
    if job.device == "cpu":
        threads = os.environ.get("OMP_NUM_THREADS", str(job.threads))
        found |= {"SGLANG_USE_CPU_ENGINE": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": threads}
    return found
