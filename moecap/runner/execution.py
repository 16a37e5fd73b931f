"""Executes a plan: warm up, load the engine, run the accuracy tasks; everything observed goes to the recorder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from moecap.backend import Engine, EngineInfo, EngineJob, Prompt
from moecap.errors import RunError
from moecap.hardware.bandwidth_check import check_bandwidth
from moecap.hardware.board_states import BoardStates, open_board_states
from moecap.hardware.energy_counter import EnergyCounter
from moecap.hardware.energy_source import NO_COUNTER, find_energy_source
from moecap.hardware.nvidia import bus_order
from moecap.metrics.warmup import is_steady
from moecap.observations.recorder import Recorder
from moecap.runner.live import LiveLoad
from moecap.runner.planned import Plan
from moecap.runner.prompts import asked_sampling
from moecap.runner.reporter import Reporter
from moecap.runner.workload import Workload
from moecap.tasks.base import Task
from moecap.telemetry import Telemetry
from moecap.tokenizer import Tokenizer

__all__ = ["Execution", "Opener", "execute", "open_engine"]

Opener = Callable[[Plan, EngineJob], AbstractContextManager[Engine]]
"""Gives the engine of a run, for as long as that needs it."""


@dataclass(slots=True)
class Execution:
    """How far a run came.

    Attributes:
        recorder: What was observed.
        engine: What the engine said of itself, once it was open.
        seconds: How long each part took.
    """

    recorder: Recorder = field(default_factory=Recorder)
    engine: EngineInfo | None = None
    seconds: dict[str, float] = field(default_factory=dict)


def open_engine(plan: Plan, job: EngineJob) -> Engine:
    """The engine of a run alone, which ends with it."""
    return plan.backend().open(job)


def execute(
    plan: Plan,
    directory: Path,
    execution: Execution,
    reporter: Reporter,
    opener: Opener = open_engine,
    keep: Callable[[], object] = lambda: None,
) -> None:
    """Run a plan to its end, filling ``execution`` as it goes, so that an interruption loses nothing.

    Args:
        plan: The resolved run.
        directory: The run directory, in which a server writes its log.
        execution: Filled in place.
        reporter: Hears how far the run is.
        opener: Gives the engine.
        keep: Stores what was observed so far, between the load and each task that follows.

    Raises:
        MoecapError: If the engine cannot be opened or fails.
    """
    config, recorder = plan.config, execution.recorder
    clock = _Clock(execution.seconds)
    job = EngineJob(
        model=plan.checkpoint,
        spec=plan.spec,
        device=plan.device,
        dtype=plan.dtype,
        threads=plan.host.cores,
        seed=config.seed,
        arguments=plan.engine_arguments,
        progress=reporter.say,
        log=directory / "server.log",
        concurrency=config.concurrency,
        longest=max(plan.sending.longest, plan.sending.longest_scored),
        prefix_cache=config.allow_prefix_cache,
        endpoint=config.endpoint,
        parallelism=plan.parallelism,
        client_processes=config.client_processes,
        streams=max(load.streams(config.concurrency) for load in plan.sending.loads),
        sampling=asked_sampling(config),
        **_of_projection(plan),
    )
    if plan.backend.projects:
        _project(plan, job, execution, clock, reporter)
        return
    tokenizer = Tokenizer(plan.checkpoint)
    with (
        bus_order(),
        Telemetry(recorder, _energy_counter(plan, recorder), _board_states(plan)) as telemetry,
        opener(plan, job) as engine,
    ):
        clock.mark("open")
        execution.engine = engine.info
        reporter.say(
            f"{plan.spec.name} on {plan.hardware.profile.name}, {engine.info.name} {engine.info.version}, "
            f"{engine.info.weight_dtype}"
        )
        _check_peak(plan, recorder, telemetry, "before")
        clock.mark("peak_before")
        recorder.stage = "warmup"
        _warm_up(plan, engine, plan.sending.workload.warmup, recorder)
        clock.mark("warmup")
        recorder.stage = "load"
        try:
            with clock.marking("load"):
                _send_load(plan, engine, recorder, reporter)
            _check_peak(plan, recorder, telemetry, "after")
            clock.mark("peak_after")
        except BaseException:
            for task, _ in plan.sending.tasks:
                task.stop_asking()
            raise
        finally:  # what was answered until then is kept, whatever ends the run
            for task, items in plan.sending.tasks:
                if _in_load(plan, task):
                    recorder.samples.extend(_answered(plan, task, items, recorder, tokenizer))
                    clock.mark(f"task.{task.name}")
        recorder.stage = "score"
        for task, items in plan.sending.tasks:
            if not _in_load(plan, task):
                keep()
                clock.mark(f"store.{task.name}")
                with reporter.bar(f"{task.name} questions", len(items)) as done:
                    recorder.samples.extend(task.run(items, engine, tokenizer, recorder, done))
                clock.mark(f"task.{task.name}")


def _of_projection(plan: Plan) -> dict[str, Any]:
    """What only a backend that projects is given."""
    if not plan.backend.projects:
        return {}
    return {
        "hardware": plan.hardware.profile,
        "activations": plan.formats.activations,
        "projection": plan.projection,
        "layout": plan.config.layout,
    }


def _project(plan: Plan, job: EngineJob, execution: Execution, clock: _Clock, reporter: Reporter) -> None:
    """Compute what the load would see: no warm-up, no telemetry and no task, since nothing runs."""
    with plan.backend().open(job) as engine:
        execution.engine = engine.info
        clock.mark("open")
        execution.recorder.stage = "load"
        with clock.marking("load"):
            _send_load(plan, engine, execution.recorder, reporter)


def _send_load(plan: Plan, engine: Engine, recorder: Recorder, reporter: Reporter) -> None:
    """Send the load, as often as it is to be measured."""
    loads = plan.sending.loads
    for number, load in enumerate(loads):
        several = len(loads) > 1
        recorder.repeat = number if several else None
        title = f"requests, repeat {number + 1} of {len(loads)}" if several else "requests"
        _send_repeat(plan, load, engine, recorder, reporter, title)
    recorder.repeat = None


def _send_repeat(
    plan: Plan, load: Workload, engine: Engine, recorder: Recorder, reporter: Reporter, title: str
) -> None:
    how = {} if load.arrivals is None else {"arrivals": load.arrivals}
    sent = len(recorder.requests)
    live = LiveLoad(plan, recorder)
    with reporter.bar(title, plan.config.num_requests, live.words) as done:
        engine.generate(load.prompts, plan.config.concurrency, recorder, done, **how)
        _refuse_silence(recorder, sent)


def _in_load(plan: Plan, task: Task) -> bool:
    """Whether the requests of a task were those of the load."""
    return plan.sending.task_load is not None and task.name in plan.sending.task_load.parts


def _answered(
    plan: Plan, task: Task, items: Sequence[Any], recorder: Recorder, tokenizer: Tokenizer
) -> Iterator[Mapping[str, Any]]:
    """The samples of a task whose requests are those of the load, of all that have ended; none of another task."""
    load = plan.sending.task_load
    if load is not None and task.name in load.parts:
        yield from task.samples(items, load.parts[task.name], recorder.requests, tokenizer)


def _energy_counter(plan: Plan, recorder: Recorder) -> EnergyCounter | None:
    """What counts the energy of the devices, which is noted; those of a server that runs already may be elsewhere."""
    if plan.backend.attaches:
        recorder.energy_counter = f"{NO_COUNTER}the devices of a server that runs already are not counted"
        return None
    source = find_energy_source(plan.config.energy_source, plan.device, plan.hardware.count)
    recorder.energy_counter = source.name
    return source.counter


def _board_states(plan: Plan) -> BoardStates | None:
    """What NVML says of the boards of a run on this machine."""
    here = plan.device == "cuda" and not plan.backend.attaches
    return open_board_states(plan.hardware.count) if here else None


def _check_peak(plan: Plan, recorder: Recorder, telemetry: Telemetry, moment: str) -> None:
    """Measure the memory bandwidth of a probed host beside the load, in no measured window."""
    with telemetry.paused():
        start = time.monotonic_ns()
        rate = check_bandwidth(plan.host, plan.hardware.profile)
    if rate is not None:
        recorder.peak(start, moment, rate.kernel, rate.best)


class _Clock:
    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds = seconds
        self._last = time.monotonic()

    def mark(self, name: str) -> None:
        now = time.monotonic()
        self._seconds[name] = round(now - self._last, 3)
        self._last = now

    @contextmanager
    def marking(self, name: str) -> Iterator[None]:
        """Mark a part however it ends."""
        try:
            yield
        finally:
            self.mark(name)


def _refuse_silence(recorder: Recorder, first: int) -> None:
    """End a run whose engine answers nothing.

    Raises:
        RunError: With the first error, if none of the requests from number ``first`` on completed.
    """
    requests = recorder.requests[first:]
    if requests and not any(request.status == "completed" for request in requests):
        error = next((request.error for request in requests if request.error), "no reason was given")
        raise RunError(f"none of {len(requests)} requests was answered: {error}")


def _warm_up(plan: Plan, engine: Engine, prompts: Sequence[Prompt], recorder: Recorder) -> None:
    """Run batches at the load's own concurrency and prompt lengths until the median decode step is steady.

    An engine that gives no step records is steady when the median gap between chunks is.
    """
    warmup, concurrency = plan.config.warmup, plan.config.concurrency
    batches: list[list[int]] = []
    for number in range(warmup.max_batches):
        batch = prompts[number * concurrency : (number + 1) * concurrency]
        first, told, sent = recorder.steps, recorder.chunk_count, len(recorder.requests)
        short = [replace(p, output_tokens=min(p.output_tokens, warmup.output_len)) for p in batch]
        engine.generate(short, concurrency, recorder, lambda _done: None)
        _refuse_silence(recorder, sent)
        batches.append(recorder.durations(first) or recorder.gaps(told))
        if not batches[-1] or is_steady(batches, warmup.tolerance):
            return
