"""The arguments of the task ``imagecode``, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moecap.errors import BadInputError, UnknownNameError
from moecap.tasks.arguments import number_argument, truth_argument
from moecap.tasks.imagecode.variants import HEADS, VARIANTS, Schedule

__all__ = ["ARGUMENTS", "CHAT", "ENCODER", "SIZES", "Settings", "read_settings"]

ENCODER, CHAT = "encoder", "chat"

ARGUMENTS = (
    *("retriever", "variants", "seeds", "settings", "split", "phenomena", "export"),
    *("train", "held_out", "tests", "epochs", "batch", "rate", "head_rate", "width", "inner"),
    *("embeddings", "train_embeddings"),
    *("order_seed", "pairs", "max_tokens"),
)

SIZES: Mapping[str, Mapping[str, str]] = {
    "default": {"seeds": "3"},
    "ci": {"seeds": "1", "train": "400", "held_out": "100", "tests": "100", "epochs": "4"},
    "full": {"seeds": "10"},
    "gpu": {"retriever": CHAT, "split": "valid"},
}

_SETTINGS: Mapping[str, Mapping[str, str]] = {
    "small": {"epochs": "15", "batch": "36", "rate": "0.003", "head_rate": "0.001", "inner": "256"},
    "paper": {"epochs": "30", "batch": "36", "rate": "0.000004", "head_rate": "0.0001", "inner": "3072"},
}
"""How long and how fast: ours for crops, and the paper's and its code's for vectors of CLIP."""

_FOR_ALL = {
    "retriever": ENCODER,
    "seeds": "1",
    "split": "valid",
    "train": "3000",
    "held_out": "400",
    "tests": "600",
    "width": "64",
    "max_tokens": "16",
}

_OF = {ENCODER: ("variants", "embeddings", "train_embeddings"), CHAT: ("pairs", "order_seed")}
"""Arguments that one retriever alone reads."""


@dataclass(frozen=True, slots=True)
class Settings:
    """A run.

    Attributes:
        retriever: ``encoder`` or ``chat``.
        variants: The variants of the encoder, in the paper's order.
        seeds: How many, from the run's own on.
        schedules: How each variant is trained.
        width: d of an encoder for crops.
        inner: Units of the contextual module's feed-forward networks.
        split: Split of the released data.
        train: Sets of crops to learn from.
        held_out: Sets of crops that choose the epoch.
        tests: Sets of crops that are asked.
        embeddings: Vectors of the questions.
        train_embeddings: Vectors of the train split.
        phenomena: Annotations of the descriptions.
        export: Where the submission for the leaderboard is written.
        order_seed: Seed with which the images of a chat are put into another order; ``None`` for their own.
        pairs: Whether a chat is shown one image at a time.
        max_tokens: Most tokens of a chat's answer.
    """

    retriever: str
    variants: tuple[str, ...]
    seeds: int
    schedules: Mapping[str, Schedule]
    width: int
    inner: int
    split: str
    train: int
    held_out: int
    tests: int
    embeddings: Path | None
    train_embeddings: Path | None
    phenomena: Path | None
    export: Path | None
    order_seed: int | None
    pairs: bool
    max_tokens: int


def read_settings(arguments: Mapping[str, str]) -> Settings:
    """What the arguments mean.

    Args:
        arguments: Those of the size under those that the user gives.

    Raises:
        UnknownNameError: If a variant or the settings are none.
        BadInputError: If a value is none, or has no meaning with the others.
    """
    kind = arguments.get("settings", "paper" if "embeddings" in arguments else "small")
    if kind not in _SETTINGS:
        raise UnknownNameError("settings of imagecode", kind, _SETTINGS)
    given = {**_FOR_ALL, **_SETTINGS[kind], **arguments}
    retriever = given["retriever"]
    if retriever not in (ENCODER, CHAT):
        raise BadInputError(f"--task-arg retriever={retriever}: give {ENCODER} or {CHAT}")
    width = _number(given, "width", HEADS)
    if width % HEADS:
        raise BadInputError(f"--task-arg width={width}: give a multiple of {HEADS}, the heads of the contextual module")
    pairs, order_seed = truth_argument(given, "pairs") is True, number_argument(given, "order_seed", 0)
    if pairs and order_seed is not None:
        raise BadInputError(f"--task-arg order_seed={order_seed}: pairs=true shows images alone; leave one of them out")
    if idle := [name for name in _OF[CHAT if retriever == ENCODER else ENCODER] if name in arguments]:
        raise BadInputError(f"--task-arg {idle[0]}: retriever={retriever} has no use for it; leave it out")
    return Settings(
        retriever=retriever,
        variants=_variants(arguments),
        seeds=_number(given, "seeds", 1, 20),
        schedules={variant: _schedule(variant, kind, given) for variant in VARIANTS},
        width=width,
        inner=_number(given, "inner", 1),
        split=given["split"],
        train=_number(given, "train", 1),
        held_out=_number(given, "held_out", 1),
        tests=_number(given, "tests", 1),
        embeddings=_path(given, "embeddings"),
        train_embeddings=_path(given, "train_embeddings"),
        phenomena=_path(given, "phenomena"),
        export=_path(given, "export"),
        order_seed=order_seed,
        pairs=pairs,
        max_tokens=_number(given, "max_tokens", 1),
    )


def _variants(arguments: Mapping[str, str]) -> tuple[str, ...]:
    """The variants that are asked for, each once and in the paper's order.

    Raises:
        UnknownNameError: If one is none.
        BadInputError: If one cannot be had from what is given.
    """
    vectors, to_learn_from = "embeddings" in arguments, "train_embeddings" in arguments
    if to_learn_from and not vectors:
        raise BadInputError("--task-arg train_embeddings: give the vectors of the questions, too, with embeddings=FILE")
    able = (*(("zero_shot",) if vectors else ()), *(VARIANTS[1:] if to_learn_from or not vectors else ()))
    names = arguments["variants"].split(",") if "variants" in arguments else able
    for name in names:
        if name not in VARIANTS:
            raise UnknownNameError("variant of imagecode", name, VARIANTS)
        if name not in able:
            lacks = (
                "it learns from vectors of the train split; give them with train_embeddings=FILE.npz"
                if vectors
                else "an encoder for crops knows nothing before it is trained; give vectors with embeddings=FILE.npz"
            )
            raise BadInputError(f"--task-arg variants={arguments['variants']}: {name}: {lacks}")
    return tuple(name for name in VARIANTS if name in names)


def _schedule(variant: str, kind: str, given: Mapping[str, str]) -> Schedule:
    """The paper's decay is that of its code: 0.01 beside the gradient for the set's own images, else 0.2 within it."""
    module = variant in ("context_module", "temporal_embeddings")
    within = kind == "paper" and variant != "context_batch"
    return Schedule(
        epochs=_number(given, "epochs", 1),
        batch=_number(given, "batch", 1),
        rate=_rate(given, "head_rate" if module else "rate"),
        decay=0.2 if within else 0.01,
        coupled=within,
    )


def _number(given: Mapping[str, str], name: str, least: int, most: int | None = None) -> int:
    number = number_argument(given, name, least, most)
    assert number is not None, name
    return number


def _rate(given: Mapping[str, str], name: str) -> float:
    try:
        rate = float(given[name])
    except ValueError:
        rate = -1.0
    if not 0 < rate < 1e3:
        raise BadInputError(f"--task-arg {name}={given[name]}: a learning rate is a number above 0")
    return rate


def _path(given: Mapping[str, str], name: str) -> Path | None:
    return Path(given[name]) if name in given else None
