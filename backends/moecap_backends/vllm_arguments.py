"""The command line of vLLM's server: what moecap sets, what it passes on, and what a run cannot account for."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from moecap.backend import EngineJob
from moecap.errors import BadInputError
from moecap.models.accounting import cache_bytes
from moecap_backends.engine_arguments import ArgumentRules, command_words

__all__ = ["ARGUMENTS", "DTYPES", "server_command", "server_variables", "server_words"]

WORKER = "moecap_backends.vllm_worker.RecordingWorker"
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
GIB = 1 << 30
ARGUMENTS = ArgumentRules(
    uncounted=(
        "config",
        "decode-context-parallel-size",
        "default-mm-loras",
        "diffusion-config",
        "ec-transfer-config",
        "enable-dbo",
        "enable-elastic-ep",
        "enable-eplb",
        "enable-expert-parallel",
        "enable-lora",
        "hf-config-path",
        "hf-overrides",
        "kv-cache-dtype-skip-layers",
        "kv-sharing-fast-prefill",
        "kv-transfer-config",
        "load-format",
        "model-class-overrides",
        "model-impl",
        "nnodes",
        "node-rank",
        "pipeline-parallel-size",
        "prefill-context-parallel-size",
        "quantization",
        "ubatch-size",
    ),
    families=(
        "cpu-offload-",
        "data-parallel-",
        "dcp-",
        "kv-offloading-",
        "lora-",
        "offload-",
        "quantization-",
        "spec-",
        "speculative-",
    ),
    owned=(
        "dtype",
        "host",
        "model",
        "port",
        "seed",
        "served-model-name",
        "tensor-parallel-size",
        "worker-cls",
        "worker-extension-cls",
    ),
)


def server_command() -> list[str]:
    """The server's command; that of the CPU build does not start, since its distribution has another name."""
    try:
        version("vllm")
    except PackageNotFoundError:
        return [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    return [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve"]


def server_words(job: EngineJob, port: int) -> list[str]:
    """The server's arguments: moecap's own, then the user's."""
    own = {
        "model": str(job.model),
        "served-model-name": "moecap",
        "host": "127.0.0.1",
        "port": str(port),
        "dtype": DTYPES[job.dtype],
        "max-model-len": str(min(job.spec.max_context, max(job.longest + 1, 256))),
        "seed": str(job.seed),
        "generation-config": "vllm",  # else the model's own sampling is put in where a request says nothing of it
        "worker-cls": WORKER,
    }
    if job.device == "cpu" and any(layer.attention.latent_rank for layer in job.spec.layers):
        # vLLM 0.32's own kernel turns the positions of a latent query wrongly; PyTorch's operations do not
        own["compilation-config"] = '{"custom_ops": ["-rotary_embedding"]}'
    if job.parallelism.tensor > 1:
        own["tensor-parallel-size"] = str(job.parallelism.tensor)
    words = command_words(own, job.arguments)
    if not {"enable-prefix-caching", "no-enable-prefix-caching"} & job.arguments.keys() and not job.prefix_cache:
        words.append("--no-enable-prefix-caching")
    return [*words, "--enable-prompt-tokens-details"]  # without it the prompt tokens from a prefix cache are not told


def server_variables(job: EngineJob) -> dict[str, str]:
    """The environment variables of the server, beside this process's own."""
    quiet = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    home = str(Path(__file__).resolve().parents[1])  # the worker class must be importable in vLLM's processes
    path = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
    found = {**quiet, "VLLM_SERVER_DEV_MODE": "1", "PYTHONPATH": path}
    if job.device == "cpu" and "VLLM_CPU_KVCACHE_SPACE" not in os.environ:
        needed = cache_bytes(job.spec, job.longest) * job.concurrency * job.sampling.n
        found["VLLM_CPU_KVCACHE_SPACE"] = str(max(1, -(-2 * needed // GIB)))
    if job.device == "cpu" and job.parallelism.tensor > 1 and "VLLM_CPU_OMP_THREADS_BIND" not in os.environ:
        found["VLLM_CPU_OMP_THREADS_BIND"] = _shared_out(sorted(os.sched_getaffinity(0)), job.parallelism.tensor)
    return found


def _shared_out(cores: Sequence[int], ranks: int) -> str:
    """The cores of each rank, evenly and in order; by itself vLLM shares them out by memory nodes.

    Raises:
        BadInputError: If there are fewer cores than ranks.
    """
    each = len(cores) // ranks
    if not each:
        raise BadInputError(f"{ranks} tensor-parallel ranks are more than the {len(cores)} cores here; ask for fewer")
    return "|".join(",".join(str(core) for core in cores[i * each : (i + 1) * each]) for i in range(ranks))
