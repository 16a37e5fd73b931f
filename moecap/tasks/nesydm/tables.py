"""The facts that a run of neurosymbolic diffusion leaves; every number of the method follows from them.

Concepts and labels are texts of whole numbers with a space between them.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from moecap.observations.task_tables import column, declared

__all__ = ["TABLES"]

_EXPERIMENT = column("experiment", pa.string(), "name of the experiment")
_PREDICTOR = column("predictor", pa.string(), "nesydm, nesydm_conditional, independent or semantic_loss")
_SEED = column("seed", pa.int64(), "seed of the training and of what is drawn")
_ITEM = column("item", pa.string(), "id of a test question")

TABLES: Mapping[str, pa.Schema] = {
    "experiments": declared(
        _EXPERIMENT,
        column("program", pa.string(), "name of the program from concepts to labels"),
        column("size", pa.int32(), "digits of a summand, or cells along the edge of a map"),
        column("source", pa.string(), "where the data came from"),
        column("train_items", pa.int64(), "training questions"),
        column("epochs", pa.int32(), "passes over them"),
        column("batch", pa.int32(), "questions a step"),
        column("rate", pa.float64(), "learning rate"),
        column("optimiser", pa.string(), "Adam or RAdam"),
        column("samples", pa.int32(), "S, samples of the gradient estimator"),
        column("candidates", pa.int32(), "K, of the resampling"),
        column("draws", pa.int32(), "L, samples a test question"),
        column("steps", pa.int32(), "T of the discretised sampler; 0 for the first-hitting one"),
        column("beta", pa.float64(), "strength of a missed output in the resampling"),
        column("gamma_c", pa.float64(), "weight of the concepts' term"),
        column("gamma_h", pa.float64(), "weight of the entropy"),
        column("y_weight", pa.string(), "paper or released: how the label's term is weighted"),
    ),
    "items": declared(
        _EXPERIMENT,
        _ITEM,
        column("split", pa.string(), "id: combinations that training showed; ood: others"),
        column("concepts", pa.string(), "the true concepts; an empty text where they are not known"),
        column("label", pa.string(), "the true label"),
    ),
    "draws": declared(
        _EXPERIMENT,
        _PREDICTOR,
        _SEED,
        _ITEM,
        column("concepts", pa.string(), "concepts that were drawn for the question"),
        column("count", pa.int32(), "how often these were"),
    ),
    "labels": declared(
        _EXPERIMENT,
        _PREDICTOR,
        _SEED,
        _ITEM,
        column("label", pa.string(), "label of a predictor that does not take it from the program"),
    ),
    "epochs": declared(
        _EXPERIMENT,
        _PREDICTOR,
        _SEED,
        column("epoch", pa.int32(), "number, from 1 on"),
        column("term", pa.string(), "term of the loss; entropy and semantic in nats"),
        column("value", pa.float64(), "mean over the epoch's steps"),
    ),
    "fits": declared(
        _EXPERIMENT,
        _PREDICTOR,
        _SEED,
        column("parameters", pa.int64(), "numbers that were trained"),
        column("train_seconds", pa.float64(), "time of the training, s"),
        column("draw_seconds", pa.float64(), "time of the samples for all test questions, s"),
    ),
}
