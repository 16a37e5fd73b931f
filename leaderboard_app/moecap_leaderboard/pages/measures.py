"""What a row says of cost, speed, latency, energy and accuracy: as stated, or as it follows from what is stated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from moecap.metrics.accuracy import is_score
from moecap.metrics.direction import Better
from moecap.metrics.value import Metric, absent
from moecap.report.cap import Axis, axis_metric, cap_rule
from moecap_leaderboard.pages.naming import names_host
from moecap_leaderboard.pages.pricing import cost_per_million, has_own_price, row_rent

__all__ = [
    "QUANTITIES",
    "IntervalKind",
    "Measure",
    "Quantity",
    "axis_measure",
    "interval_kind",
    "measure",
    "row_tasks",
    "stated",
    "stated_measure",
    "throughput",
]

IntervalKind = Literal["confidence", "prediction", "bounds", "stated"]
"""What two ends are: a 95 % interval of a measurement, an 80 % interval of prediction, the least and the most that the
routing allows, or what a source states without its level."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """What rows are compared by.

    Attributes:
        key: Its name in links.
        name: Its name in a sentence.
        unit: Its unit as printed on an axis.
        better: Which direction is better.
        best: The word for the best one.
    """

    key: str
    name: str
    unit: str
    better: Better
    best: str


QUANTITIES = {
    quantity.key: quantity
    for quantity in (
        Quantity("cost", "cost", "USD per million output tokens", "lower", "cheapest"),
        Quantity("speed", "throughput", "output tokens/s per device", "higher", "fastest by throughput"),
        Quantity("latency", "time per token", "time per output token", "lower", "quickest per token"),
        Quantity("ttft", "time to first token", "time to the first token", "lower", "quickest to the first token"),
        Quantity("energy", "energy", "J per output token", "lower", "most frugal"),
        Quantity("accuracy", "accuracy", "share answered right", "higher", "most accurate"),
    )
}

_LATENCY = {"tpot.p50": "TPOT, median", "tpot": "TPOT", "itl.p50": "ITL, median"}
_FIRST = {"ttft.p50": "TTFT, median", "ttft": "TTFT"}
_OF_AXES = {
    "cost_per_million_output_tokens": "cost",
    "output_tokens_per_second_per_device": "speed",
    "ttft.p50": "ttft",
    "energy_per_output_token": "energy",
    "accuracy": "accuracy",
}
"""The quantity of each metric of the radar that can follow from others."""

_UNCHECKED = "as stated and not recomputed"


@dataclass(frozen=True, slots=True)
class Measure:
    """A quantity of a row.

    Attributes:
        metric: The number with its ends, or the reason why there is none.
        name: Which statistic it is.
        how: How it follows from what the row states; empty where the row states it itself.
        ends: What the two ends are; ``None`` where it has none.
        estimated: Whether it rests on a throughput that follows from latencies.
        unchecked: Whether it is as a measured row states it and was not recomputed, so that no row is ranked by it.
    """

    metric: Metric
    name: str
    how: str = ""
    ends: IntervalKind | None = None
    estimated: bool = False
    unchecked: bool = False

    @property
    def value(self) -> float | None:
        """The number, or ``None``."""
        return self.metric.value


def stated(item: Mapping[str, Any], name: str) -> Metric | None:
    """A metric that a row states; ``None`` where it says nothing of it."""
    found = item["metrics"].get(name)
    return None if found is None else Metric.model_validate(found)


def interval_kind(item: Mapping[str, Any], name: str, metric: Metric) -> IntervalKind | None:
    """What the two ends of a row's metric are; ``None`` where it has none."""
    if metric.low is None or metric.high is None:
        return None
    if item["kind"] == "projected" or metric.basis == "prediction":
        return "prediction"
    if item["kind"] == "imported":
        return "stated"
    estimated = any(flag["name"] == "routing_estimated" for flag in item["flags"])
    return "bounds" if estimated and ".s_mbu" in name else "confidence"


def measure(item: Mapping[str, Any], key: str, prices: Mapping[str, float]) -> Measure:
    """A quantity of a row.

    Args:
        item: The row as lists give it.
        key: A key of :data:`QUANTITIES`.
        prices: Dollars an hour of one device by id of the hardware, in place of what is known.
    """
    if key == "cost":
        return _cost(item, prices)
    if key == "speed":
        return _per_device(item)
    if key == "accuracy":
        return _accuracy(item)
    names = {"latency": _LATENCY, "ttft": _FIRST, "energy": {"energy_per_output_token": "energy"}}[key]
    missing: Metric | None = None
    for name, words in names.items():
        metric = stated(item, name)
        if metric is not None and metric.value is not None:
            return Measure(metric, words, "", interval_kind(item, name, metric))
        missing = missing or metric
    quantity = QUANTITIES[key]
    return Measure(missing or absent(quantity.unit, f"the row states no {quantity.name}"), quantity.name)


def axis_measure(item: Mapping[str, Any], axis: Axis, prices: Mapping[str, float]) -> Measure:
    """What an axis of the radar shows of a row."""
    key = _OF_AXES.get(axis.metric)
    if key is not None:
        return measure(item, key, prices)
    return stated_measure(item, axis.metric)


