"""The log-probability of each token of captions, after nothing, after what they are about, and after the controls."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from moecap.backend import Continuation, Engine, Scored
from moecap.errors import RunError
from moecap.observations.recorder import Recorder
from moecap.tasks.groundedness.alignment import words_of_tokens
from moecap.tasks.groundedness.captions import Caption
from moecap.tasks.groundedness.controls import BLANK, another
from moecap.tokenizer import Tokenizer

__all__ = ["Prompted", "ScoredCaption", "prompted", "score_captions"]

GROUP = 32
"""Captions that are scored at a time."""


@dataclass(frozen=True, slots=True)
class Prompted:
    """A caption with the texts that stand before it.

    Attributes:
        caption: The caption.
        before: By condition, the text before it; the first is ``null``.
    """

    caption: Caption
    before: dict[str, str]

    @property
    def id(self) -> str:
        """The caption's name."""
        return self.caption.id


@dataclass(frozen=True, slots=True)
class ScoredCaption:
    """A caption with what an engine says of it.

    Attributes:
        prompted: The caption.
        words: Word of each token, or ``None``, [tokens].
        opens: Whether each begins with white space or ends the text, [tokens].
        scores: By condition, the tokens' scores, the number of the text in the run's steps, and the place of its first
            token in what was fed.
    """

    prompted: Prompted
    words: tuple[int | None, ...]
    opens: tuple[bool, ...]
    scores: dict[str, tuple[Scored, int, int]]


def prompted(captions: Sequence[Caption], controls: Sequence[str], seed: int) -> list[Prompted]:
    """Put the conditions' texts before each caption; another context is one of the same language.

    Args:
        captions: The captions.
        controls: Names out of ``CONTROLS``.
        seed: Seed of the shuffling.

    Raises:
        BadInputError: If the captions of a language cannot be shuffled.
    """
    abouts = {"context": [caption.about for caption in captions]}
    if "shuffled" in controls:
        others = list(abouts["context"])
        for language in {caption.language for caption in captions}:
            own = np.array([i for i, caption in enumerate(captions) if caption.language == language])
            for place, other in zip(own, own[another([captions[i].about for i in own], seed)], strict=True):
                others[place] = captions[other].about
        abouts["shuffled"] = others
    if "blank" in controls:
        abouts["blank"] = [BLANK] * len(captions)
    found = []
    for number, caption in enumerate(captions):
        asked = f"caption {caption.language}\n"
        before = {condition: f"{about[number]}\n{asked}" for condition, about in abouts.items()}
        found.append(Prompted(caption, {"null": asked, **before}))
    return found


def score_captions(
    items: Sequence[Prompted],
    engine: Engine,
    tokenizer: Tokenizer,
    recorder: Recorder,
    done: Callable[[int], None],
) -> Iterator[ScoredCaption]:
    """Score all conditions of each caption, a group of captions at a time.

    The tokens of a caption are the same after each text. What several captions have in common, text before included, is
    scored once in a group.

    Args:
        items: The captions.
        engine: An engine that gives ``prompt_logprobs`` token by token.
        tokenizer: The model's tokenizer.
        recorder: Keeps the steps.
        done: Hears how many captions are finished.

    Raises:
        RunError: If the engine does not tell the tokens apart.
    """
    ends = end_tokens(tokenizer.folder)
    opening = tuple(sorted({*tokenizer.space_tokens, *ends}))
    opens = frozenset(opening)
    for first in range(0, len(items), GROUP):
        group = items[first : first + GROUP]
        texts: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
        for item in group:
            target = target_tokens(item.caption, tokenizer, ends)
            for before in item.before.values():
                texts.setdefault((tokenizer.encode_prompt(before), target), len(texts))
        numbered = recorder.continuations
        asked = [Continuation(f"caption {first}#{i}", *text, opening) for i, text in enumerate(texts)]
        told = partial(_report, done, first, len(group) / len(asked))
        scored = engine.score(asked, recorder, told)
        if not all(score.tokens for score in scored):
            raise RunError(
                f"{engine.info.name} gives the log-probability of a whole text and not of its tokens; take another "
                "engine, such as --backend transformers"
            )
        for item in group:
            yield _of_caption(item, texts, scored, numbered, tokenizer, ends, opens)


def _report(done: Callable[[int], None], first: int, per_text: float, texts: int) -> None:
    done(first + int(texts * per_text))


def target_tokens(caption: Caption, tokenizer: Tokenizer, ends: Sequence[int]) -> tuple[int, ...]:
    """Token ids of a caption, with one that ends the text where the model has one."""
    return (*tokenizer.encode(caption.text), *ends[:1])


@cache
def end_tokens(folder: Path) -> tuple[int, ...]:
    """Ids of the tokens with which a model ends a text, by its own configuration; none where that names none."""
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        read = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        for config in (read, read.get("text_config") or {}):
            found = config.get("eos_token_id")
            if found is not None:
                return tuple(found) if isinstance(found, list) else (found,)
    return ()


def _of_caption(
    item: Prompted,
    texts: dict[tuple[tuple[int, ...], tuple[int, ...]], int],
    scored: Sequence[Scored],
    numbered: int,
    tokenizer: Tokenizer,
    ends: Sequence[int],
    opens: frozenset[int],
) -> ScoredCaption:
    caption = item.caption
    spans = [(start, end) for _, start, end in tokenizer.encode_spans(caption.text)]
    target = target_tokens(caption, tokenizer, ends)
    words = words_of_tokens(caption.text, spans, [(word.start, word.end) for word in caption.words or ()])
    scores = {}
    for condition, before in item.before.items():
        context = tokenizer.encode_prompt(before)
        number = texts[context, target]
        scores[condition] = (scored[number], numbered + number, len(context))
    none = [None] * (len(target) - len(spans))
    return ScoredCaption(item, (*words, *none), tuple(token in opens for token in target), scores)
