"""Any server with an OpenAI-compatible API that runs already: attached to, measured from outside, left as it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from moecap.backend import Backend, Continuation, Engine, EngineInfo, EngineJob, Prompt, Scored, refuse_unknown
from moecap.errors import BadInputError, NotAvailableError, RunError
from moecap.load.connection import Target
from moecap.models.spec import ModelSpec
from moecap.observations.recorder import Recorder
from moecap.tokenizer import Tokenizer
from moecap_backends.served import ServedEngine, explained, fetch, key_headers

__all__ = ["OpenaiBackend"]

ARGUMENTS = ("model", "api", "timeout")
APIS = ("completions", "chat")
TIMEOUT_SECONDS = 600.0


class OpenaiBackend(Backend):
    """An endpoint."""

    name: ClassVar[str] = "openai"
    capabilities: ClassVar[frozenset[str]] = frozenset({"generate"})
    open_loop: ClassVar[bool] = True
    attaches: ClassVar[bool] = True
    summary: ClassVar[str] = "any OpenAI-compatible server that runs already (--endpoint URL)"

    @classmethod
    def unavailable(cls) -> str | None:
        """Always usable: it needs an endpoint and no package."""
        return None

    @classmethod
    def check(cls, model: Path, spec: ModelSpec) -> None:
        """The server has the weights; nothing is to be checked here."""

    @classmethod
    def dtype(cls, spec: ModelSpec, device: str, precision: str, host_flags: frozenset[str]) -> str:
        """What the user says that the server runs, else the model's own format."""
        return spec.weight_dtypes["embedding"] if precision == "auto" else precision

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
    """

    kind: str
    version: str
    extras: dict[str, Any]


def detect_server(target: Target) -> Server:
    """Ask the paths by which servers show what they are."""
    found = _json(target, "/version")
    if isinstance(found, dict) and isinstance(found.get("version"), str) and _owner(target) == "vllm":
        return Server("vllm", found["version"], {"ignore_eos": True, "return_token_ids": True})
    found = _json(target, "/props")
    if isinstance(found, dict) and "build_info" in found:
        return Server("llamacpp", str(found["build_info"]), {"ignore_eos": True, "cache_prompt": False})
    found = _json(target, "/server_info")
    if isinstance(found, dict) and "version" in found:
        return Server("sglang", str(found["version"]), {"ignore_eos": True})
    return Server("unknown", "unknown", {})


def _owner(target: Target) -> str | None:
    """Who the list of models says that they belong to."""
    try:
        return str(_json(target, "/v1/models")["data"][0]["owned_by"])
    except (KeyError, IndexError, TypeError):
        return None


class OpenaiEngine(ServedEngine):
    """An attached server."""

    def __init__(self, job: EngineJob) -> None:
        if job.endpoint is None:
            raise BadInputError("backend 'openai' needs --endpoint URL, the server to measure")
        target = Target.parse(job.endpoint.rstrip("/").removesuffix("/v1"), key_headers())
        self._api = job.arguments.get("api", "completions")
        if self._api not in APIS:
            raise BadInputError(f"engine argument api={self._api}: not one of {', '.join(APIS)}")
        super().__init__(target, "", _seconds(job.arguments.get("timeout")), job.concurrency)
        self.model = _served_name(target, job.arguments.get("model"))
        self._server = detect_server(target)
        self._tokenizer = Tokenizer(job.model) if self._api == "chat" else None
        self.info = EngineInfo(
            name="openai",
            version=self._server.version,
            device=job.device,
            weight_dtype=job.dtype,
            kv_dtype=job.dtype,
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
        )

    def render(self, prompt: Prompt, key: str) -> bytes:
        """A streamed completion of token ids, or a chat with the prompt's text."""
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": prompt.output_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self._server.extras,
        }
        if self._tokenizer is None:
            body["prompt"] = list(prompt.tokens)
        else:
            body["messages"] = [{"role": "user", "content": self._tokenizer.decode(prompt.tokens)}]
        path = "/v1/completions" if self._tokenizer is None else "/v1/chat/completions"
        return self.target.request(path, json.dumps(body).encode())

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


def _seconds(text: str | None) -> float:
    try:
        seconds = TIMEOUT_SECONDS if text is None else float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise BadInputError(f"engine argument timeout={text}: not a positive number of seconds")
    return seconds
