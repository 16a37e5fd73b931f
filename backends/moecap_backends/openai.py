"""Any server with an OpenAI-compatible API that runs already: attached to, measured from outside, left as it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from moecap.attachment import content_parts
from moecap.backend import (
    SAMPLING,
    Backend,
    Continuation,
    Engine,
    EngineInfo,
    EngineJob,
    Prompt,
    Scored,
    refuse_unknown,
)
from moecap.errors import BadInputError, NotAvailableError, RunError
from moecap.load.answers import Answer, decode_answer
from moecap.load.connection import Reply, Target
from moecap.models.spec import ModelSpec
from moecap.observations.recorder import Recorder, RequestRecord
from moecap.tokenizer import Tokenizer
from moecap_backends.routed_experts import decode_routed_experts
from moecap_backends.served import ServedEngine, explained, fetch, key_headers, sampling_fields
from moecap_backends.vllm_native import gives_routed_experts, native_request

__all__ = ["OpenaiBackend"]

ARGUMENTS = ("model", "api", "timeout", "step_tokens", "kv-cache-dtype")
APIS = ("completions", "chat", "generate")
TIMEOUT_SECONDS = 600.0
PLAIN = {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
"""Fields of vLLM and SGLang that, left out, take the place of what is asked with the model's own sampling."""
CAPTURES = {
    "sglang": "SGLang, beside each answer (its server was started with --enable-return-routed-experts)",
    "vllm": "vLLM, in each answer (its server was started with --enable-return-routed-experts --enable-scale-out)",
}
"""Servers that tell the routed experts of an answer."""


class OpenaiBackend(Backend):
    """An endpoint."""

    name: ClassVar[str] = "openai"
    capabilities: ClassVar[frozenset[str]] = frozenset({"generate", "images", "audio"})
    open_loop: ClassVar[bool] = True
    sessions: ClassVar[bool] = True
    served: ClassVar[bool] = True
    sampling: ClassVar[frozenset[str]] = SAMPLING
    attaches: ClassVar[bool] = True
    parallel: ClassVar[frozenset[str]] = frozenset({"tensor"})
    quantised: ClassVar[bool] = True
    offloads: ClassVar[bool] = True
    summary: ClassVar[str] = "any OpenAI-compatible server that runs already (--endpoint URL)"

    @classmethod
    def unavailable(cls) -> str | None:
        """Always usable: it needs an endpoint and no package."""
        return None

    @classmethod
    def check(cls, model: Path, spec: ModelSpec, device: str) -> None:
        """The server has the weights; nothing is to be checked here."""

    @classmethod
    def dtype(cls, spec: ModelSpec, device: str, precision: str, host_flags: frozenset[str]) -> str:
        """What the user says that the server runs, else the model's own format."""
        return spec.weight_dtypes["embedding"] if precision == "auto" else precision

    @classmethod
    def variant(cls, arguments: Mapping[str, str]) -> type[Backend]:
        """One whose server applies the chat template, where its API for chats is asked for."""
        return _ChatBackend if arguments.get("api") == "chat" else cls

    def open(self, job: EngineJob) -> Engine:
        """Attach to the server."""
        refuse_unknown(job.arguments, ARGUMENTS, self.name)
        return OpenaiEngine(job)


@dataclass(frozen=True, slots=True)
class Server:
    """Which server answers behind an endpoint.

    Attributes:
        kind: ``vllm``, ``sglang``, ``llamacpp`` or ``unknown``.
        version: Its version as it says, or ``unknown``.
        extras: Fields of a request that make it answer exactly the tokens asked for, and say which.
        headers: Headers of a request.
    """

    kind: str
    version: str
    extras: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


def detect_server(target: Target) -> Server:
    """Ask the paths by which servers show what they are."""
    found = _json(target, "/version")
    if isinstance(found, dict) and isinstance(found.get("version"), str) and _owner(target) == "vllm":
        return Server("vllm", found["version"], {"ignore_eos": True, "return_token_ids": True, **PLAIN})
    found = _json(target, "/props")
    if isinstance(found, dict) and "build_info" in found:
        # its own defaults would draw from the 40 likeliest tokens, and serve prompts from its cache
        fields = {"ignore_eos": True, "cache_prompt": False, "samplers": ["top_p", "temperature"], "top_p": 1.0}
        # it closes a connection after a streamed answer, though it says that it keeps it
        return Server("llamacpp", str(found["build_info"]), fields, {"Connection": "close"})
    found = _json(target, "/server_info")
    if isinstance(found, dict) and "version" in found:
        routed = {"return_routed_experts": True} if found.get("enable_return_routed_experts") else {}
        return Server("sglang", str(found["version"]), {"ignore_eos": True, **PLAIN, **routed})
    return Server("unknown", "unknown", {})


def _owner(target: Target) -> str | None:
    """Who the list of models says that they belong to."""
    try:
        return str(_json(target, "/v1/models")["data"][0]["owned_by"])
    except (KeyError, IndexError, TypeError):
        return None


class _ChatBackend(OpenaiBackend):
    """An endpoint through its API for chats."""

    templates: ClassVar[bool] = True


