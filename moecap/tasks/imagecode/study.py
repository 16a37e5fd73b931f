"""All variants of an encoder, trained with one seed, and the facts that they leave."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from moecap.tasks.imagecode.facts import Facts
from moecap.tasks.imagecode.material import Material
from moecap.tasks.imagecode.questions import Question
from moecap.tasks.imagecode.settings import Settings
from moecap.tasks.imagecode.training import Fitted, fit, seeded

__all__ = ["study"]

_STARTS_FROM = {"context_module": "context_batch", "temporal_embeddings": "context_batch"}
"""The variant whose encoder another one freezes; it is trained for it where it is not asked for itself."""


def study(
    settings: Settings,
    variants: Sequence[str],
    material: Material,
    asked: Sequence[Question],
    seed: int,
    facts: Facts,
    done: Callable[[], None],
) -> None:
    """Train the variants and leave their scores.

    Args:
        settings: The run.
        variants: Those of the run that depend on the seed, or have not been scored yet.
        material: The questions as numbers.
        asked: The questions.
        seed: Decides the first weights and all that is drawn.
        facts: Gets the rows.
        done: Called after each variant.
    """
    trained: dict[str, tuple[Fitted, float]] = {}

    def fitted(variant: str) -> tuple[Fitted, float]:
        if variant not in trained:
            before = _STARTS_FROM.get(variant)
            start = fitted(before)[0].encoder if before else None
            with seeded(seed) as draw:  # each variant draws the same, whichever others are asked for
                begin = time.monotonic()
                found = fit(
                    variant,
                    material.start() if start is None else start,
                    settings.inner,
                    material.train,
                    material.held_out,
                    settings.schedules[variant],
                    draw,
                )
                trained[variant] = found, time.monotonic() - begin
        return trained[variant]

    for variant in variants:
        found, seconds = fitted(variant)
        begin = time.monotonic()
        scores = found.scores(material.asked)
        facts.add(
            "fits",
            variant=variant,
            seed=seed,
            parameters=found.parameters,
            kept_epoch=found.kept,
            train_seconds=seconds,
            score_seconds=time.monotonic() - begin,
        )
        for epoch, (loss, share) in enumerate(zip(found.losses, found.held_out, strict=True), 1):
            facts.add("epochs", variant=variant, seed=seed, epoch=epoch, loss=loss, held_out=share)
        facts.ranked(variant, seed, asked, scores)
        done()
