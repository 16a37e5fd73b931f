"""The result that follows from the observations of an older run by this version of moecap."""

from __future__ import annotations

from pathlib import Path

import moecap
from moecap.facts import result_facts
from moecap.metrics.routing_source import seen_steps
from moecap.metrics.summary import run_metrics
from moecap.observations.reader import read_observations
from moecap.publishing.withholding import scored_by_samples
from moecap.result import Result, read_result
from moecap.runner.reproduction import reproduction_command
from moecap.runner.result_flags import result_flags

__all__ = ["rederived"]


def rederived(folder: Path) -> Result:
    """The result of a run directory with every number and flag derived anew; those that rest on samples stay as stated.

    Args:
        folder: The run directory, which may lack ``samples.jsonl``.

    Raises:
        BadInputError: If it cannot be read.
    """
    stated = read_result(folder)
    observations, facts = read_observations(folder), result_facts(stated)
    seen = seen_steps(observations, facts.spec, facts.step_tokens, projected=facts.projected)
    metrics = run_metrics(seen, facts)
    metrics |= {name: value for name, value in stated.metrics.items() if scored_by_samples(name)}
    records = (stated.workload, stated.model, stated.hardware, stated.backend, stated.tasks)
    flags = result_flags(*records, metrics, seen, stated.projection if facts.projected else None)
    provenance = {"moecap": moecap.__version__, "command": reproduction_command(stated.workload)}
    return stated.model_copy(
        update={
            "metrics": metrics,
            "flags": flags,
            "routing_source": seen.source,
            "provenance": stated.provenance.model_copy(update=provenance),
        }
    ).identified()
