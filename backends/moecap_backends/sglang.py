"""SGLang, unchanged, as a server of our own: exact tokens and routed experts in its answers, steps from arrivals."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from moecap.backend import SAMPLING, Backend, Continuation, Engine, EngineInfo, EngineJob, Generation, Prompt, Scored
from moecap.errors import BadInputError, NotBuiltError, RunError
from moecap.load.answers import Answer
from moecap.load.connection import Reply, Target
from moecap.load.sglang_stream import decode_sglang_answer
from moecap.models.adapter import ADAPTER_ARGUMENT, with_adapter
from moecap.models.config_file import read_config_file
from moecap.models.spec import ModelSpec
from moecap.observations.recorder import Recorder, RequestRecord
from moecap.tokenizer import Tokenizer
from moecap_backends.checkpoint import check_checkpoint
from moecap_backends.expert_recorder import ExpertRecorder, RecordedPasses
from moecap_backends.routed_experts import decode_routed_experts
from moecap_backends.served import ServedEngine, explained, fetch
from moecap_backends.server_process import ServerProcess, free_port
from moecap_backends.sglang_adapter import ADAPTER_NAME, adapter_details, adapter_folder, check_adapter
from moecap_backends.sglang_arguments import ARGUMENTS, DTYPES, SCORING_AT_ONCE, server_variables, server_words
from moecap_backends.sglang_interpreter import sglang_interpreter, sglang_missing
from moecap_backends.sglang_scores import score_body, scored
from moecap_backends.sglang_told import Told, refuse_difference
from moecap_backends.untied import untied_copy

__all__ = ["SglangBackend"]

START_SECONDS = 1800.0
REQUEST_SECONDS = 3600.0
CAPTURE = "SGLang, in each answer (--enable-return-routed-experts)"


NATIVE_BF16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
HEADS_SPLIT_WIDTH = ("MixtralForCausalLM",)
EVERY_LAYER_MIXED = ("Qwen2MoeForCausalLM", "Qwen3MoeForCausalLM")


class SglangBackend(Backend):
    """SGLang behind its own ``/generate``, started, measured and ended by moecap."""

    name: ClassVar[str] = "sglang"
    capabilities: ClassVar[frozenset[str]] = frozenset({"generate", "logprobs", "prompt_logprobs", "routed_experts"})
    open_loop: ClassVar[bool] = True
    sessions: ClassVar[bool] = True
    served: ClassVar[bool] = True
    sampling: ClassVar[frozenset[str]] = SAMPLING
    summary: ClassVar[str] = "SGLang's own server; routing exact, in its answers; steps reconstructed from arrivals"

    @classmethod
    def unavailable(cls) -> str | None:
        """Whether SGLang is installed here, or where ``MOECAP_SGLANG_PYTHON`` says."""
        return sglang_missing()

    @classmethod
    def check(cls, model: Path, spec: ModelSpec, device: str) -> None:
        """Refuse weights that are missing or corrupt, and quantised ones, whose bytes a run does not count yet."""
        check_checkpoint(model)
        config = read_config_file(model / "config.json")
        if config.get("quantization_config"):
            raise NotBuiltError(
                f"{model.name} is quantised, and a run of the sglang backend counts unquantised weights only; "
                "take the checkpoint in bf16"
            )
        if not (model / "tokenizer_config.json").is_file():
            raise BadInputError(
                f"{model}: no tokenizer_config.json, which SGLang reads; save the tokenizer beside the weights "
                "(save_pretrained)"
            )
        for problem in _misread(config, spec):
            raise BadInputError(f"{model.name}: {problem}; run it with another backend")

    @classmethod
    def dtype(cls, spec: ModelSpec, device: str, precision: str, host_flags: frozenset[str]) -> str:
        """The model's own 16-bit format, else bf16; on a CPU without units for it fp32."""
        if precision != "auto":
            if precision not in DTYPES:
                raise BadInputError(f"precision {precision!r}: the sglang backend runs {', '.join(DTYPES)} or auto")
            return precision
        if device == "cpu" and not host_flags & NATIVE_BF16:
            return "fp32"
        own = spec.weight_dtypes["embedding"]
        return own if own in ("bf16", "fp16") else "bf16"

    @classmethod
    def served_config(cls, config: Mapping[str, Any], arguments: Mapping[str, str]) -> Mapping[str, Any]:
        """With the adapter of ``lora-paths``, whose matrices every step reads, too."""
        folder = adapter_folder(arguments)
        return config if folder is None else with_adapter(config, folder)

    def open(self, job: EngineJob) -> Engine:
        """Start the server and wait until it is ready."""
        for name in job.arguments:
            if name != ADAPTER_ARGUMENT:
                ARGUMENTS.refuse(name)
        if (folder := adapter_folder(job.arguments)) is not None:
            check_adapter(folder, job.spec)
        return SglangEngine(job)


