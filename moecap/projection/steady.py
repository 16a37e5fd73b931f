"""Serving in its steady state, in closed form: so many requests in flight, continuous batching, chunked prefill.

B sequences run. Every step gives each one token, so B / O requests end in a step (O output tokens each) and as many
new prompts of I tokens come in, which the engine feeds in chunks between the decode tokens, at most ``step_tokens``
tokens in one step. A share f = λ·n of the steps carries prompt tokens, λ prompts arriving a step in n chunks each;
above one, every step carries λ·I of them. Where the budget of tokens binds, fewer sequences run and the others wait for
their prefill: B + B·I / O ≤ ``step_tokens``. Then

    step  = t(decode) + f · (t(mixed) - t(decode))          tpot: λ from the other requests, (B - 1) / O
    ttft  = arrival and client + half a step + waiting + own chunks in mixed steps
    rate  = requests in flight · O / (ttft + (O - 1) · tpot), by Little's law

Where all requests are queued at once and none follows (``together``), they end together too, and their prompts fill
whole budgets of tokens: f = λ·I / (step_tokens - B), in steps that carry ``step_tokens`` - B of them. More than B
requests are served in waves of B, the last of what is left. That is for engines that reserve: others preempt.

Else a part of all requests arrives at once when the load starts (C of the 10·C that a run sends by default): those
prompts wait for one another. The median gap between tokens is a step with the median number of arriving prompts, a
whole number, as of Poisson arrivals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from moecap.projection.capacity import LIMITS, EngineLimits, most_sequences
from moecap.projection.coefficients import Coefficients
from moecap.projection.deployment import Deployment
from moecap.projection.step_time import step_time
from moecap.projection.work import StepShape, StepWork, WorkModel

__all__ = ["STEPS", "Load", "SteadyPlan", "SteadyState", "steady_plan", "steady_state"]

Floats = npt.NDArray[np.float64]

STEPS = ("decode", "mixed", "median", "opening", "last")
"""Steps of a load: without and with prompt tokens, of median length, of the opening burst, of the last wave without."""

_LEAST_BUDGET = 256.0


@dataclass(frozen=True, slots=True, eq=False)
class Load:
    """Loads to project, each field float64 [n].

    Attributes:
        concurrency: Requests in flight; infinite for as many as the deployment holds.
        input_tokens: I, mean tokens of a prompt.
        output_tokens: O, mean tokens of an answer.
        burst: Share of all requests that arrive together at the start.
        together: Whether the requests in flight are all that there are, queued at once, bool [n].
    """

    concurrency: Floats
    input_tokens: Floats
    output_tokens: Floats
    burst: Floats
    together: npt.NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        concurrency: npt.ArrayLike,
        input_tokens: npt.ArrayLike,
        output_tokens: npt.ArrayLike,
        burst: npt.ArrayLike = 0.1,
        together: npt.ArrayLike = False,
    ) -> Load:
        """Loads from numbers or arrays of one length."""
        given = (np.asarray(a, np.float64) for a in (concurrency, input_tokens, output_tokens, burst, together))
        numbers = [np.atleast_1d(a) for a in np.broadcast_arrays(*given)]
        return cls(numbers[0], numbers[1], numbers[2], numbers[3], numbers[4] > 0)


@dataclass(frozen=True, slots=True, eq=False)
class SteadyPlan:
    """The steps that loads come down to, with their work; no coefficient is in it.

    Attributes:
        load: The loads.
        running: B, sequences that decode at once; 0 where not one fits, float64 [n].
        queued: Requests in flight that wait for room, float64 [n].
        arrivals: λ, prompts that come in a step, float64 [n].
        mixed_share: f, float64 [n].
        chunks: n, chunks of a prompt, float64 [n].
        burst_steps: Steps that the prefill of the first requests takes, float64 [n].
        rest: Requests of the last wave, where all are queued at once and it is not a whole one; else 0, float64 [n].
        steps: Work of a step of each kind of :data:`STEPS` in turn, [len(STEPS) * n].
    """

    load: Load
    running: Floats
    queued: Floats
    arrivals: Floats
    mixed_share: Floats
    chunks: Floats
    burst_steps: Floats
    rest: Floats
    steps: StepWork


@dataclass(frozen=True, slots=True, eq=False)
class SteadyState:
    """What a load sees, float64 [n] each; not a number where not one sequence fits.

    Attributes:
        ttft: Mean seconds to the first token.
        tpot: Mean seconds for each further token.
        itl: Median seconds between tokens.
        output_throughput: Output tokens a second of all devices.
        running: Sequences that decode at once.
        decode_step: Seconds of a step without prompt tokens.
        mixed_step: Seconds of a step with them.
        mixed_share: Share of the steps that carry them.
    """

    ttft: Floats
    tpot: Floats
    itl: Floats
    output_throughput: Floats
    running: Floats
    decode_step: Floats
    mixed_step: Floats
    mixed_share: Floats


def steady_plan(
    model: WorkModel, load: Load, limits: EngineLimits | None = None, most: Floats | None = None
) -> SteadyPlan:
    """The steps of loads.

    Args:
        model: The work of the deployment.
        load: The loads.
        limits: What the engine allows; its defaults by family where not given.
        most: Sequences that fit, float64 [n], where the caller knows them.
    """
    deployment = model.deployment
    allowed = (limits or LIMITS.get(deployment.engine, LIMITS["default"])).over(deployment.parallelism.data)
    fit = _fitting(deployment, allowed, load) if most is None else most
    held = np.minimum(load.concurrency, fit)
    stages = deployment.parallelism.pipeline
    given, made = load.input_tokens, np.maximum(load.output_tokens, 1.0)
    budget = float(allowed.step_tokens)
    running = np.minimum(held, budget * made / (given + made)) / stages
    some = np.maximum(running, 1e-9)
    left = np.maximum(budget - running, _LEAST_BUDGET)
    arrivals = running / made
    chunks = np.maximum(1.0, given / left)
    fed = np.where(load.together, np.minimum(left, some * given), given / chunks)
    share = np.minimum(1.0, arrivals * given / fed)
    mixed_tokens = np.where(share < 1.0, fed, arrivals * given)
    context = given + made / 2.0
    start = np.maximum(0.0, (given - given / chunks) / 2.0)
    first = np.where(np.isfinite(load.concurrency), held, running)
    opening_tokens = np.minimum(np.maximum(first, 1.0) * given, budget)
    median_prompts = _poisson_median(arrivals)
    median_tokens = np.minimum(median_prompts * given, left)
    waves = load.together & np.isfinite(load.concurrency) & (running > 0)
    rest = np.where(waves, np.remainder(np.where(waves, load.concurrency, 0.0), some * stages), 0.0)
    rest = np.where(rest < 0.5, 0.0, rest)  # requests are whole: less than a half is rounding
    shapes = {
        "decode": StepShape.of(some, context),
        "mixed": StepShape.of(some, context, mixed_tokens, mixed_tokens / (given / chunks), start),
        "median": StepShape.of(some, context, median_tokens, np.maximum(median_prompts, 1e-6), start),
        "opening": StepShape.of(first / 2.0, given, opening_tokens, np.maximum(1.0, opening_tokens / given)),
        "last": StepShape.of(rest / stages, context),
    }
    return SteadyPlan(
        load=load,
        running=running * stages,
        queued=np.where(np.isfinite(load.concurrency), np.maximum(load.concurrency - held, 0.0), 0.0),
        arrivals=arrivals,
        mixed_share=share,
        chunks=chunks,
        burst_steps=np.maximum(1.0, first * given / budget),
        rest=rest,
        steps=model.work(StepShape.joined([shapes[name] for name in STEPS])),
    )


def steady_state(plan: SteadyPlan, coefficients: Coefficients, engine: str) -> SteadyState:
    """What loads see.

    Args:
        plan: Their steps.
        coefficients: Efficiencies and costs.
        engine: Family of the engine.
    """
    load, costs = plan.load, coefficients.engine(engine)
    made = np.maximum(load.output_tokens, 1.0)
    decode, mixed, median, opening, last = step_time(plan.steps, coefficients, engine).total.reshape(len(STEPS), -1)
    running = plan.running
    others = np.maximum(running - 1.0, 0.0) / np.maximum(running, 1e-9)
    step = decode + plan.mixed_share * (mixed - decode)
    tpot = decode + plan.mixed_share * others * (mixed - decode)
    outside = costs.prompt + costs.prompt_token * load.input_tokens
    own = plan.chunks * mixed
    busy = np.minimum(plan.mixed_share * mixed / np.maximum(step, 1e-12), 0.95)
    waiting = others * own * busy / (2.0 * (1.0 - busy))
    steady = outside + 0.5 * decode + waiting + own
    first = outside + opening * (plan.burst_steps + 1.0) / 2.0
    ttft = load.burst * first + (1.0 - load.burst) * steady
    closed = running * made / (own + outside + (made - 1.0) * tpot)
    saturated = running / step
    rate = np.where(np.isfinite(load.concurrency) & (plan.queued <= 0), np.minimum(closed, saturated), saturated)
    step_of_rest = last + plan.mixed_share * plan.rest / np.maximum(running, 1e-9) * (mixed - decode)
    in_waves = np.where(plan.rest > 0, load.concurrency, running)
    steps = np.where(plan.rest > 0, (in_waves - plan.rest) / np.maximum(running, 1e-9) * step + step_of_rest, step)
    rate = np.where(plan.rest > 0, in_waves / steps, rate)
    # Those that find no room wait for a whole answer of the others.
    ttft = ttft + plan.queued / np.maximum(running, 1e-9) * (made * tpot)
    absent = running <= 0
    values = (ttft, tpot, median, rate)
    ttft, tpot, itl, rate = (np.asarray(np.where(absent, np.nan, v), np.float64) for v in values)
    return SteadyState(ttft, tpot, itl, rate, running, decode, mixed, plan.mixed_share)


def _poisson_median(mean: Floats) -> Floats:
    """The median of a Poisson variable, a whole number, float64 [n]: 0 up to a mean of ln 2, near the mean - 1/3."""
    some = np.maximum(mean, np.log(2.0))
    return np.where(mean <= np.log(2.0), 0.0, np.floor(some + 1.0 / 3.0 - 0.02 / some))


def _fitting(deployment: Deployment, limits: EngineLimits, load: Load) -> Floats:
    pairs = list(zip(load.input_tokens.tolist(), load.output_tokens.tolist(), strict=True))
    known = {pair: most_sequences(deployment, limits, *pair) for pair in dict.fromkeys(pairs)}
    return np.array([known[pair] for pair in pairs], np.float64)
