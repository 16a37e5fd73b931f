"""The facts that a run of spoken language identification leaves; every number of the method follows from them."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from moecap.observations.task_tables import column, declared

__all__ = ["ANSWERED", "FAILED", "NAME", "TABLES", "UNPARSED"]

NAME = "spoken_lid"

ANSWERED, UNPARSED, FAILED = "answered", "unanswered", "failed"
"""What became of an utterance: a language, an answer that names none, or no answer."""

_EXPERIMENT = column("experiment", pa.string(), "name of the experiment")
_CLASSIFIER = column("classifier", pa.string(), "name of the classifier")
_SEED = column("seed", pa.int64(), "seed of the training")
_LANGUAGE = "code of ISO 639-3"

TABLES: Mapping[str, pa.Schema] = {
    "experiments": declared(
        _EXPERIMENT,
        column("source", pa.string(), "where the speech came from"),
        column("opposed", pa.string(), "domain or speaker: what the adversarial network shall not tell apart"),
        column("augment", pa.string(), "ways in which training utterances were changed, with commas"),
        column("epochs", pa.int32(), "passes over the training utterances, of a network"),
        column("batch", pa.int32(), "utterances a step"),
        column("rate", pa.float64(), "learning rate of Adam"),
        column("channels", pa.int32(), "channels of each convolution"),
        column("crop", pa.int32(), "frames of an utterance that a step looks at; 0 for all"),
        column("reversal", pa.float64(), "weight of the reversed gradient at the end of the training"),
    ),
    "labels": declared(_EXPERIMENT, column("language", pa.string(), f"a language that can be answered, {_LANGUAGE}")),
    "training": declared(
        _EXPERIMENT,
        column("language", pa.string(), _LANGUAGE),
        column("domain", pa.string(), "kind of the recordings"),
        column("speaker", pa.string(), "who speaks; a number where a user's list names speakers"),
        column("utterances", pa.int64(), "training utterances"),
        column("seconds", pa.float64(), "their length in all, s"),
    ),
    "tests": declared(
        _EXPERIMENT,
        column("item", pa.string(), "id of a test utterance"),
        column("language", pa.string(), f"its language, {_LANGUAGE}"),
        column("domain", pa.string(), "kind of its recording"),
        column("speaker", pa.string(), "who speaks; a number where a user's list names speakers"),
        column("seconds", pa.float64(), "its length, s"),
        column("rate", pa.int32(), "samples a second of its file; 0 of features"),
    ),
    "answers": declared(
        _EXPERIMENT,
        _CLASSIFIER,
        _SEED,
        column("item", pa.string(), "id of a test utterance"),
        column("outcome", pa.string(), f"{ANSWERED}, {UNPARSED} or {FAILED}"),
        column("language", pa.string(), f"the answer, {_LANGUAGE}; an empty text where none was answered"),
    ),
    "fits": declared(
        _EXPERIMENT,
        _CLASSIFIER,
        _SEED,
        column("parameters", pa.int64(), "numbers that were trained"),
        column("train_seconds", pa.float64(), "time of the training, s"),
        column("answer_seconds", pa.float64(), "time of the answers for all test utterances, s"),
    ),
    "epochs": declared(
        _EXPERIMENT,
        _CLASSIFIER,
        _SEED,
        column("epoch", pa.int32(), "number, from 1 on"),
        column("language_loss", pa.float64(), "mean cross-entropy of the languages, nats"),
        column("domain_loss", pa.float64(), "mean cross-entropy of what is opposed, nats; 0 without that head"),
        column("domain_right", pa.float64(), "share of it that its head told right; 0 without that head"),
        column("reversal", pa.float64(), "weight of the reversed gradient at the epoch's end"),
    ),
}
