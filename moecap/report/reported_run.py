"""A run as the page needs it: its result, and what its observations give when they are read again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from moecap.errors import BadInputError, MoecapError
from moecap.facts import result_facts
from moecap.metrics.accuracy import graded, is_score
from moecap.metrics.latency import token_latencies
from moecap.metrics.repeats import split
from moecap.metrics.routing_source import SeenSteps, seen_steps
from moecap.metrics.steps import StepWork, step_work
from moecap.metrics.summary import RunFacts, hardware_peaks, phase_masks
from moecap.metrics.utilisation import Peaks
from moecap.metrics.window import steady_state
from moecap.observations.reader import Observations, read_observations
from moecap.report.cap import Label, Place, cap_label, places
from moecap.report.figures import TIMES
from moecap.result import RESULT_FILE, Result, read_result

__all__ = ["LOAD_PHASES", "PHASES", "Evidence", "ReportedRun", "read_run"]

LOAD_PHASES = ("prefill", "decode", "mixed")
PHASES = (*LOAD_PHASES, "score")


@dataclass(frozen=True, slots=True)
class Evidence:
    """The observations with what the charts derive from them, by the functions that made the result's metrics.

    Of a load that was measured several times they are those of the first repeat that is whole, but for the latencies,
    which are of all that are.

    Attributes:
        seen: Everything that was observed, with the steps of the load.
        facts: Model and hardware.
        window: The steady state, monotonic ns, or ``None``.
        work: Bytes and FLOPs of each step.
        masks: Which steps count for each phase, each [steps].
        peaks: Peaks of all devices.
        latencies: Latencies of the completed requests in seconds, by name.
    """

    seen: SeenSteps
    facts: RunFacts
    window: tuple[int, int] | None
    work: StepWork
    masks: dict[str, npt.NDArray[np.bool_]]
    peaks: Peaks
    latencies: dict[str, npt.NDArray[np.float64]]

    @property
    def observations(self) -> Observations:
        """The observations; the steps of the load are recorded or reconstructed."""
        return self.seen.observations

    @property
    def no_bytes(self) -> str:
        """Why no step has known bytes, for where that is so."""
        if not any(mask.any() for mask in self.masks.values()):
            return self.seen.problem or "no step in the steady state"
        return "the experts that the model selected were not captured"

    @property
    def load(self) -> pd.DataFrame:
        """The requests of the load."""
        return _load(self.observations)


@dataclass(frozen=True, slots=True)
class ReportedRun:
    """One run.

    Attributes:
        directory: Where it is.
        result: Its result.
        evidence: Its observations, or ``None``.
        problem: Why there are none.
    """

    directory: Path
    result: Result
    evidence: Evidence | None
    problem: str

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the accuracy tasks: those asked for, else those that have a number."""
        if self.result.workload.task:
            return graded(self.result.workload.task, self.result.metrics)
        names = (n.removeprefix("accuracy.") for n in self.result.metrics if n.startswith("accuracy.") and is_score(n))
        return tuple(sorted(n for n in names if not n.endswith("_norm")))

    @property
    def places(self) -> tuple[Place, ...]:
        """Where it lies on the axes of the CAP radar."""
        return places(self.result.metrics, self.tasks)

    @property
    def label(self) -> Label:
        """PA, PC or CA."""
        return cap_label(self.places)

    @property
    def title(self) -> str:
        """Model on hardware."""
        count = self.result.hardware.count
        hardware = self.result.hardware.name if count == 1 else f"{count} {TIMES} {self.result.hardware.name}"
        return f"{self.result.model.name} on {hardware}"


def _load(observations: Observations) -> pd.DataFrame:
    return observations.requests[observations.requests["stage"] == "load"]


def read_run(path: Path) -> ReportedRun:
    """Read a run directory, or the result file in one.

    Raises:
        BadInputError: If there is no readable result; observations that cannot be read only leave charts out.
    """
    result = read_result(path)
    directory = path if path.is_dir() else path.parent
    try:
        return ReportedRun(directory, result, _evidence(directory, result), "")
    except MoecapError as error:
        return ReportedRun(directory, result, None, str(error))


def _evidence(directory: Path, result: Result) -> Evidence:
    if not any(name.endswith(".parquet") for name in result.observations):
        raise BadInputError(f"the {result.kind} result in {RESULT_FILE} comes without observations")
    facts = result_facts(result)
    seen = seen_steps(read_observations(directory), facts.spec, facts.step_tokens, projected=facts.projected)
    repeats = split(seen, facts.repeats, facts.num_requests)
    latencies = [token_latencies(_load(part.observations), part.observations.chunks) for part in repeats]
    seen = repeats[0]
    observations = seen.observations
    requests = _load(observations)
    window = steady_state(requests, facts.concurrency, static=facts.static)
    work = step_work(facts.spec, observations.steps, facts.parallelism, facts.compute_dtype)
    return Evidence(
        seen=seen,
        facts=facts,
        window=window,
        work=work,
        masks=phase_masks(observations, work, window),
        peaks=hardware_peaks(facts),
        latencies={name: np.concatenate([found[name] for found in latencies]) for name in latencies[0]},
    )
