"""The metrics by which rows can be sorted and compared: unit, direction and meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["HEADLINES", "Headline", "better_of", "is_sortable"]

Better = Literal["higher", "lower", "neither"]


@dataclass(frozen=True, slots=True)
class Headline:
    """A metric that every row shows where it has it.

    Attributes:
        name: Its name in a result.
        unit: Its unit.
        better: Which direction is better.
        text: What it is.
    """

    name: str
    unit: str
    better: Better
    text: str


HEADLINES = (
    Headline("decode.s_mbu", "1", "higher", "share of the memory bandwidth that the needed reads of decode steps use"),
    Headline("decode.s_mfu", "1", "higher", "share of the dense peak that useful FLOPs of decode steps use"),
    Headline("prefill.s_mbu", "1", "higher", "the first for steps that feed prompts"),
    Headline("prefill.s_mfu", "1", "higher", "the second for steps that feed prompts"),
    Headline("decode.mbu", "1", "neither", "decode.s_mbu with all experts counted"),
    Headline("decode.mfu", "1", "neither", "decode.s_mfu with all experts counted"),
    Headline("output_tokens_per_second", "tokens/s", "higher", "output tokens a second of all devices"),
    Headline("output_tokens_per_second_per_device", "tokens/s", "higher", "output tokens a second of one device"),
    Headline("requests_per_second", "requests/s", "higher", "completed requests a second"),
    Headline("ttft.p50", "s", "lower", "time to first token, median"),
    Headline("ttft.p99", "s", "lower", "time to first token, 99th percentile"),
    Headline("ttft", "s", "lower", "time to first token as a source states it; of projections the mean"),
    Headline("tpot.p50", "s", "lower", "time per output token, median"),
    Headline("tpot.p99", "s", "lower", "time per output token, 99th percentile"),
    Headline("tpot", "s", "lower", "time per output token as a source states it; of projections the mean"),
    Headline("itl.p50", "s", "lower", "inter-token latency, median"),
    Headline("e2e.p50", "s", "lower", "whole answer, median"),
    Headline("cost_per_million_output_tokens", "USD/1e6 tokens", "lower", "dollars for a million output tokens"),
    Headline("cost_per_million_tokens", "USD/1e6 tokens", "lower", "dollars for a million tokens, 3 input to 1 output"),
    Headline("energy_per_output_token", "J/token", "lower", "energy of an output token by the devices' counter"),
    Headline("failed_requests", "requests", "lower", "requests that did not complete"),
    Headline("busy_fraction", "1", "neither", "share of the time in engine steps"),
    Headline("experts.distinct_mean", "experts", "neither", "distinct experts of a decode step and layer"),
    Headline("experts.load_entropy", "1", "neither", "evenness of the experts' load, 1 is even"),
)

_BY_NAME = {headline.name: headline for headline in HEADLINES}


def is_sortable(name: str) -> bool:
    """Whether rows can be sorted by a metric: a headline, or the score of a task."""
    return name in _BY_NAME or name.startswith(("accuracy.", "task."))


def better_of(name: str) -> Better:
    """Which direction of a metric is better; ``neither`` where that is not known."""
    if name in _BY_NAME:
        return _BY_NAME[name].better
    return "higher" if name.startswith("accuracy.") else "neither"
