"""A load served by a deployment in simulation: step times by its tables, batches by the scheduler."""

from __future__ import annotations

import math

import numpy as np

from moecap.errors import BadInputError
from moecap.models.accounting import cache_bytes
from moecap.projection.capacity import LIMITS, EngineLimits, room
from moecap.projection.coefficients import Coefficients
from moecap.projection.prefix_cache import PrefixCache, block_chains
from moecap.projection.requests import Requests
from moecap.projection.scheduler import BLOCK_WASTE, Scheduler, Simulation
from moecap.projection.step_table import StepTable
from moecap.projection.work import WorkModel

__all__ = ["simulate"]


def simulate(
    model: WorkModel, coefficients: Coefficients, requests: Requests, limits: EngineLimits | None = None
) -> Simulation:
    """Serve a load.

    Args:
        model: The work of the deployment.
        coefficients: Efficiencies and costs.
        requests: The load.
        limits: What the engine allows; its defaults by family where not given.

    Raises:
        BadInputError: If the longest request does not fit in the cache.
    """
    deployment = model.deployment
    allowed = (limits or LIMITS.get(deployment.engine, LIMITS["default"])).over(deployment.parallelism.data)
    longest = int((requests.prompts + requests.output_tokens).max())
    one = cache_bytes(deployment.spec, longest, deployment.parallelism)
    held = math.inf if one == 0 else room(deployment, allowed).cache / one * longest
    if held < longest + 2 * BLOCK_WASTE:
        name, hardware = deployment.spec.name, deployment.hardware.id
        raise BadInputError(
            f"{name} with a sequence of {longest} tokens does not fit in {deployment.devices} of {hardware}; take more"
        )
    table = StepTable(model, coefficients, sequences=allowed.sequences, tokens=allowed.step_tokens, context=longest + 1)
    costs = coefficients.engine(deployment.engine)
    outside = costs.prompt + costs.prompt_token * requests.prompts.astype(np.float64)
    scheduler = Scheduler(table, requests, requests.prompts.tolist(), allowed, held, outside)
    if requests.tokens is not None:
        scheduler.cache, scheduler.chains = PrefixCache(requests.block_tokens), block_chains(requests)
    return scheduler.run()
