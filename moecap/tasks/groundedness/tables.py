"""The tables of facts that the method leaves; every number follows from them."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from moecap.observations.task_tables import column, declared

__all__ = ["TABLES"]

TABLES: Mapping[str, pa.Schema] = {
    "words": declared(
        column("caption", pa.int32(), "number of the caption, from 0"),
        column("picture", pa.int32(), "number of the picture that it is of, from 0"),
        column("word", pa.int32(), "number of the word in it, from 0"),
        column("language", pa.string(), "language of the caption"),
        column("upos", pa.string(), "universal part of speech; empty for a word that has no single one"),
        column("type", pa.int32(), "number that words of the same form, class and language have in common"),
    ),
    "tokens": declared(
        column("condition", pa.string(), "what stands before the caption: null, context, shuffled or blank"),
        column("caption", pa.int32(), "number of the caption"),
        column("token", pa.int32(), "number of the token in it, from 0; the end of the text is the last"),
        column("word", pa.int32(), "number of its word; -1 for tokens of no word"),
        column("opens", pa.bool_(), "whether it begins with white space or ends the text"),
        column("log_p", pa.float64(), "log-probability after all before it, nats"),
        column("mass", pa.float64(), "log-probability that a token that opens stands here, nats; 0 if unknown"),
        column("mass_known", pa.bool_(), "whether the engine told the mass"),
        column("continuation", pa.int64(), "number of the scored text in the steps of the run"),
        column("position", pa.int32(), "place of the token in the text that was fed, from 0"),
    ),
    "digits": declared(
        column("picture", pa.int32(), "number of the test picture, from 0"),
        column("word", pa.int32(), "number of the word in its caption, from 0"),
        column("form", pa.string(), "the word"),
        column("language_model", pa.float64(), "surprisal of the word by the language model, nats"),
        column("captioner", pa.float64(), "by the captioner that sees the picture, nats"),
        column("shuffled", pa.float64(), "by the captioner that sees another picture, nats"),
        column("black", pa.float64(), "by the captioner that sees no light, nats"),
        column("mean", pa.float64(), "by the captioner that sees the mean of the training pictures, nats"),
        column("closed_form", pa.float64(), "groundedness by the frequencies of the training captions, nats"),
    ),
}
"""The columns of each table."""
