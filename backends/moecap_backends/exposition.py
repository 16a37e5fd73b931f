"""Reads what inference servers publish about themselves at ``/metrics``, in the text format of Prometheus."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass

from moecap.errors import BadInputError
from moecap.metrics.server import VOCABULARIES
from moecap.runner.places import without_places

__all__ = ["WATCHED", "Sample", "read_exposition", "watched_lines"]

ENGINES = ("vllm:", "sglang:", "llamacpp:")
"""Prefixes of the families of inference engines; the others are those of the process and of its HTTP library."""

LEFT_OUT = ("_bucket", "_created")
"""Endings of samples that no metric needs: histograms keep their sum and count."""

WATCHED = tuple(name for names in VOCABULARIES.values() for name in names.watched)
"""What is looked at during a load: requests that run and wait, the KV cache, preemptions and prompts from a cache."""

_LINE = re.compile(rb"^(?:%b)(?:\{[^\n]*\})? [^\n]+$" % b"|".join(name.encode() for name in WATCHED), re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Sample:
    """One number of a server.

    Attributes:
        name: Its name, such as ``vllm:num_preemptions_total``.
        labels: Its labels as JSON with sorted keys; of a model's path only its last component.
        value: The number, always finite.
    """

    name: str
    labels: str
    value: float


def watched_lines(body: bytes) -> bytes:
    """The lines of what is watched alone: so little is kept of each look during a load."""
    return b"\n".join(_LINE.findall(body)) + b"\n"


def read_exposition(body: bytes) -> list[Sample]:
    """The samples of inference engines in a text, in its order; numbers that are not finite are left out.

    Raises:
        BadInputError: If it is not Prometheus's text format.
    """
    from prometheus_client.parser import text_string_to_metric_families

    try:
        families = list(text_string_to_metric_families(body.decode()))
    except (ValueError, KeyError, IndexError) as error:  # the parser has no error of its own
        raise BadInputError(f"the server's /metrics is not in Prometheus's text format ({error})") from None
    return [
        Sample(sample.name, _labels(sample.labels), float(sample.value))
        for family in families
        for sample in family.samples
        if sample.name.startswith(ENGINES) and not sample.name.endswith(LEFT_OUT) and math.isfinite(sample.value)
    ]


def _labels(labels: dict[str, str]) -> str:
    return json.dumps({k: without_places(v) for k, v in labels.items()}, sort_keys=True)
