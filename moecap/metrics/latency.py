"""Latency and throughput of requests, from the times at which token-bearing chunks came."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from moecap.metrics.value import Metric, absent, measured

__all__ = ["PERCENTILES", "latencies", "percentile", "throughput", "timed_latencies", "token_latencies"]

PERCENTILES = (50, 90, 95, 99)
NAMES = ("ttft", "ttfo", "tpot", "itl", "e2e", "ttft_from_schedule", "e2e_from_schedule")
TOKEN_KINDS = ("content", "reasoning")

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def percentile(values: FloatArray, p: int, unit: str = "s") -> Metric:
    """A percentile by linear interpolation; absent where the tail holds less than one observation.

    Args:
        values: Observations, [n].
        p: The percentile, between 0 and 100.
        unit: Unit of the observations.
    """
    n = len(values)
    if n == 0:
        return absent(unit, "no observation")
    if min(p, 100 - p) / 100 * n < 1:
        needed = int(np.ceil(100 / min(p, 100 - p)))
        return absent(unit, f"{n} observations are too few for the {p}th percentile; {needed} are needed", n)
    return measured(np.percentile(values, p), unit, n)


def token_latencies(requests: pd.DataFrame, chunks: pd.DataFrame) -> dict[str, FloatArray]:
    """Latencies in seconds of the completed requests.

    Args:
        requests: Rows of the load.
        chunks: Received chunks of any request.

    Returns:
        ``ttft`` and ``e2e`` [requests], and both ``_from_schedule``, from when each was to be sent (no coordinated
        omission); ``ttfo``, to the first token that is no reasoning [requests that have one];
        ``tpot`` [requests with more than one token after the first chunk];
        ``itl`` [tokens after the first chunk], a chunk of m tokens after a gap g giving m values g/m; both empty where
        the tokens of a chunk are unknown. Of a request with several choices each choice is a stream of its own: its
        gaps are between its own chunks, and ``tpot`` is the time of all its streams over their tokens.
    """
    return {name: values for name, (_, values) in timed_latencies(requests, chunks).items()}


def timed_latencies(requests: pd.DataFrame, chunks: pd.DataFrame) -> dict[str, tuple[IntArray, FloatArray]]:
    """The latencies of :func:`token_latencies`, each with when it was: requests when sent, tokens when they came.

    Args:
        requests: Rows of the load.
        chunks: Received chunks of any request.

    Returns:
        By name the times in monotonic ns and the values in seconds, both of one length.
    """
    done = requests[requests["status"] == "completed"]
    bearing = chunks[chunks["kind"].isin(TOKEN_KINDS) & chunks["request"].isin(done["request"])]
    bearing = bearing.sort_values(["request", "time_ns"], kind="stable")
    sent, due = (done.set_index("request")[name] for name in ("sent_ns", "scheduled_ns"))
    grouped = bearing.groupby("request", sort=True)
    first, last = grouped["time_ns"].first(), grouped["time_ns"].last()
    start = sent.loc[first.index]
    ttft = (first - start).to_numpy(np.float64) * 1e-9
    e2e = (last - start).to_numpy(np.float64) * 1e-9
    late = (start - due.loc[first.index]).to_numpy(np.float64) * 1e-9
    output = bearing[bearing["kind"] == "content"].groupby("request", sort=True)["time_ns"].first()
    ttfo = (output - sent.loc[output.index]).to_numpy(np.float64) * 1e-9
    began = start.to_numpy(np.int64)
    known = {"ttft": (began, ttft), "ttfo": (sent.loc[output.index].to_numpy(np.int64), ttfo), "e2e": (began, e2e)}
    known |= {"ttft_from_schedule": (began, ttft + late), "e2e_from_schedule": (began, e2e + late)}
    counts = bearing["tokens"]
    if counts.isna().any():
        nothing = np.empty(0, np.int64), np.empty(0)
        return known | {"tpot": nothing, "itl": nothing}
    tokens = grouped["tokens"].diff().fillna(counts).to_numpy(np.float64)  # what each chunk brought
    gap = bearing.groupby(_streams(bearing), sort=False)["time_ns"].diff().to_numpy(np.float64)
    follows = ~np.isnan(gap)
    streamed = bearing.assign(passed=np.where(follows, gap, 0.0), later=np.where(follows, tokens, 0.0))
    sums = streamed.groupby("request", sort=True)[["passed", "later"]].sum()
    several = sums["later"].to_numpy() > 0
    tpot = sums["passed"].to_numpy()[several] * 1e-9 / sums["later"].to_numpy()[several]
    bringing = follows & (tokens > 0)
    times = tokens[bringing].astype(np.int64)
    itl = np.repeat(gap[bringing] * 1e-9 / tokens[bringing], times)
    came = np.repeat(bearing["time_ns"].to_numpy(np.int64)[bringing], times)
    return known | {"tpot": (began[several], tpot), "itl": (came, itl)}


def _streams(bearing: pd.DataFrame) -> pd.Series[int]:
    """Which stream each chunk belongs to: its request, or one of the request's choices."""
    request = bearing["request"].astype(np.int64)
    if "choice" not in bearing or bearing["choice"].isna().all():
        return request
    choice = bearing["choice"].fillna(0).astype(np.int64)
    return request * (int(choice.max()) + 1) + choice


