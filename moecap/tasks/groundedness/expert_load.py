"""Do the words of a class use other experts than words in general? Load by class, held against chance.

The experts are those that the routers chose when the word itself was fed, after what the caption is about. Two chances
are drawn: classes dealt to words anew, and classes dealt to word types, all words of a type together. A router that
knows words by their form alone differs from the first and not from the second.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from moecap.metrics.value import Metric, absent, measured
from moecap.observations.schema import Phase
from moecap.tasks.groundedness.words import CLASSES, Words
from moecap.tasks.method import Passes

__all__ = ["DRAWS", "divergence", "entropy", "expert_measures", "token_experts"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

DRAWS = 200
"""Random deals of classes."""
NO_EXPERTS = "the engine did not tell the experts of the tokens that it scored"


def expert_measures(words: Words, passes: Passes | None, least: int) -> dict[str, Metric]:
    """Divergence and entropy of each class's expert load, with what chance gives.

    Args:
        words: The words with their tokens.
        passes: The engine's passes.
        least: Words of a class below which it has no number.
    """
    upos, kind = (words.table[name].to_numpy() for name in ("upos", "type"))
    tokens = words.tokens[words.tokens["row"] >= 0]
    tokens = tokens[np.isin(upos[tokens["row"]], CLASSES)]
    places = [tokens[name].to_numpy(np.int64) for name in ("continuation", "position")]
    found = None if passes is None else token_experts(passes, *places)
    if passes is None or found is None or not found[1].any():
        return {"experts_words": absent("1", NO_EXPERTS)}
    experts, known = found
    row, word = np.unique(tokens["row"].to_numpy()[known], return_inverse=True)
    named = [name for name in CLASSES if (upos[row] == name).sum() >= least]
    of_word = np.array([named.index(name) if name in named else len(named) for name in upos[row]], np.int64)
    _, first, of_type = np.unique(kind[row], return_index=True, return_inverse=True)
    load = _Load(experts, word, len(named) + 1, passes.experts)
    rng = np.random.RandomState(0)
    chances = {
        "chance_by_word": np.array([load.divergences(rng.permutation(of_word)) for _ in range(DRAWS)]),
        "chance_by_type": np.array([load.divergences(rng.permutation(of_word[first])[of_type]) for _ in range(DRAWS)]),
    }
    measures = {"experts_words": measured(len(row), "1", len(tokens))}
    for number, (name, value, share) in enumerate(
        zip(named, load.divergences(of_word), load.entropies(of_word), strict=False)
    ):
        n = int((of_word == number).sum())
        measures[f"experts_{name.lower()}"] = measured(value, "bit", n)
        measures[f"experts_{name.lower()}_entropy"] = measured(share, "1", n)
        for end, drawn in chances.items():
            measures[f"experts_{name.lower()}_{end}"] = _chance(drawn[:, number])
    return measures


def _chance(drawn: Floats) -> Metric:
    """The mean of what the deals give a class, with the ends of their middle 95 %."""
    some = drawn[np.isfinite(drawn)]
    if not len(some):
        return absent("bit", "no deal gives the class a word")
    return measured(some.mean(), "bit", len(some), *np.percentile(some, (2.5, 97.5)))


def token_experts(passes: Passes, continuation: Ints, position: Ints) -> tuple[Ints, npt.NDArray[np.bool_]] | None:
    """The experts of tokens of scored texts.

    Args:
        passes: The engine's passes.
        continuation: Number of each token's text, [tokens].
        position: Its place in what was fed, [tokens].

    Returns:
        Experts of the tokens that a step fed, [known tokens, MoE layers, k], and which these are, [tokens]; ``None``
        where no experts of scored texts were captured.
    """
    steps, routing = passes.steps, passes.routing
    if routing is None:
        return None
    new = steps.seq_new.values.astype(np.int64)
    first_row = np.cumsum(new) - new
    is_score = (steps.seq_phase.values == Phase.SCORE) & np.repeat(steps.stage == "score", steps.seq_new.lengths())
    if not is_score.any():
        return None
    text, start = (column.values.astype(np.int64)[is_score] for column in (steps.seq_request, steps.seq_start))
    order = np.lexsort((start, text))
    text, start, new, first_row = text[order], start[order], new[is_score][order], first_row[is_score][order]
    width = int(max(start.max(), position.max(initial=0))) + 1
    entry = np.searchsorted(text * width + start, continuation * width + position, "right") - 1
    entry = np.maximum(entry, 0)
    known = (text[entry] == continuation) & (position >= start[entry]) & (position < start[entry] + new[entry])
    rows = first_row[entry] + position - start[entry]
    return routing.experts[rows[known]].astype(np.int64), known


class _Load:
    """How often each class uses each expert.

    Args:
        experts: Of each token, [tokens, layers, k].
        word: Number of each token's word, [tokens].
        classes: How many classes there are.
        weighted: Experts of a layer that have weights, which alone count.
    """

    def __init__(self, experts: Ints, word: Ints, classes: int, weighted: int) -> None:
        _, layers, k = experts.shape
        self._weighted = weighted
        self._shape = (classes, layers, max(weighted, int(experts.max(initial=0)) + 1))
        place = experts + self._shape[2] * np.arange(layers)[None, :, None]
        self._place, self._word = place.reshape(-1), np.repeat(word, layers * k)

    def divergences(self, of_word: Ints) -> Floats:
        """Of each class from all, bits, mean over layers, [classes]; not a number for a class without a word."""
        counts = self._counts(of_word)
        return np.asarray(divergence(_shares(counts), _shares(counts.sum(0))).mean(-1))

    def entropies(self, of_word: Ints) -> Floats:
        """Of each class, mean over layers, [classes]."""
        return np.asarray(entropy(_shares(self._counts(of_word))).mean(-1))

    def _counts(self, of_word: Ints) -> Floats:
        """[classes, layers, experts]."""
        size = self._shape[1] * self._shape[2]
        counts = np.bincount(of_word[self._word] * size + self._place, minlength=self._shape[0] * size)
        return counts.reshape(self._shape)[..., : self._weighted].astype(np.float64)


def _shares(counts: Floats) -> Floats:
    total = counts.sum(-1, keepdims=True)
    return np.asarray(np.divide(counts, total, out=np.full_like(counts, np.nan), where=total > 0))


def divergence(one: Floats, other: Floats) -> Floats:
    """Jensen-Shannon divergence of distributions over the last axis, bits, 0 to 1."""
    return np.asarray(_bits((one + other) / 2) - (_bits(one) + _bits(other)) / 2)


def entropy(load: Floats) -> Floats:
    """Entropy of distributions over the last axis, as a share of that of equal parts."""
    return np.asarray(_bits(load) / np.log2(max(2, load.shape[-1])))


def _bits(load: Floats) -> Floats:
    safe = np.where(load == 0, 1.0, load)
    return np.asarray(-(load * np.log2(safe)).sum(-1))
