"""What a backend is: it opens an engine, and the engine generates and scores while a recorder keeps the facts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from moecap.attachment import Attachment
from moecap.errors import NotAvailableError, RunError
from moecap.models.parallelism import ONE_DEVICE, Parallelism
from moecap.models.spec import ModelSpec
from moecap.observations.recorder import Recorder, RequestRecord
from moecap.tokenizer import Message

if TYPE_CHECKING:
    from moecap.hardware.profile import HardwareProfile
    from moecap.in_process import InProcessModel
    from moecap.metrics.memory_layout import Layout
    from moecap.projection.record import ProjectionRecord

__all__ = [
    "CAPABILITIES",
    "GREEDY",
    "NATURAL",
    "PARALLEL",
    "SAMPLING",
    "Backend",
    "Continuation",
    "Engine",
    "EngineInfo",
    "EngineJob",
    "Generation",
    "Prompt",
    "Sampling",
    "Scored",
]

CAPABILITIES = frozenset(
    {
        "generate",
        "logprobs",
        "prompt_logprobs",
        "hidden_states",
        "router_probs",
        "gradients",
        "images",
        "audio",
        "routed_experts",
        "step_stats",
    }
)
"""What a backend may declare and a task may require."""


PARALLEL = frozenset({"tensor"})
"""Ways of splitting a model that a run counts and a backend may declare."""


SAMPLING = frozenset({"temperature", "top_p", "stop", "n", "natural_end"})
"""What a backend may declare that it can do beside greedy answers of an exact length; ``natural_end`` is not to ignore
the end-of-sequence token."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an answer is drawn and where it ends.

    Attributes:
        temperature: 0 is greedy.
        top_p: Share of the probability from which tokens are drawn, above 0; 1 is all of it.
        stop: Texts at which an answer ends.
        n: Answers to one prompt, its choices.
        exact: Whether an answer has exactly the tokens asked for (end-of-sequence is ignored), or at most as many.
        seed: Seed of what is drawn; a backend whose engine takes none leaves it out.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    n: int = 1
    exact: bool = True
    seed: int = 0

    @property
    def needs(self) -> frozenset[str]:
        """What of ``SAMPLING`` a backend must be able to do for it."""
        wanted = {
            "temperature": self.temperature > 0,
            "top_p": self.top_p < 1,
            "stop": bool(self.stop),
            "n": self.n > 1,
            "natural_end": not self.exact,
        }
        return frozenset(name for name, asked in wanted.items() if asked)


GREEDY = Sampling()
"""The most likely token each time, to the exact length."""

