"""Continuous batching of transformers in this process: its manager schedules, every forward pass is recorded.

The manager of transformers (``init_continuous_batching``) runs its loop on a thread of its own. Hooks around the
forward pass of the model time it and read from the batch which sequences it feeds; that is compared with what each
sequence was fed so far and with the tokens of the pass, and a run in which the two differ ends. Neither padding, graphs
nor a second batch in flight are used, so a pass feeds exactly the tokens of its batch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any, ClassVar

from moecap.backend import Engine, EngineJob, Generation, Prompt, refuse_unknown
from moecap.errors import BadInputError, NotAvailableError, RunError
from moecap.observations.recorder import Recorder, RequestRecord
from moecap.observations.schema import Phase
from moecap_backends.batch_manager import open_manager
from moecap_backends.transformers import ARGUMENTS, TransformersBackend, TransformersEngine

__all__ = ["ContinuousBackend"]

OWN_ARGUMENTS = ("max_batch_tokens", "max_requests")
BATCH_TOKENS = 512
TOLD_SECONDS = 0.2


class ContinuousBackend(TransformersBackend):
    """The transformers backend with ``batching=continuous``."""

    open_loop: ClassVar[bool] = True
    capabilities: ClassVar[frozenset[str]] = TransformersBackend.capabilities - {"hidden_states", "gradients"}

    def open(self, job: EngineJob) -> Engine:
        """Load the model and start the manager."""
        refuse_unknown(job.arguments, (*ARGUMENTS, *OWN_ARGUMENTS), self.name)
        return ContinuousEngine(job)


@dataclass(slots=True)
class _Step:
    """A pass that is running or has ended, until it is recorded."""

    sequences: list[tuple[RequestRecord, int, int]]
    logits_tokens: int
    kernel: Any
    start_ns: int = 0
    duration_ns: int = 0
    events: tuple[Any, ...] = ()


@dataclass(slots=True)
class _Load:
    """One call of ``generate``.

    Attributes:
        prompts: What is to be answered.
        recorder: Keeps the facts.
        following: Prompts that are sent as places become free.
        records: The requests by the manager's id.
        numbers: The number of each request's prompt.
        fed: Tokens in the cache of each request so far.
        gone: How many have ended.
        ended: Set when nothing is left to wait for.
        stopping: Whether what ends now was ended by an interruption.
    """

    prompts: Sequence[Prompt]
    recorder: Recorder
    following: Iterator[int]
    records: dict[str, RequestRecord] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    fed: dict[str, int] = field(default_factory=dict)
    gone: int = 0
    ended: threading.Event = field(default_factory=threading.Event)
    stopping: bool = False


class ContinuousEngine(TransformersEngine):
    """A model whose requests join and leave the batch at every pass."""

    def __init__(self, job: EngineJob) -> None:
        options = {
            name: _positive(job.arguments.get(name), default, name)
            for name, default in (("max_batch_tokens", BATCH_TOKENS), ("max_requests", job.concurrency))
        }
        super().__init__(job)
        self._shares = False  # the manager's attention knows no cache but its own
        self._load: _Load | None = None
        self._step: _Step | None = None
        self._problem: Exception | None = None
        self._count = 0
        self._numbering = threading.Lock()
        self._manager: Any = None
        self._hooks: list[Any] = []
        self._clock = time.monotonic_ns() - time.perf_counter_ns()  # the manager stamps with the second
        try:
            self._manager = open_manager(self._model, job, options, self._deliver)
            self._hooks = [
                self._model.register_forward_pre_hook(self._before, with_kwargs=True),
                self._model.register_forward_hook(self._after, with_kwargs=True),
            ]
            self._manager.start()
            self._try(job)
        except BaseException:
            self.close()
            raise
        resolved = self._manager.continuous_batching_config
        self.info = replace(
            self.info,
            batching="continuous",
            details={
                **self.info.details,
                "attention": str(self._model.config._attn_implementation),
                "max_batch_tokens": str(resolved.max_batch_tokens),
                "max_requests": str(resolved.max_requests_per_batch),
                "cache_tokens": str(resolved.num_blocks * resolved.page_size),
                "prefix_sharing": str(bool(self._manager.batch_processor.cache.use_prefix_sharing)).lower(),
            },
        )

    def _try(self, job: EngineJob) -> None:
        """Answer one prompt, since the manager's cache does not hold the keys and values of every attention.

        Raises:
            NotAvailableError: If this model cannot be batched that way.
        """
        try:
            self.generate([Prompt("trial", (0, 0), 2)], 1, Recorder(), lambda _done: None)
        except RunError as error:
            raise NotAvailableError(f"{job.model.name}: {error}; leave batching=continuous out") from None

    def close(self) -> None:
        """End the manager and free the model."""
        for hook in self._hooks:
            hook.remove()
        self._stop()
        super().close()

    def generate(
        self,
        prompts: Sequence[Prompt],
        concurrency: int,
        recorder: Recorder,
        done: Callable[[int], None],
        arrivals: Sequence[float] | None = None,
    ) -> list[Generation]:
        """Answer prompts with ``concurrency`` of them in flight, or each from its time on.

        In a closed loop the thread of the passes sends the next prompt in the moment in which an answer has ended, so
        the next pass can feed it.
        """
        recorder.capture = "forward hooks on the routers" if self._captures else None
        self._load = load = _Load(prompts, recorder, iter(range(len(prompts))))
        try:
            with recorder.ending_requests():
                try:
                    self._send_all(load, concurrency, arrivals, done)
                    self._await(load, done)
                except BaseException:
                    load.stopping = True
                    self._stop()
                    raise
                finally:
                    self._finish_step()
        finally:
            self._load = None
        done(load.gone)
        answered = {load.numbers[name]: Generation.of(record) for name, record in load.records.items()}
        return [answered.get(i, Generation(p.id, ())) for i, p in enumerate(prompts)]

    def _send_all(
        self, load: _Load, concurrency: int, arrivals: Sequence[float] | None, done: Callable[[int], None]
    ) -> None:
        begin = time.monotonic_ns()
        if arrivals is None:
            for _ in range(min(concurrency, len(load.prompts))):
                self._send(load, next(load.following), begin)
            return
        load.following = iter(())
        for number, due in enumerate(arrivals):
            scheduled = begin + round(due * 1e9)
            while (left := scheduled - time.monotonic_ns()) > 0 and self._problem is None:
                time.sleep(min(left * 1e-9, TOLD_SECONDS))
                done(load.gone)
            self._send(load, number, scheduled)

    def _send(self, load: _Load, number: int, scheduled_ns: int) -> None:
        prompt = load.prompts[number]
        with self._numbering:  # an answer may end, and the next prompt be sent, while the first ones are sent
            name = f"moecap-{self._count}"
            self._count += 1
            record = load.recorder.send(
                prompt.id, len(prompt.tokens), prompt.output_tokens, scheduled_ns, time.monotonic_ns()
            )
        record.input_tokens = record.input_tokens_asked
        load.records[name], load.numbers[name] = record, number
        taken = self._manager.add_request(
            list(prompt.tokens),
            request_id=name,
            max_new_tokens=prompt.output_tokens,
            record_timestamps=True,
            streaming=bool(prompt.sampling.stop),
            eos_token_id=-1 if prompt.sampling.exact else [*self._ends.tokens],
        )
        if taken is None:
            raise self._problem or RunError("transformers' continuous batching takes no more requests; run it again")

    def _await(self, load: _Load, done: Callable[[int], None]) -> None:
        while not load.ended.wait(TOLD_SECONDS):
            done(load.gone)
            if not self._manager.is_running():
                raise self._problem or RunError("transformers' continuous batching ended during the load")
        if self._problem is not None:
            raise self._problem

    def _deliver(self, output: Any) -> None:
        """An answer that has ended, or one that has grown and may end at a text; on the thread of the passes."""
        load = self._load
        if load is None:
            return
        prompt = load.prompts[load.numbers[output.request_id]]
        if not output.is_finished() and not self._end_at_text(prompt, output):
            return
        record = load.records[output.request_id]
        times = [round(t * 1e9) + self._clock for t in output.timestamps or ()]
        load.recorder.chunks(record.request, times, range(1, len(times) + 1), ["content"] * len(times))
        if times:
            record.first_token_ns, record.last_token_ns = times[0], times[-1]
            record.output_tokens = len(times)
        now = times[-1] if times else time.monotonic_ns()
        if output.error is None:
            answer = tuple(output.generated_tokens)
            record.complete(answer, now, self._ends.reason(prompt, answer))
        elif not load.stopping:
            reason = output.error.splitlines()[0]
            record.status, record.error, record.ended_ns = "failed", reason, now
            self._problem = self._problem or RunError(f"transformers' continuous batching failed: {reason}")
        load.gone += 1
        number = None if load.stopping or self._problem else next(load.following, None)
        if number is not None:
            self._send(load, number, now)
        elif load.gone == len(load.prompts) or self._problem is not None:
            load.ended.set()

    def _end_at_text(self, prompt: Prompt, output: Any) -> bool:
        """End a growing answer that has come to a stop text, so that the next pass does not feed it."""
        if self._ends.reason(prompt, output.generated_tokens) != "stop":
            return False
        scheduler = self._manager.batch_processor.scheduler
        state = scheduler.active_requests[output.request_id]
        state.status = type(state.status).FINISHED
        scheduler.finish_request(output.request_id)
        scheduler.block_new_requests = False
        return True

    def _before(self, _model: Any, _arguments: Any, inputs: Mapping[str, Any]) -> None:
        """Note what the pass that begins feeds; passes that are not the manager's are left alone."""
        load = self._load
        if "cu_seq_lens_q" not in inputs or load is None:
            return
        try:
            self._finish_step()
            tokens = inputs["input_ids"].numel()
            step = _Step(*self._fed(load, tokens), self._one_token.around(tokens))
            step.kernel.__enter__()
        except Exception as error:  # kept, since the manager's thread would only log it
            self._problem = error
            raise
        self._step = step
        if self._device == "cuda":
            step.events = tuple(self._torch.cuda.Event(enable_timing=True) for _ in range(2))
        step.start_ns = time.monotonic_ns()
        if step.events:
            step.events[0].record()

    def _after(self, _model: Any, _arguments: Any, inputs: Mapping[str, Any], _output: Any) -> None:
        step = self._step
        if step is None or "cu_seq_lens_q" not in inputs:
            return
        if step.events:
            step.events[1].record()
        step.duration_ns = time.monotonic_ns() - step.start_ns
        step.kernel.__exit__(None, None, None)

    def _fed(self, load: _Load, tokens: int) -> tuple[list[tuple[RequestRecord, int, int]], int]:
        """The batch's sequences (request, entries before, tokens fed) and how many of them get a token.

        Raises:
            RunError: If they do not follow from what the sequences were fed before.
        """
        rows, new_tokens, total = [], 0, 0
        for future in self._manager.batch_processor.inputs_and_outputs.requests_in_batch:
            name, new = future.state.request_id, int(future.query_length)
            start = int(future.state.position_offset) - new
            record = load.records[name]
            if name not in load.fed:
                record.cached_tokens = load.fed[name] = start
            if load.fed[name] != start:
                raise RunError(
                    f"transformers dropped the cache of a sequence and fed it again ({load.fed[name]} entries, now "
                    f"{start}), as its cache is too small for this load; lower the load"
                )
            load.fed[name] = start + new
            rows.append((record, start, new))
            new_tokens, total = new_tokens + bool(future.has_new_token), total + new
        if total != tokens:
            raise RunError(
                f"transformers {version('transformers')} fed {tokens} tokens in a pass whose batch has {total}: its "
                "passes cannot be recorded exactly; use static batches"
            )
        return rows, new_tokens

    def _finish_step(self) -> None:
        """Record the pass that has ended, of which the device is done."""
        step, load, self._step = self._step, self._load, None
        if step is None or load is None:
            return
        if step.events:
            step.events[1].synchronize()
            step.duration_ns = round(step.events[0].elapsed_time(step.events[1]) * 1e6)
        if not step.duration_ns:  # the pass failed
            return
        tokens = sum(new for _, _, new in step.sequences)
        load.recorder.step(
            start_ns=step.start_ns,
            duration_ns=step.duration_ns,
            seq_request=[record.request for record, _, _ in step.sequences],
            seq_start=[start for _, start, _ in step.sequences],
            seq_new=[new for _, _, new in step.sequences],
            phase=[
                Phase.PREFILL if start < record.input_tokens_asked else Phase.DECODE
                for record, start, _ in step.sequences
            ],
            logits_tokens=step.logits_tokens,
            experts=self._take(self._torch.ones(tokens, dtype=self._torch.bool)),
            num_experts=self._experts,
        )

    def _stop(self) -> None:
        """End the thread of the passes after the pass that it is in; what it had in flight is delivered as failed."""
        if self._manager is not None and self._manager.is_running():
            self._manager.stop(block=True, hard_stop=True)


def _positive(text: str | None, default: int, name: str) -> int:
    if text is None:
        return default
    if not text.isdecimal() or int(text) < 1:
        raise BadInputError(f"engine argument {name}={text}: not a positive whole number")
    return int(text)
