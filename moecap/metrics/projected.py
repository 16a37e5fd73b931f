"""The metrics of a projection, and those that hold a measured run against one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from moecap.metrics.value import Metric, absent
from moecap.observations.reader import Steps
from moecap.projection.comparison import projection_ratios
from moecap.projection.observed import memory_metrics, power_of_steps
from moecap.projection.prediction import predicted

if TYPE_CHECKING:
    from moecap.metrics.summary import RunFacts

__all__ = ["projected_metrics", "projected_power", "ratios_to_projection"]


def projected_power(
    facts: RunFacts, steps: Steps, mask: npt.NDArray[np.bool_], window: tuple[int, int] | None
) -> Metric | None:
    """The mean power of a projection by its power model; ``None`` for a run that was measured.

    Args:
        facts: What is known of the run.
        steps: Its steps.
        mask: Those of the steady state, [steps].
        window: The steady state, monotonic ns.
    """
    record = facts.projection
    if not facts.projected or record is None:
        return None
    deployment = record.deployment(facts.spec, facts.profile, facts.compute_dtype, facts.layout)
    return power_of_steps(steps, mask, window, deployment, record.coefficients)


def ratios_to_projection(facts: RunFacts, metrics: dict[str, Metric], requests: pd.DataFrame) -> dict[str, Metric]:
    """How the projection of a load compares with what was measured; nothing for a projection itself.

    Args:
        facts: What is known of the run.
        metrics: The metrics of the load.
        requests: Its requests.
    """
    if facts.projected:
        return {}
    return projection_ratios(
        metrics,
        requests,
        facts.projection,
        facts.spec,
        facts.profile,
        facts.compute_dtype,
        concurrency=facts.concurrency,
        prefix_cache=facts.prefix_cache,
    )


def projected_metrics(facts: RunFacts, metrics: dict[str, Metric], steps: Steps) -> dict[str, Metric]:
    """What a projection adds to or changes in the metrics of a run; nothing for one that was measured.

    Args:
        facts: What is known of the run.
        metrics: The metrics so far.
        steps: The steps.

    Returns:
        All metrics with their prediction intervals, how the model fits into the memory, and the tasks as not scored.
    """
    record = facts.projection
    if not facts.projected:
        return {}
    unscored = {f"accuracy.{task}": absent("1", "projected: nothing was answered") for task in facts.unscored}
    if record is None:
        return unscored
    deployment = record.deployment(facts.spec, facts.profile, facts.compute_dtype, facts.layout)
    memory = memory_metrics(steps, deployment, record.limits, prefix_cache=facts.prefix_cache)
    return predicted(metrics, record.coefficients, facts.profile) | memory | unscored