class SglangEngine(ServedEngine):
    """A running SGLang server."""

    def __init__(self, job: EngineJob) -> None:
        port = free_port()
        target = Target.parse(f"http://127.0.0.1:{port}")
        super().__init__(job, target, "moecap", REQUEST_SECONDS)
        self._spec = job.spec
        self.tokenizer = Tokenizer(job.model)
        self._load = Told()
        adapter = adapter_folder(job.arguments)
        self._adapter = {} if adapter is None else {"lora_path": ADAPTER_NAME}
        model = untied_copy(job.model, job.progress) if job.spec.tied else job.model
        self._server = ServerProcess(
            "SGLang",
            [str(sglang_interpreter()), "-m", "sglang.launch_server", *server_words(job, model, port)],
            variables=server_variables(job),
            log=job.log,
            health=f"http://127.0.0.1:{port}/health",
            deadline=START_SECONDS,
        )
        try:
            self._server.wait_until_ready(job.progress)
            server = json.loads(fetch(target, "/server_info").body)
            told = self._try()
            self._recorder = ExpertRecorder(target, job.log.absolute().parent, job.spec)
        except BaseException:
            self._server.stop()
            raise
        self.passes: RecordedPasses | None = None
        self.info = EngineInfo(
            name="sglang",
            version=str(server["version"]),
            device=job.device,
            weight_dtype=job.dtype,
            kv_dtype=job.dtype,
            compute_dtype=job.dtype,
            timer="none",
            batching="continuous",
            client_chunks_per_second=self.client.chunks_per_second,
            client_processes=self.client.processes,
            step_tokens=_step_tokens(server),
            details={
                "routed_experts": told,
                "attention_backend": str(server.get("attention_backend")),
                "output_projection": "a copy of the embedding" if model != job.model else "the checkpoint's own",
                "adapter": "none" if adapter is None else adapter_details(adapter),
            },
        )

    def render(self, prompt: Prompt, key: str) -> bytes:
        """A streamed generation from token ids."""
        drawn = prompt.sampling
        parameters: dict[str, Any] = {
            "temperature": drawn.temperature,
            "top_p": drawn.top_p,
            "max_new_tokens": prompt.output_tokens,
            "ignore_eos": drawn.exact,
        }
        if drawn.stop:
            parameters["stop"] = list(drawn.stop)
        if drawn.n > 1:
            parameters["n"] = drawn.n
        body = {"input_ids": list(prompt.tokens), "sampling_params": parameters, "stream": True, "rid": key}
        if self._spec.is_moe:
            body["return_routed_experts"] = True
        return self._request(body)

    def decode(self, reply: Reply) -> Answer:
        """SGLang's own form of an answer."""
        return decode_sglang_answer(reply)

    def keep_experts(self, record: RequestRecord, answer: Answer, recorder: Recorder) -> None:
        """Hand over the routed experts of a whole answer, unless it has several choices, of which each has its own."""
        load = self._load
        load.fed_again += answer.retractions > 0
        load.failed += record.status == "failed"
        told = record.status == "completed" and record.choices is None and answer.routed_experts
        experts = self._experts(answer) if told else "not told"
        if isinstance(experts, str):
            load.untold += 1
            return
        recorder.capture = CAPTURE
        recorder.routes(record, experts)
        load.fed.append(experts[answer.cached_tokens or 0 :])

    def generate(
        self,
        prompts: Sequence[Prompt],
        concurrency: int,
        recorder: Recorder,
        done: Callable[[int], None],
        arrivals: Sequence[float] | None = None,
    ) -> list[Generation]:
        """Send the prompts, with SGLang's own recorder on where the server has one."""
        self._load = Told(exact=all(prompt.sampling.exact for prompt in prompts))
        if self._recorder.mode is not None:
            self._recorder.start()
        return super().generate(prompts, concurrency, recorder, done, arrivals)

    def observe(self, records: Mapping[str, RequestRecord], recorder: Recorder) -> None:
        """Check what the answers said of their experts, against SGLang's own recorder where it was on.

        Raises:
            RunError: If the server is gone, fed a request twice, or recorded other experts than its answers name.
        """
        load = self._load
        if self._server.ended or (load.failed and self._server.ending):
            raise RunError(f"SGLang ended during the load {self._server.end}: {self._server.complaint()}")
        if load.fed_again:
            raise RunError(
                f"SGLang gave up the cache of {load.fed_again} requests and fed them again, as it is too small for "
                "this load: its steps are not those of the load; enlarge it (max-total-tokens, mem-fraction-static) "
                "or lower the load"
            )
        if self._recorder.mode is not None:
            self.passes = self._recorder.stop()
            if load.exact and not load.untold:
                refuse_difference(self.passes, load.fed)

    def score(
        self, continuations: Sequence[Continuation], recorder: Recorder, done: Callable[[int], None]
    ) -> list[Scored]:
        """Log-likelihoods of prompts' tokens: each answer is sent as the end of a prompt, and nothing follows."""
        recorder.continuations += len(continuations)
        requests = [(c.id, self._request(score_body(c))) for c in continuations]
        replies = self._replies(requests, SCORING_AT_ONCE, done)
        if self._server.ended:
            raise RunError(f"SGLang ended while it scored: {self._server.complaint()}")
        return [scored(c, reply) for c, reply in zip(continuations, replies, strict=True)]

    def close(self) -> None:
        """End the server."""
        self._server.stop()

    def _request(self, body: Mapping[str, Any]) -> bytes:
        return self.target.request("/generate", json.dumps({**body, **self._adapter}).encode())

    def _try(self) -> str:
        """What the answers say of their experts, from one small request.

        Raises:
            RunError: If the server does not answer, or all tokens are equally likely to it.
        """
        body = {
            "input_ids": [1, 2, 3],
            "sampling_params": {"temperature": 0, "max_new_tokens": 2, "ignore_eos": True},
            "return_logprob": True,
            "top_logprobs_num": 1,
            "return_routed_experts": self._spec.is_moe,
            **self._adapter,
        }
        reply = fetch(self.target, "/generate", body, timeout=REQUEST_SECONDS)
        if reply.error is not None or reply.status != 200:
            raise RunError(f"SGLang does not answer: {explained(reply)}")
        likeliest = json.loads(reply.body)["meta_info"]["output_top_logprobs"][0][0]
        if _all_equally_likely(likeliest[0], self._spec.vocab_size):
            raise RunError(
                "to SGLang all tokens are equally likely: it has not loaded this model's output projection; save the "
                "checkpoint with tie_word_embeddings false"
            )
        answer = decode_sglang_answer(reply)
        if not answer.routed_experts:
            return "not given" if self._spec.is_moe else "none: a dense model"
        experts = self._experts(answer)
        return f"not usable: {experts}" if isinstance(experts, str) else "exact, in each answer"

    def _experts(self, answer: Answer) -> npt.NDArray[np.uint16] | str:
        """The experts of the tokens that were fed, all but the last one of the answer; or why they are not known."""
        fed = (answer.input_tokens or 0) + (answer.output_tokens or 0) - 1
        return decode_routed_experts(answer.routed_experts[0], fed, self._spec)


