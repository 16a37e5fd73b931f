"""The metrics that follow from imported observations: latency and throughput, by the functions of every run."""

from __future__ import annotations

from moecap.metrics.latency import latencies, throughput
from moecap.metrics.value import Metric, absent
from moecap.metrics.window import steady_state
from moecap.observations.reader import Observations

__all__ = ["load_metrics", "load_window"]

NO_WINDOW = "the source does not say when the client was free to send, so that no steady state is known"
NO_DEVICES = "the source does not say how many devices there were"
NO_SCHEDULE = "the source does not say when a request was to be sent"


def load_window(observations: Observations, load: str | None) -> tuple[int, int] | None:
    """The steady state of an open loop, monotonic ns; ``None`` where there is none.

    Of a closed loop it begins and ends by the number in flight, which dips between an answer and the next request for
    as long as the client needs; no source says how long that was.
    """
    return steady_state(observations.requests, None) if load == "open" else None


def load_metrics(
    observations: Observations, load: str | None, no_tokens: str, devices: int | None
) -> dict[str, Metric]:
    """Every metric of a load that the source's requests give.

    Args:
        observations: The requests and what is known of their tokens.
        load: ``closed``, ``open`` or ``None``.
        no_tokens: Why the times of single tokens are not known; empty where they are.
        devices: Number of devices.
    """
    requests, chunks = observations.requests, observations.chunks
    window = load_window(observations, load)
    metrics = latencies(requests, chunks) | throughput(requests, chunks, window, devices or 1)
    for name, metric in metrics.items():
        why = ""
        if name.startswith("ttfo"):
            why = "the source does not say which tokens were reasoning"
        elif "_from_schedule" in name and (requests["scheduled_ns"] == requests["sent_ns"]).all():
            why = NO_SCHEDULE
        elif no_tokens and (name.startswith("itl") or name == "output_tokens_per_second"):
            why = no_tokens
        elif "per_device" in name and (devices is None or (no_tokens and not name.endswith("_whole_run"))):
            why = NO_DEVICES if devices is None else no_tokens
        elif "per_second" in name and not name.endswith("_whole_run") and load != "open":
            why = NO_WINDOW
        if why:
            metrics[name] = absent(metric.unit, why, metric.n or 0)
    return metrics