class OpenaiEngine(ServedEngine):
    """An attached server."""

    def __init__(self, job: EngineJob) -> None:
        if job.endpoint is None:
            raise BadInputError("backend 'openai' needs --endpoint URL, the server to measure")
        target = Target.parse(job.endpoint.rstrip("/").removesuffix("/v1"), key_headers())
        api = job.arguments.get("api")
        if api is not None and api not in APIS:
            raise BadInputError(f"engine argument api={api}: not one of {', '.join(APIS)}")
        super().__init__(job, target, "", _seconds(job.arguments.get("timeout")))
        self.model = _served_name(target, job.arguments.get("model"))
        self._server = detect_server(target)
        native = api in (None, "generate") and self._server.kind == "vllm" and gives_routed_experts(target, self.model)
        if api == "generate" and not native:
            raise BadInputError(
                "engine argument api=generate: the server is no vLLM that was started with --enable-scale-out "
                "--enable-return-routed-experts; leave it out"
            )
        self._api = "generate" if native else api or "completions"
        self._spec, self._prefix_cache = job.spec, job.prefix_cache
        self.tokenizer = Tokenizer(job.model)
        self.info = EngineInfo(
            name="openai",
            version=self._server.version,
            device=job.device,
            weight_dtype=job.spec.formats,
            kv_dtype=job.spec.kv_dtype,
            compute_dtype=job.dtype,
            timer="none",
            batching="continuous",
            details={
                "server": self._server.kind,
                "api": self._api,
                "served_name": self.model,
                "exact_lengths": str(bool(self._server.extras)),
            },
            client_chunks_per_second=self.client.chunks_per_second,
            client_processes=self.client.processes,
            step_tokens=_step_tokens(job.arguments.get("step_tokens")),
        )

    def render(self, prompt: Prompt, key: str) -> bytes:
        """A streamed completion of token ids, or a chat: the texts of the conversation, with what it shows."""
        if self._api == "generate" and not prompt.attachments:
            return native_request(self.target, self.model, prompt)
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": prompt.output_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self._server.extras,
            **sampling_fields(prompt.sampling),
        }
        if not prompt.sampling.exact:
            body.pop("ignore_eos", None)
        if self._prefix_cache:
            body.pop("cache_prompt", None)
        if self._api == "completions" and not prompt.attachments:
            body["prompt"] = list(prompt.tokens)
            return self.target.request("/v1/completions", json.dumps(body).encode(), self._server.headers)
        assert self.tokenizer is not None
        said = prompt.messages or [
            ("assistant" if place % 2 else "user", self.tokenizer.decode(part))
            for place, part in enumerate(prompt.parts or (prompt.tokens,))
        ]
        messages: list[dict[str, Any]] = [{"role": role, "content": content} for role, content in said]
        if prompt.attachments:
            messages[-1]["content"] = content_parts(messages[-1]["content"], prompt.attachments)
        body["messages"] = messages
        if prompt.top_logprobs:
            body |= {"logprobs": True, "top_logprobs": prompt.top_logprobs}
        return self.target.request("/v1/chat/completions", json.dumps(body).encode(), self._server.headers)

    def decode(self, reply: Reply) -> Answer:
        """The answers of an OpenAI-compatible server; of llama.cpp each choice counts its own tokens."""
        return decode_answer(reply, usage_a_choice=self._server.kind == "llamacpp")

    def keep_experts(self, record: RequestRecord, answer: Answer, recorder: Recorder) -> None:
        """Hand over the routed experts that came with an answer, if they are those of this model."""
        if self._server.kind not in CAPTURES or record.status != "completed" or len(answer.routed_experts) != 1:
            return
        fed = (answer.input_tokens or 0) + (answer.output_tokens or 0) - 1
        experts = decode_routed_experts(answer.routed_experts[0], fed, self._spec)
        if not isinstance(experts, str):
            recorder.capture = CAPTURES[self._server.kind]
            recorder.routes(record, experts)

    def score(
        self, continuations: Sequence[Continuation], recorder: Recorder, done: Callable[[int], None]
    ) -> list[Scored]:
        """Not a capability of an endpoint in general."""
        raise RunError("an endpoint gives no log-likelihood of a given answer; use --task none")

    def close(self) -> None:
        """The server is not ours: it goes on."""


def _served_name(target: Target, wanted: str | None) -> str:
    """The name under which the server has the model: the one that was asked for, or its only one."""
    reply = fetch(target, "/v1/models")
    if reply.error is not None:
        raise NotAvailableError(f"endpoint {target.name}: {reply.error}; is the server running there?")
    if reply.status != 200:
        raise NotAvailableError(
            f"endpoint {target.name}: {explained(reply)} for /v1/models; set MOECAP_API_KEY if it needs a key"
        )
    try:
        names = [str(entry["id"]) for entry in json.loads(reply.body)["data"]]
    except (ValueError, KeyError, TypeError):
        raise NotAvailableError(
            f"endpoint {target.name}: /v1/models is not OpenAI's list; give the server's base URL"
        ) from None
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted in names and wanted is not None:
        return wanted
    served = ", ".join(names) or "nothing"
    asked = "several models are served" if wanted is None else f"no model {wanted!r} is served"
    raise BadInputError(f"endpoint {target.name}: {asked}; it serves {served}; choose one with --engine-arg model=NAME")


def _json(target: Target, path: str) -> Any:
    reply = fetch(target, path, timeout=10)
    if reply.error is not None or reply.status != 200:
        return None
    try:
        return json.loads(reply.body)
    except ValueError:
        return None


def _step_tokens(text: str | None) -> int | None:
    """What the user says of the server's largest step (vLLM: ``max-num-batched-tokens``)."""
    if text is None:
        return None
    if not text.isdecimal() or not 0 < int(text) < 1 << 31:
        raise BadInputError(f"engine argument step_tokens={text}: not a positive number of tokens")
    return int(text)


def _seconds(text: str | None) -> float:
    try:
        seconds = TIMEOUT_SECONDS if text is None else float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise BadInputError(f"engine argument timeout={text}: not a positive number of seconds")
    return seconds
