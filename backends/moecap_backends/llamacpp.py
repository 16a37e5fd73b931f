"""llama.cpp's own server out of the xllamacpp wheel, or a user's ``llama-server``: started and ended by moecap."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

from moecap.backend import (
    SAMPLING,
    Backend,
    Continuation,
    Engine,
    EngineInfo,
    EngineJob,
    Generation,
    Prompt,
    Scored,
    refuse_unknown,
)
from moecap.errors import NotBuiltError, RunError
from moecap.load.answers import Answer
from moecap.load.connection import Reply, Target
from moecap.load.driver import Exchange, Turn
from moecap.load.llamacpp_stream import CompletionAnswer, Timings, decode_llamacpp_answer
from moecap.load.loop import run_loop
from moecap.models.formats import GGUF_PREFIX, gguf_name, run_formats
from moecap.models.spec import ModelSpec
from moecap.observations.recorder import Recorder, RequestRecord
from moecap.tokenizer import Tokenizer
from moecap_backends.checkpoint import check_checkpoint
from moecap_backends.gguf_files.export import check_convertible
from moecap_backends.gguf_files.file import precision_of
from moecap_backends.llamacpp_feeding import fed_steps
from moecap_backends.llamacpp_passes import PassFile
from moecap_backends.llamacpp_scores import Asked, Found, found_score, score_body, scored, tokens_by_context
from moecap_backends.llamacpp_settings import (
    ARGUMENTS,
    LlamaServer,
    engine_details,
    gguf_to_serve,
    own_gguf,
    records_passes,
    refuse_unrecorded,
    server_command,
    slots_of,
    tokens_of_a_pass,
)
from moecap_backends.served import ServedEngine, explained, fetch
from moecap_backends.server_process import free_port

__all__ = ["LlamacppBackend"]

START_SECONDS = 900.0
REQUEST_SECONDS = 3600.0
CAPTURE = "llama.cpp, on the results of its routers (routing=true)"
ONE_REQUEST = {"Connection": "close"}
"""llama.cpp closes a connection after a streamed answer, though it says that it keeps it."""


class LlamacppBackend(Backend):
    """llama.cpp behind its own HTTP server."""

    name: ClassVar[str] = "llamacpp"
    capabilities: ClassVar[frozenset[str]] = frozenset({"generate", "logprobs", "prompt_logprobs"})
    open_loop: ClassVar[bool] = True
    sessions: ClassVar[bool] = True
    served: ClassVar[bool] = True
    sampling: ClassVar[frozenset[str]] = SAMPLING
    offloads: ClassVar[bool] = True
    summary: ClassVar[str] = (
        "llama.cpp's own server on a CPU, from a checkpoint or a GGUF file; steps are reconstructed"
    )

    @classmethod
    def unavailable(cls) -> str | None:
        """Say which package is missing."""
        missing = [p for p in ("xllamacpp", "gguf") if importlib.util.find_spec(p) is None]
        return f'{", ".join(missing)} not installed; pip install "moecap[llamacpp]"' if missing else None

    @classmethod
    def check(cls, model: Path, spec: ModelSpec, device: str) -> None:
        """Refuse weights that are missing, corrupt, or cannot be put into a GGUF file; a folder may have none."""
        if own_gguf(model, spec) is None and any(model.glob("*.safetensors")):
            check_checkpoint(model)
            check_convertible(model, precision_of(spec))

    @classmethod
    def dtype(cls, spec: ModelSpec, device: str, precision: str, host_flags: frozenset[str]) -> str:
        """The model's own format, or the GGUF format that was asked for."""
        if device != "cpu":
            raise NotBuiltError(
                "the llamacpp backend runs llama.cpp on a CPU; start your own llama-server on the GPU and measure it "
                "with --endpoint"
            )
        own = spec.weight_dtypes["embedding"]
        if precision == "auto":
            return GGUF_PREFIX + (own if own in ("fp32", "fp16", "bf16") else "bf16")
        return GGUF_PREFIX + gguf_name(precision)

    @classmethod
    def variant(cls, arguments: Mapping[str, str]) -> type[Backend]:
        """With a file of the user's own the weights of the folder do not matter."""
        return NamedFileBackend if "gguf" in arguments else cls

    def open(self, job: EngineJob) -> Engine:
        """Make the GGUF file if need be, start the server and wait until it is ready."""
        refuse_unknown(job.arguments, ARGUMENTS, self.name)
        tokens_of_a_pass(job)
        refuse_unrecorded(job)
        return LlamacppEngine(job, gguf_to_serve(job))


