"""What a reader of another tool's file hands over, in SI units and moecap's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from moecap.importing.reading import Fields
from moecap.metrics.value import Metric

__all__ = ["Found", "RequestTimes", "stated_latencies"]


@dataclass(frozen=True, slots=True)
class RequestTimes:
    """One request as the source has it; times in seconds on one clock, whatever its zero.

    Attributes:
        sent: When it was sent.
        ended: When it had ended or failed.
        tokens: When each token came; empty where that is not known.
        first: When its first token came; ``None`` where that is not known.
        last: When its last token came.
        input_tokens: Tokens of the prompt.
        output_tokens: Tokens of the answer.
        error: Why it failed; ``None`` where it completed.
        scheduled: When it was to be sent; ``None`` where the source does not say.
    """

    sent: float
    ended: float
    tokens: tuple[float, ...] = ()
    first: float | None = None
    last: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    error: str | None = None
    scheduled: float | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """One result of a file; what is ``None`` the source does not say.

    Attributes:
        tool: Which tool wrote the file.
        version: Its version.
        date: When it ran, as the source writes it.
        model: Name of the model.
        engine: Name of the engine.
        engine_version: Its version.
        hardware: Name of one device.
        devices: Number of devices.
        precision: Number format of the weights.
        load: ``closed`` or ``open``.
        concurrency: Requests in flight at most.
        rate: Requests a second.
        input_len: Tokens of a prompt that were asked for.
        output_len: Tokens of an answer that were asked for.
        num_requests: Requests.
        dataset: What was sent.
        stated: The tool's own numbers.
        requests: Its requests, where it has the times of each.
        no_requests: Why there are none.
        no_tokens: Why the times of single tokens are not known; empty where they are.
        remarks: What has to be said of the source.
    """

    tool: str
    version: str | None = None
    date: str | None = None
    model: str | None = None
    engine: str | None = None
    engine_version: str | None = None
    hardware: str | None = None
    devices: int | None = None
    precision: str | None = None
    load: str | None = None
    concurrency: int | None = None
    rate: float | None = None
    input_len: int | None = None
    output_len: int | None = None
    num_requests: int | None = None
    dataset: str | None = None
    stated: Mapping[str, Metric] = field(default_factory=dict)
    requests: tuple[RequestTimes, ...] = ()
    no_requests: str = ""
    no_tokens: str = ""
    remarks: tuple[str, ...] = ()


def stated_latencies(fields: Fields, names: Mapping[str, str], n: int | None) -> dict[str, Metric]:
    """``mean_X_ms``, ``median_X_ms``, ``std_X_ms`` and ``p99_X_ms`` in seconds.

    Args:
        fields: Where they stand.
        names: moecap's name of each X.
        n: How many requests they are of; ``None`` where that is not known.
    """
    found: dict[str, Metric] = {}
    for theirs, ours in names.items():
        for word, ending in (("mean", "mean"), ("median", "p50"), *((f"p{p}", f"p{p}") for p in (50, 90, 95, 99))):
            value = fields.number(f"{word}_{theirs}_ms")
            if value is not None:
                found[f"{ours}.{ending}"] = Metric(value=value * 1e-3, unit="s", n=n)
    return found
