"""The layouts of the demonstrations that a run asks, and the ways in which the experts of each are weighted."""

from __future__ import annotations

from collections.abc import Iterator

from moecap.tasks.moicl.settings import Settings
from moecap.tasks.moicl.tables import SPLITS
from moecap.tasks.parts import Parts

__all__ = ["ALONE", "GENERATING", "methods_of", "moicl_parts"]

ALONE = {"k1": "concat", "concat_train": "concat_train", "random_search": "random_search", "lens": "lens"}
"""The method of each layout that is one prompt."""

GENERATING = ("uniform", "scalar", "nonnegative")
"""The mixtures that generate; each takes a pass of its own at every token."""


def methods_of(experts: int, settings: Settings) -> tuple[str, ...]:
    """How the experts of a layout of so many are weighted."""
    if experts == 1:
        return (ALONE["k1"],)
    if settings.form.answers is not None:
        return GENERATING
    return ("uniform", "scalar", "nonnegative", "hyper", *(("sparse",) if settings.keep < experts else ()))


def moicl_parts(settings: Settings) -> Iterator[Parts]:
    """The parts of the tables of a whole run."""
    seeds, generates = range(settings.seeds), settings.form.answers is not None
    split = {f"k{experts}": methods_of(experts, settings) for experts in settings.experts}
    alone = [
        *(["concat_train"] if settings.concat_train and not generates else []),
        *(["random_search", "lens"] if settings.search and not generates else []),
    ]
    methods = split | {name: (ALONE[name],) for name in alone}
    weighted = [(seed, name, method) for seed in seeds for name, of in methods.items() for method in of]
    yield Parts("weights", ("seed", "arrangement", "method"), weighted)
    yield Parts("answers", ("seed", "arrangement", "method"), weighted if generates else [])
    yield Parts.of_each("experts", seed=seeds, arrangement=methods)
    scored = (
        [] if generates else [*((name, of) for name in split for of in SPLITS), *((name, "test") for name in alone)]
    )
    for table in ("scores", "sequences"):
        yield Parts(table, ("seed", "arrangement", "split"), [(seed, *one) for seed in seeds for one in scored])
    yield Parts.of_each("items", seed=seeds, split=() if generates else SPLITS)
    yield Parts.of_each("latency", seed=seeds, arrangement=split if settings.latency and not generates else ())