def _all_equally_likely(likeliest: float, vocabulary: int) -> bool:
    """Whether the likeliest token is no likelier than any; that two tie says nothing, since logits of 16 bits often do.

    Args:
        likeliest: Natural logarithm of its probability.
        vocabulary: Tokens of the vocabulary.
    """
    return likeliest < -math.log(vocabulary) + 1e-3


def _step_tokens(server: Mapping[str, Any]) -> int | None:
    """Prompt tokens that SGLang feeds in one pass at most: a chunk, or as many prompts as it takes without chunks."""
    found = [server.get(name) for name in ("chunked_prefill_size", "max_prefill_tokens")]
    return next((size for size in found if isinstance(size, int) and size > 0), None)


def _misread(config: Mapping[str, Any], spec: ModelSpec) -> Iterator[str]:
    """What SGLang 0.5.23 would read otherwise than the checkpoint means it, and serve all the same."""
    width, heads, asked = (config.get(name) for name in ("hidden_size", "num_attention_heads", "head_dim"))
    if spec.architecture in HEADS_SPLIT_WIDTH and asked and asked * heads != width:
        yield f"SGLang takes the heads of {spec.architecture} to be {width} / {heads} wide, and these are {asked}"
    if spec.architecture in EVERY_LAYER_MIXED and len(spec.moe_layers) < len(spec.layers):
        yield f"SGLang takes every layer of {spec.architecture} to be a mixture of experts, and here some are dense"