class NamedFileBackend(LlamacppBackend):
    """The llamacpp backend with ``gguf=PATH``."""

    @classmethod
    def check(cls, model: Path, spec: ModelSpec, device: str) -> None:
        """The folder gives the configuration and the tokenizer alone; the file is checked before the server starts."""


class LlamacppEngine(ServedEngine):
    """A running llama.cpp server."""

    def __init__(self, job: EngineJob, gguf: Path) -> None:
        port = free_port()
        target = Target.parse(f"http://127.0.0.1:{port}")
        super().__init__(job, target, "moecap", REQUEST_SECONDS)
        self._slots = slots_of(job)
        self._prefix_cache = job.prefix_cache
        self._vocabulary = job.spec.vocab_size
        self.tokenizer = Tokenizer(job.model)
        self._spec = job.spec
        self._passes = PassFile(job.log) if records_passes(job) else None
        self._prompts: dict[str, tuple[int, ...]] = {}
        recording = {} if self._passes is None else self._passes.variables
        self._server = LlamaServer(
            "llama.cpp",
            server_command(job, gguf, port),
            variables={"OMP_WAIT_POLICY": "passive", **recording},  # spinning threads starve the client on few cores
            log=job.log,
            health=f"http://127.0.0.1:{port}/health",
            deadline=START_SECONDS,
        )
        try:
            self._server.wait_until_ready(job.progress)
            props = json.loads(fetch(target, "/props").body)
        except BaseException:
            self.close()
            raise
        self._timings: list[Timings] = []
        self._details = engine_details(job, gguf, props)
        self.info = EngineInfo(
            name="llamacpp",
            version=str(props["build_info"]) if "server" in job.arguments else f"xllamacpp {version('xllamacpp')}",
            device=job.device,
            weight_dtype=job.dtype,
            kv_dtype=job.spec.kv_dtype,
            compute_dtype=run_formats(job.dtype).compute,
            timer="none" if self._passes is None else "host",
            batching="continuous",
            details=self._details,
            client_chunks_per_second=self.client.chunks_per_second,
            client_processes=self.client.processes,
            step_tokens=tokens_of_a_pass(job) if self._passes is None else None,
        )

    def render(self, prompt: Prompt, key: str) -> bytes:
        """A streamed completion of token ids; greedy takes the likeliest token, without the server's other samplers."""
        if self._passes is not None:
            self._prompts[key] = prompt.tokens
        how = prompt.sampling
        greedy = {"samplers": ["top_k"], "top_k": 1}
        drawn = {"samplers": ["top_p", "temperature"], "top_p": how.top_p, "temperature": how.temperature}
        body = {
            "prompt": list(prompt.tokens),
            "n_predict": prompt.output_tokens,
            "ignore_eos": how.exact,
            "stop": list(how.stop),
            "cache_prompt": self._prefix_cache,
            "return_tokens": True,
            "stream": True,
            "seed": how.seed,
            **(drawn if how.temperature > 0 else greedy),
        }
        if how.n > 1:
            body["n_cmpl"] = how.n
        return self.target.request("/completion", json.dumps(body).encode(), ONE_REQUEST)

    def decode(self, reply: Reply) -> CompletionAnswer:
        """llama.cpp's own answers."""
        return decode_llamacpp_answer(reply)

    def generate(
        self,
        prompts: Sequence[Prompt],
        concurrency: int,
        recorder: Recorder,
        done: Callable[[int], None],
        arrivals: Sequence[float] | None = None,
    ) -> list[Generation]:
        """Send the prompts; what the model computed before them is no part of their passes."""
        if self._passes is not None:
            self._passes.skip()
        return super().generate(prompts, concurrency, recorder, done, arrivals)

    def keep_experts(self, record: RequestRecord, answer: Answer, recorder: Recorder) -> None:
        """An answer tells no experts; the server's own times of the load's requests are kept."""
        if recorder.stage != "load" or not isinstance(answer, CompletionAnswer) or answer.timings is None:
            return
        self._timings.append(answer.timings)

    def observe(self, records: Mapping[str, RequestRecord], recorder: Recorder) -> None:
        """Whether the server is still there, and its passes where they are recorded.

        Raises:
            RunError: If it is gone, or its passes are not those of the load.
        """
        if self._timings:
            prompt = sum(t.prompt_ms for t in self._timings) / len(self._timings)
            later = max(1, sum(t.predicted_n - 1 for t in self._timings))
            token = sum(t.predicted_ms for t in self._timings) / later
            self._details["server_times"] = (
                f"means of {len(self._timings)} requests: {prompt:.1f} ms for the prompt, "
                f"{token:.1f} ms a token after it"
            )
        failed = any(record.status == "failed" for record in records.values())
        if self._server.ended or (failed and self._server.ending):
            raise RunError(f"llama.cpp ended during the load {self._server.end}: {self._server.complaint()}")
        if self._passes is not None:
            asked = [(record, self._prompts[key]) for key, record in records.items() if key in self._prompts]
            recorder.capture = CAPTURE
            for step in fed_steps(self._passes.take(), asked, self._spec):
                recorder.step(**step)
            self._prompts.clear()

    def score(
        self, continuations: Sequence[Continuation], recorder: Recorder, done: Callable[[int], None]
    ) -> list[Scored]:
        """Log-likelihoods, one request for each token of each answer (see :mod:`moecap_backends.llamacpp_scores`)."""
        recorder.continuations += len(continuations)
        groups = tokens_by_context(continuations)
        found = self._ask(continuations, groups, done)
        lacking = [asked for group in groups for asked in group if found[asked] is None]
        if lacking:
            assert self.tokenizer is not None
            whole = self.tokenizer.encode("a")[0]
            found |= self._ask(continuations, [[asked] for asked in lacking], lambda _done: None, whole)
        scores = []
        for number, continuation in enumerate(continuations):
            tokens = [found[Asked(number, place)] for place in range(len(continuation.target))]
            known = [token for token in tokens if token is not None]
            if len(known) < len(tokens):
                raise RunError(f"llama.cpp gives no probability for a token of {continuation.id!r}")
            scores.append(scored(known))
        return scores

    def close(self) -> None:
        """End the server."""
        self._server.stop()
        if self._passes is not None:
            self._passes.close()

    def _ask(
        self,
        continuations: Sequence[Continuation],
        groups: Sequence[Sequence[Asked]],
        done: Callable[[int], None],
        whole: int | None = None,
    ) -> dict[Asked, Found | None]:
        """Ask for tokens, the groups side by side; with ``whole`` from the whole vocabulary."""
        everything = 0 if whole is None else self._vocabulary
        sessions = [
            tuple(self._turn(continuations[asked.continuation], asked.place, everything, whole or 0) for asked in group)
            for group in groups
        ]
        log: list[Exchange] = []
        ended: set[int] = set()

        def heard(exchange: Exchange) -> None:
            asked = groups[exchange.session][exchange.turn]
            if asked.place == len(continuations[asked.continuation].target) - 1:
                ended.add(asked.continuation)
                done(len(ended))

        run_loop(self._drive(sessions, self._slots, None, log, heard))
        found: dict[Asked, Found | None] = {}
        for exchange in log:
            asked, reply = groups[exchange.session][exchange.turn], exchange.reply
            continuation = continuations[asked.continuation]
            if reply is None or reply.error is not None or reply.status != 200:
                why = self._server.complaint() if self._server.ended or reply is None else explained(reply)
                raise RunError(f"llama.cpp cannot score {continuation.id!r}: {why}")
            found[asked] = found_score(reply, continuation.target[asked.place], bool(everything))
        return found

    def _turn(self, continuation: Continuation, place: int, everything: int, whole: int) -> Turn:
        request = self.target.request("/completion", score_body(continuation, place, everything, whole))
        return Turn(continuation.id, lambda _replies: request)
