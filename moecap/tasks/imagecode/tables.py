"""The facts that a run of ImageCoDe leaves; every number of the method follows from them."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from moecap.observations.task_tables import column, declared

__all__ = ["NO_PICK", "TABLES", "UNKNOWN"]

NO_PICK = -1
"""The pick of a question to which no answer was found."""

UNKNOWN = -1
"""The image that is meant where the data does not tell."""

_ITEM = column("item", pa.string(), "id of the question: set/description")
_VARIANT = column("variant", pa.string(), "who picked: a variant of the encoder, chat, or pairs")
_SEED = column("seed", pa.int32(), "seed of the training, or of the run")

TABLES: Mapping[str, pa.Schema] = {
    "questions": declared(
        _ITEM,
        column("set", pa.string(), "the set of ten images"),
        column("kind", pa.string(), "video: frames of one video; static: similar pictures"),
        column("source", pa.string(), "where the set's images come from"),
        column("group", pa.string(), "what questions whose images are alike have in common"),
        column("gold", pa.int32(), "place of the image that is meant, 0 to 9; -1 where the data does not tell"),
    ),
    "tags": declared(_ITEM, column("tag", pa.string(), "a phenomenon of which the description is an example")),
    "picks": declared(
        _VARIANT, _SEED, _ITEM, column("pick", pa.int32(), "place of the picked image, 0 to 9; -1 for no answer")
    ),
    "scores": declared(
        _VARIANT,
        _SEED,
        _ITEM,
        column("image", pa.int32(), "place of an image, 0 to 9"),
        column("score", pa.float64(), "its score, larger for what fits better"),
    ),
    "fits": declared(
        _VARIANT,
        _SEED,
        column("parameters", pa.int64(), "numbers that were trained; 0 for none"),
        column("kept_epoch", pa.int32(), "epoch whose weights are kept, from 1 on; 0 where nothing was trained"),
        column("train_seconds", pa.float64(), "time of the training, s"),
        column("score_seconds", pa.float64(), "time of the scores of all questions, s"),
    ),
    "epochs": declared(
        _VARIANT,
        _SEED,
        column("epoch", pa.int32(), "number, from 1 on"),
        column("loss", pa.float64(), "mean cross-entropy of the epoch's steps, nats"),
        column("held_out", pa.float64(), "share right of the held-out questions after it"),
    ),
    "requests": declared(
        _ITEM,
        column("image", pa.int32(), "place of the image that was shown alone; -1 for all ten"),
        column("status", pa.string(), "completed or failed"),
        column("seconds", pa.float64(), "from the send to the end, s"),
    ),
    "tokens": declared(
        _ITEM,
        column("image", pa.int32(), "as in requests"),
        column("input_tokens", pa.int64(), "tokens of text and images, as the server counts them"),
        column("output_tokens", pa.int64(), "tokens of the answer, as the server counts them"),
    ),
}
