"""The metrics by which rows can be sorted and compared: unit, direction and meaning."""

from __future__ import annotations

import re
from dataclasses import dataclass

from moecap.metrics.direction import Better, better_of

__all__ = ["HEADLINES", "SORTABLE", "Headline", "is_sortable"]


@dataclass(frozen=True, slots=True)
class Headline:
    """A metric that every row shows where it has it.

    Attributes:
        name: Its name in a result.
        unit: Its unit.
        text: What it is.
    """

    name: str
    unit: str
    text: str

    @property
    def better(self) -> Better:
        """Which direction is better."""
        return better_of(self.name)


HEADLINES = (
    Headline("decode.s_mbu", "1", "share of the memory bandwidth that the needed reads of decode steps use"),
    Headline("decode.s_mfu", "1", "share of the dense peak that useful FLOPs of decode steps use"),
    Headline("prefill.s_mbu", "1", "the first for steps that feed prompts"),
    Headline("prefill.s_mfu", "1", "the second for steps that feed prompts"),
    Headline("decode.mbu", "1", "decode.s_mbu with all experts counted"),
    Headline("decode.mfu", "1", "decode.s_mfu with all experts counted"),
    Headline("output_tokens_per_second", "tokens/s", "output tokens a second of all devices"),
    Headline("output_tokens_per_second_per_device", "tokens/s", "output tokens a second of one device"),
    Headline("requests_per_second", "requests/s", "completed requests a second"),
    Headline("ttft.p50", "s", "time to first token, median"),
    Headline("ttft.p99", "s", "time to first token, 99th percentile"),
    Headline("ttft", "s", "time to first token as a source states it; of projections the mean"),
    Headline("tpot.p50", "s", "time per output token, median"),
    Headline("tpot.p99", "s", "time per output token, 99th percentile"),
    Headline("tpot", "s", "time per output token as a source states it; of projections the mean"),
    Headline("itl.p50", "s", "inter-token latency, median"),
    Headline("e2e.p50", "s", "whole answer, median"),
    Headline("cost_per_million_output_tokens", "USD/1e6 tokens", "dollars for a million output tokens"),
    Headline("cost_per_million_tokens", "USD/1e6 tokens", "dollars for a million tokens, 3 input to 1 output"),
    Headline("energy_per_output_token", "J/token", "energy of an output token by the devices' counter"),
    Headline("failed_requests", "requests", "requests that did not complete"),
    Headline("busy_fraction", "1", "share of the time in engine steps"),
    Headline("experts.distinct_mean", "experts", "distinct experts of a decode step and layer"),
    Headline("experts.load_entropy", "1", "evenness of the experts' load, 1 is even"),
)

SORTABLE = "|".join([*(re.escape(headline.name) for headline in HEADLINES), r"(accuracy|task)\..*"])
"""What names a metric that rows can be sorted by: a headline, or the score of a task; a regular expression."""


def is_sortable(name: str) -> bool:
    """Whether rows can be sorted by a metric."""
    return re.fullmatch(SORTABLE, name, re.DOTALL) is not None
