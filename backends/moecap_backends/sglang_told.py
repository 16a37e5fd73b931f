"""What SGLang's answers of one load say beside their tokens, and whether its own recorder says the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from moecap.errors import RunError
from moecap_backends.expert_recorder import RecordedPasses

__all__ = ["Told", "refuse_difference"]


@dataclass(slots=True)
class Told:
    """What the answers of one load say beside their tokens.

    Attributes:
        exact: Whether every answer has the tokens asked for, so that no pass was made in vain.
        fed: Experts of the tokens that each request fed, [tokens, MoE layers, k].
        untold: Requests whose experts are not known.
        fed_again: Requests whose cache the server gave up.
        failed: Requests that failed.
    """

    exact: bool = True
    fed: list[npt.NDArray[np.uint16]] = field(default_factory=list)
    untold: int = 0
    fed_again: int = 0
    failed: int = 0


def refuse_difference(passes: RecordedPasses, fed: Sequence[npt.NDArray[np.uint16]]) -> None:
    """Refuse a load of which SGLang's two records differ: that of its passes and that of its answers.

    Args:
        passes: What its recorder counted.
        fed: Experts of the tokens that each request fed, [tokens, MoE layers, k].

    Raises:
        RunError: If any expert was not counted as often as it is named.
    """
    named, recorded = np.concatenate(fed), passes.counts.sum(0)
    counts = [np.bincount(named[:, layer].ravel(), minlength=recorded.shape[1]) for layer in range(len(recorded))]
    if not np.array_equal(counts, recorded):
        raise RunError(
            f"SGLang's recorder counted {recorded.sum()} selections of experts, and its answers name {named.size} or "
            "others: neither can be trusted; run without expert-distribution-recorder-mode"
        )
