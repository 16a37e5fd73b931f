"""Executes a plan: warm up, load the engine, run the accuracy tasks; everything observed goes to the recorder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from moecap.backend import Engine, EngineInfo, EngineJob, Prompt
from moecap.hardware.bandwidth_check import check_bandwidth
from moecap.hardware.energy_counter import open_energy_counter
from moecap.metrics.warmup import is_steady
from moecap.observations.recorder import Recorder
from moecap.runner.plan import Plan
from moecap.runner.reporter import Reporter
from moecap.telemetry import Telemetry
from moecap.tokenizer import Tokenizer, exact_length_prompts

__all__ = ["Execution", "execute"]


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


def execute(plan: Plan, execution: Execution, reporter: Reporter) -> None:
    """Run a plan to its end, filling ``execution`` as it goes, so that an interruption loses nothing.

    Args:
        plan: The resolved run.
        execution: Filled in place.
        reporter: Hears how far the run is.

    Raises:
        MoecapError: If the engine cannot be opened or fails.
    """
    config, recorder = plan.config, execution.recorder
    clock = _Clock(execution.seconds)
    tokenizer = Tokenizer(plan.checkpoint)
    job = EngineJob(
        model=plan.checkpoint,
        spec=plan.spec,
        device=plan.device,
        dtype=plan.dtype,
        threads=plan.host.cores,
        seed=config.seed,
        arguments=plan.engine_arguments,
        progress=reporter.say,
    )
    counter = open_energy_counter(plan.device, plan.hardware.count) if config.endpoint is None else None
    with Telemetry(recorder, counter) as telemetry:
        engine = plan.backend().open(job)
        clock.mark("open")
        with engine:
            execution.engine = engine.info
            reporter.say(
                f"{plan.spec.name} on {plan.hardware.profile.name}, {engine.info.name} {engine.info.version}, "
                f"{engine.info.weight_dtype}"
            )
            warmup = config.warmup.max_batches * config.concurrency
            prompts = _prompts(plan, tokenizer, warmup + config.num_requests)
            _check_peak(plan, recorder, telemetry, "before")
            clock.mark("peak_before")
            recorder.stage = "warmup"
            _warm_up(plan, engine, prompts[:warmup], recorder)
            clock.mark("warmup")
            recorder.stage = "load"
            with reporter.bar("requests", config.num_requests) as done:
                engine.generate(prompts[warmup:], config.concurrency, recorder, done)
            clock.mark("load")
            _check_peak(plan, recorder, telemetry, "after")
            clock.mark("peak_after")
            recorder.stage = "score"
            for task, items in plan.tasks:
                with reporter.bar(f"{task.name} questions", len(items)) as done:
                    recorder.samples.extend(task.run(items, engine, tokenizer, recorder, done))
                clock.mark(f"task.{task.name}")


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


def _prompts(plan: Plan, tokenizer: Tokenizer, count: int) -> list[Prompt]:
    config = plan.config
    tokens = exact_length_prompts(tokenizer, plan.texts, count, config.input_len)
    source = Path(config.dataset).name
    return [Prompt(f"{source}-{config.seed}-{i}", t, config.output_len) for i, t in enumerate(tokens)]


def _warm_up(plan: Plan, engine: Engine, prompts: Sequence[Prompt], recorder: Recorder) -> None:
    """Run batches at the load's own concurrency and prompt length until the median decode step is steady."""
    warmup, concurrency = plan.config.warmup, plan.config.concurrency
    length = min(plan.config.output_len, warmup.output_len)
    batches: list[list[int]] = []
    for number in range(warmup.max_batches):
        batch = prompts[number * concurrency : (number + 1) * concurrency]
        first = recorder.steps
        engine.generate([Prompt(p.id, p.tokens, length) for p in batch], concurrency, recorder, lambda _done: None)
        batches.append(recorder.durations(first))
        if not batches[-1] or is_steady(batches, warmup.tolerance):
            return