def latencies(requests: pd.DataFrame, chunks: pd.DataFrame) -> dict[str, Metric]:
    """Percentiles of every latency of ``token_latencies``."""
    values = token_latencies(requests, chunks)
    return {f"{name}.p{p}": percentile(values[name], p) for name in NAMES for p in PERCENTILES}


def throughput(
    requests: pd.DataFrame, chunks: pd.DataFrame, window: tuple[int, int] | None, devices: int
) -> dict[str, Metric]:
    """Tokens and requests a second, over the steady-state window and over the whole run.

    Args:
        requests: Rows of the load; a failed request adds no token and its time counts.
        chunks: Received chunks.
        window: Steady state, monotonic ns, or ``None``.
        devices: Number of devices.
    """
    failed = int((requests["status"] != "completed").sum())
    metrics = {"failed_requests": measured(failed, "requests", len(requests))}
    done = requests[requests["status"] == "completed"]
    whole = (
        (int(requests["sent_ns"].min()), int(requests["ended_ns"].max()))
        if requests["ended_ns"].notna().any()
        else None
    )
    bearing = chunks[chunks["kind"].isin(TOKEN_KINDS) & chunks["request"].isin(done["request"])]
    bearing = bearing.sort_values(["request", "time_ns"], kind="stable")
    gained = bearing["tokens"] - bearing.groupby("request")["tokens"].shift(fill_value=0)
    uncounted = bearing["tokens"].isna().any()
    for suffix, span, missing in (
        ("", window, "the target concurrency was never reached"),
        ("_whole_run", whole, "no request ended"),
    ):
        names = {
            f"output_tokens_per_second{suffix}": "tokens/s",
            f"output_tokens_per_second_per_device{suffix}": "tokens/s",
            f"input_tokens_per_second{suffix}": "tokens/s",
            f"requests_per_second{suffix}": "requests/s",
        }
        if span is None or span[1] <= span[0]:
            metrics |= {name: absent(unit, missing) for name, unit in names.items()}
            continue
        seconds = (span[1] - span[0]) * 1e-9
        inside = (bearing["time_ns"] > span[0]) & (bearing["time_ns"] <= span[1])
        first = done["first_token_ns"].between(span[0], span[1], inclusive="right")
        ended = done["ended_ns"].between(span[0], span[1], inclusive="right")
        output = float(done["output_tokens"].sum() if suffix and uncounted else gained[inside].sum()) / seconds
        inputs = float(done.loc[first, "input_tokens"].sum()) / seconds
        values = (output, output / devices, inputs, float(ended.sum()) / seconds)
        metrics |= {
            name: measured(value, unit, int(ended.sum()))
            for (name, unit), value in zip(names.items(), values, strict=True)
        }
        unknown = (not suffix and uncounted) or done.empty or (uncounted and done["output_tokens"].isna().any())
        if unknown:
            reason = "no request completed" if done.empty else "how many tokens a chunk carries is not known"
            metrics |= {name: absent(unit, reason) for name, unit in names.items() if "output" in name}
    return metrics