def stated_measure(item: Mapping[str, Any], name: str) -> Measure:
    """A metric by its name, as a row states it."""
    metric = stated(item, name)
    if metric is None:
        return Measure(absent("1", f"the row states no {name}"), name)
    unchecked = name in item["not_recomputed"]
    how = _UNCHECKED if unchecked else ""
    return Measure(metric, name, how, interval_kind(item, name, metric), unchecked=unchecked)


def throughput(item: Mapping[str, Any]) -> Measure:
    """Output tokens a second of all devices.

    Where a row states only TTFT, TPOT and how many requests are in flight, N of them with n output tokens each take
    TTFT + (n - 1) TPOT, so that N n tokens come in that time (Little's law, J. D. C. Little, 1961). That is exact for
    means; of medians it is an estimate.
    """
    name = "output_tokens_per_second"
    metric = stated(item, name)
    if metric is not None and metric.value is not None:
        return Measure(metric, "output tokens/s", "", interval_kind(item, name, metric))
    workload = item["workload"]
    flight, tokens = workload["concurrency"], workload["output_len"]
    first, each = measure(item, "ttft", {}), measure(item, "latency", {})
    if workload["load"] != "closed" or not flight or not tokens or not first.value or not each.value:
        return Measure(absent("tokens/s", (metric and metric.reason) or "the row states no throughput"), name)
    if not each.name.startswith("TPOT"):
        return Measure(absent("tokens/s", "the row states no throughput and no TPOT"), name)
    rate = flight * tokens / (first.value + (tokens - 1) * each.value)
    how = f"from TTFT and TPOT of {flight} requests in flight with {tokens} output tokens each (Little's law)"
    return Measure(Metric(value=rate, unit="tokens/s"), "output tokens/s", how, estimated=True)


def _per_device(item: Mapping[str, Any]) -> Measure:
    whole, devices = throughput(item), item["hardware"]["count"]
    if whole.value is None:
        return whole
    share = _mapped(whole.metric, lambda rate: rate / devices)
    return Measure(share, "output tokens/s per device", whole.how, _kept_ends(whole, share), whole.estimated)


def _cost(item: Mapping[str, Any], prices: Mapping[str, float]) -> Measure:
    rate, rent, devices = throughput(item), row_rent(item, prices), item["hardware"]["count"]
    unit = "USD/1e6 tokens"
    if rent is None:
        own = "; the row's own is not compared" if has_own_price(item) else ""
        own = " as a whole" if names_host(item) else own
        return Measure(absent(unit, f"no price of {item['hardware']['name']} is known{own}"), "cost")
    if not rate.value:
        return Measure(absent(unit, rate.metric.reason or "no output token came"), "cost")
    per = f"at {rent.usd_per_hour:.4g} USD per device-hour ({rent.text}{'' if rent.rented else '; no rent'})"
    how = f"{per}, speed {rate.how}" if rate.how else per
    dear = _mapped(rate.metric, lambda value: cost_per_million(rent.usd_per_hour, devices, value))
    ends = _kept_ends(rate, dear)
    return Measure(dear.model_copy(update={"unit": unit}), "cost", how, ends, rate.estimated)


def _kept_ends(whole: Measure, follows: Metric) -> IntervalKind | None:
    return None if follows.low is None else whole.ends


def _mapped(metric: Metric, function: Callable[[float], float]) -> Metric:
    """A rate under a function that rises or falls for all above 0; a fall swaps the ends, which both lie above 0."""
    assert metric.value is not None
    low = high = None
    if metric.low is not None and metric.high is not None and metric.low > 0:
        low, high = sorted((function(metric.low), function(metric.high)))
    repeats = None if metric.repeats is None else tuple(map(function, metric.repeats))
    return metric.model_copy(update={"value": function(metric.value), "low": low, "high": high, "repeats": repeats})


def row_tasks(item: Mapping[str, Any]) -> tuple[str, ...]:
    """The accuracy tasks of a row: those that were asked for, else those that it has a score of."""
    asked = tuple(item["workload"]["tasks"])
    names = (name.removeprefix("accuracy.") for name in item["metrics"] if name.startswith("accuracy."))
    return asked or tuple(sorted(n for n in names if is_score(f"accuracy.{n}") and not n.endswith("_norm")))


def _accuracy(item: Mapping[str, Any]) -> Measure:
    tasks = row_tasks(item)
    names = [f"accuracy.{task}" for task in tasks]
    metrics = {name: metric for name in names if (metric := stated(item, name)) is not None}
    axis = next(a for a in cap_rule().axes if a.metric == "accuracy")
    metric = axis_metric(axis, metrics, tasks)
    name = " and ".join(tasks) if tasks else "accuracy"
    unchecked = any(name in item["not_recomputed"] for name in metrics)
    hows = (f"mean of {', '.join(tasks)}" if len(tasks) > 1 else "", _UNCHECKED if unchecked else "")
    ends = interval_kind(item, "accuracy", metric)
    return Measure(metric, name, "; ".join(filter(None, hows)), ends, unchecked=unchecked)