NATURAL = Sampling(exact=False)
"""The most likely token each time, to where the model ends its answer."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as token ids, with what is to be answered.

    Attributes:
        id: Its name.
        tokens: Its token ids. Of a later turn of a session these are only the new ones until it is sent: the engine
            puts the conversation so far before them.
        output_tokens: Tokens of each choice of the answer: exactly, or at most, as ``sampling.exact`` says.
        sampling: How the answer is drawn.
        session: Number of its session; ``None`` for a single request.
        turn: Number of the turn in its session.
        wait: Seconds between the end of the turn before and this one: the time of a tool or of a reader.
        parts: The conversation, user and engine in turns from the user on, whose parts joined are ``tokens``; empty for
            the first turn and for a single request.
        messages: The conversation as roles and contents, from which ``tokens`` were made with the model's own chat
            template; empty for a prompt without one. A server that applies the template itself is sent these.
        attachments: What the last message shows beside its text, whose tokens only the server can count; a backend
            that declares ``images`` or ``audio`` sends it as a chat.
        top_logprobs: Of how many tokens that are likeliest at the start of the answer to such a chat the
            log-probabilities are wanted; 0 for none.
    """

    id: str
    tokens: tuple[int, ...]
    output_tokens: int
    sampling: Sampling = GREEDY
    session: int | None = None
    turn: int | None = None
    wait: float = 0.0
    parts: tuple[tuple[int, ...], ...] = ()
    messages: tuple[Message, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    top_logprobs: int = 0


@dataclass(frozen=True, slots=True)
class Generation:
    """The answer to a prompt.

    Attributes:
        prompt_id: The prompt's name.
        tokens: Token ids of the answer, of its first choice; empty where the engine gives text only.
        text: The answer's text without reasoning that the engine gives apart and without the stop text that ended it;
            ``None`` where the engine gives token ids only.
        finish_reason: Why it ended: ``stop`` (the model's end or a stop text), ``length`` (the most tokens asked for),
            or the engine's own word for something else; ``None`` where that is not known.
        error: Why there is no whole answer.
        request: Number of its request in the recorder; ``None`` for a prompt that was not sent.
    """

    prompt_id: str
    tokens: tuple[int, ...]
    text: str | None = None
    finish_reason: str | None = None
    error: str | None = None
    request: int | None = None

    @classmethod
    def of(cls, record: RequestRecord) -> Generation:
        """The answer that a request's record holds."""
        return cls(record.prompt_id, record.answer, record.text, record.finish_reason, record.error, record.request)


@dataclass(frozen=True, slots=True)
class Continuation:
    """A given answer to score: log-likelihood of ``target`` after ``context``, both token ids and not empty.

    Attributes:
        id: Its name.
        context: What stands before it.
        target: The answer.
        mass_of: Token ids whose joint probability is wanted before each token of the answer, too; an engine that does
            not see the whole vocabulary leaves it out.
    """

    id: str
    context: tuple[int, ...]
    target: tuple[int, ...]
    mass_of: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Scored:
    """The score of a continuation: natural-log likelihood, and whether greedy decoding would have produced it.

    Attributes:
        log_likelihood: Of the whole answer, nats.
        is_greedy: Whether greedy decoding would have produced it.
        tokens: The likelihood of each of its tokens after those before it, nats, [target]; their sum is that of the
            whole. Empty from an engine that gives only the sum.
        mass: Log-probability, in the place of each token, that it is one of ``mass_of``, nats, [target]; empty where
            that was not asked for or cannot be told.

    Raises:
        RunError: If the likelihood is no finite number.
    """

    log_likelihood: float
    is_greedy: bool
    tokens: tuple[float, ...] = ()
    mass: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not isfinite(self.log_likelihood):
            raise RunError(
                f"the engine gives {self.log_likelihood} as the log-likelihood of an answer: the model overflows its "
                "number format, or its weights are damaged; take another --precision, or fetch the model again"
            )


@dataclass(frozen=True, slots=True)
class EngineJob:
    """What an engine is opened for.

    Attributes:
        model: Folder with the checkpoint; an empty path for backends that project, which need none.
        spec: The model's accounting.
        device: ``cpu`` or ``cuda``.
        dtype: What the backend's ``dtype`` gave: ``fp32``, ``bf16``, ``fp16``, or of a GGUF file such as ``gguf-q8_0``.
        threads: Processor threads to use.
        seed: Seed of everything drawn at random.
        arguments: The user's engine arguments.
        progress: Called with one line of progress.
        log: File for what a server of our own prints.
        concurrency: Requests that will be in flight at once.
        longest: Tokens of the longest sequence of the run, prompt and answer.
        prefix_cache: Whether prompts may be served from a prefix cache.
        endpoint: URL of the server to attach to, for backends that attach.
        parallelism: How the model is split over ranks.
        client_processes: How many processes send requests to a server; ``auto`` as many as the load needs.
        streams: Requests whose answers arrive at once, for which the client is calibrated: those in flight in a closed
            loop, those that its times of arrival lead to in an open one.
        sampling: How the answers of the load are drawn; each of its choices is a sequence of its own.
        hardware: The profile of one device; only given to backends that project, as are those that follow.
        activations: Number format of what passes from layer to layer.
        projection: What the projection rests on.
        layout: Which memory holds what, where that is not only the devices' own.
    """

    model: Path
    spec: ModelSpec
    device: str
    dtype: str
    threads: int
    seed: int
    arguments: Mapping[str, str]
    progress: Callable[[str], None]
    log: Path = Path("server.log")
    concurrency: int = 1
    longest: int = 512
    prefix_cache: bool = False
    endpoint: str | None = None
    parallelism: Parallelism = ONE_DEVICE
    client_processes: int | Literal["auto"] = 1
    streams: int = 1
    sampling: Sampling = GREEDY
    hardware: HardwareProfile | None = None
    activations: str = "bf16"
    projection: ProjectionRecord | None = None
    layout: Layout | None = None


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine says of itself.

    Attributes:
        name: The backend's name.
        version: The engine's version.
        device: Where it computes.
        weight_dtype: Format of the weights in memory.
        kv_dtype: Format of the KV cache.
        compute_dtype: Format of the matrix products.
        timer: ``host`` or ``device``: whose clock measured the steps; ``none`` where the engine records none.
        batching: ``static`` or ``continuous``.
        details: More facts that a reader would want, by name.
        client_chunks_per_second: What the load generator can take here, for engines behind HTTP.
        client_processes: How many processes of it send.
        step_tokens: Tokens that it feeds in one step at most, prompts in parts beside what decodes; ``None`` where that
            is not known or the engine records its steps.
    """

    name: str
    version: str
    device: str
    weight_dtype: str
    kv_dtype: str
    compute_dtype: str
    timer: str
    batching: str
    details: Mapping[str, str] = field(default_factory=dict)
    client_chunks_per_second: float | None = None
    client_processes: int | None = None
    step_tokens: int | None = None


class Engine(ABC):
    """A loaded model that answers; a context manager that frees it."""

    info: EngineInfo

    @abstractmethod
    def generate(
        self,
        prompts: Sequence[Prompt],
        concurrency: int,
        recorder: Recorder,
        done: Callable[[int], None],
        arrivals: Sequence[float] | None = None,
    ) -> list[Generation]:
        """Answer prompts with ``concurrency`` of them in flight and record requests, chunks and steps.

        Args:
            prompts: The prompts, in the order in which they are sent; the turns of a session, which only backends that
                declare ``sessions`` are given, stand one after the other.
            concurrency: How many prompts (or sessions) are in flight (closed loop).
            recorder: Keeps the facts.
            done: Hears how many answers are complete.
            arrivals: Seconds from the start at which each prompt (or session) is sent instead (open loop), ascending;
                only given to backends that declare ``open_loop``.

        Returns:
            The answers, in the order of the prompts.
        """

    @abstractmethod
    def score(
        self, continuations: Sequence[Continuation], recorder: Recorder, done: Callable[[int], None]
    ) -> list[Scored]:
        """Log-likelihoods of given answers, in the order given; ``done`` hears how many are complete."""

    def in_process(self) -> InProcessModel:
        """The model itself, from a backend that declares ``hidden_states`` and ``gradients``."""
        raise NotAvailableError(f"{self.info.name} holds its model in another process; take --backend transformers")

    @abstractmethod
    def close(self) -> None:
        """Free the model."""

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Backend(ABC):
    """A way to run models. Subclasses are registered under the entry-point group ``moecap.backends``."""

    name: ClassVar[str]
    capabilities: ClassVar[frozenset[str]]
    summary: ClassVar[str]
    open_loop: ClassVar[bool] = False
    """Whether requests can arrive at their own times (``--rate``) and not only in a fixed number at once."""
    sessions: ClassVar[bool] = False
    """Whether a prompt can follow the answer to the one before it (several turns); engines behind HTTP do."""
    served: ClassVar[bool] = False
    """Whether its engine is behind HTTP, so that several client processes can share the sending."""
    sampling: ClassVar[frozenset[str]] = frozenset()
    """What of ``SAMPLING`` it can do."""
    attaches: ClassVar[bool] = False
    """Whether it measures a server that runs already (``--endpoint``)."""
    projects: ClassVar[bool] = False
    """Whether it computes what hardware would do, and runs and measures nothing."""
    parallel: ClassVar[frozenset[str]] = frozenset()
    """In which of ``PARALLEL`` it can split a model over ranks."""
    quantised: ClassVar[bool] = False
    """Whether it holds a quantised checkpoint in the checkpoint's own formats, and not all of it in one format."""
    templates: ClassVar[bool] = False
    """Whether its engine applies the model's chat template to all that it is sent, and is sent messages alone."""
    offloads: ClassVar[bool] = False
    """Whether its engine can keep part of a model outside the accelerator's memory, as a ``--layout`` then declares."""

    @classmethod
    @abstractmethod
    def unavailable(cls) -> str | None:
        """Why this backend cannot be used here, with the remedy, or ``None`` where it can; imports nothing heavy."""

    @classmethod
    @abstractmethod
    def check(cls, model: Path, spec: ModelSpec, device: str) -> None:
        """Refuse a checkpoint that this backend cannot load, before anything starts.

        Args:
            model: Folder with the checkpoint.
            spec: Its accounting, in the formats in which it would run.
            device: ``cpu`` or ``cuda``.

        Raises:
            UsageError: With the reason in one line.
        """

    @classmethod
    @abstractmethod
    def dtype(cls, spec: ModelSpec, device: str, precision: str, host_flags: frozenset[str]) -> str:
        """The number format in which this backend will run the model.

        Args:
            spec: The model.
            device: ``cpu`` or ``cuda``.
            precision: What the user asked for; ``auto`` leaves the choice to the backend.
            host_flags: Features of the processor (``avx512_bf16``, ``amx_bf16``, ...).
        """

    @classmethod
    def variant(cls, arguments: Mapping[str, str]) -> type[Backend]:
        """The class that runs with the user's engine arguments, where a mode of this backend has one of its own.

        Args:
            arguments: The engine arguments.
        """
        return cls

    @classmethod
    def served_config(cls, config: Mapping[str, Any], arguments: Mapping[str, str]) -> Mapping[str, Any]:
        """The configuration of the model as the user's engine arguments have it served, such as with an adapter.

        Args:
            config: The model's ``config.json``.
            arguments: The engine arguments.

        Raises:
            UsageError: If they ask for what is not counted.
        """
        return config

    @abstractmethod
    def open(self, job: EngineJob) -> Engine:
        """Load the model.

        Raises:
            MoecapError: With the engine's own message in one line.
        """


def refuse_unknown(arguments: Mapping[str, Any], known: Sequence[str], backend: str) -> None:
    """Refuse an engine argument that a backend does not know.

    Raises:
        UnknownNameError: With the arguments that it knows.
    """
    from moecap.errors import UnknownNameError

    for name in arguments:
        if name not in known:
            raise UnknownNameError(f"argument of the {backend} backend", name, known)
