"""The facts that a run of the probe leaves; every number of the method follows from them."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from moecap.observations.task_tables import column, declared

__all__ = ["CELL", "NAME", "RANDOM_DRAWS", "TABLES"]

NAME = "neuron_probe"

RANDOM_DRAWS = 5
"""Random subsets of units that the selected ones are held against."""

_LANGUAGE = column("language", pa.string(), "code of the language")
_ATTRIBUTE = column("attribute", pa.string(), "name of the morphological attribute")
_SEED = column("seed", pa.int64(), "seed of the split by lemma, of the training and of what is drawn")
_CELL = (_LANGUAGE, _ATTRIBUTE, _SEED)

CELL = [field.name for field in _CELL]
"""The columns that tell one probe from another."""

TABLES: Mapping[str, pa.Schema] = {
    "setting": declared(
        column("unit", pa.string(), "what a unit is: neuron, expert, chosen, or given (vectors of a file)"),
        column("layer", pa.string(), "layer of the neurons: last, all or its number; all for experts"),
        column("units", pa.int64(), "D, units in all, layer after layer"),
        column("layers", pa.int64(), "layers that they come from"),
        column("selected", pa.int32(), "k, units that are selected"),
        column("words", pa.int64(), "words of all languages"),
        column("least", pa.int64(), "words that a value needs in each split"),
        column("scheme", pa.string(), "poisson or conditional"),
        column("epochs", pa.int32(), "passes over the training words, at most"),
        column("batch", pa.int32(), "words a step; 0 for all at once"),
        column("rate", pa.float64(), "learning rate"),
        column("masks", pa.int32(), "M, subsets drawn for each word"),
        column("entropy", pa.float64(), "weight of the entropy of the subsets"),
        column("patience", pa.int32(), "epochs without a better loss after which training stops; 0 for never"),
    ),
    "values": declared(
        *_CELL,
        column("split", pa.string(), "train, dev or test"),
        column("value", pa.string(), "value of the attribute"),
        column("n", pa.int64(), "words with it in the split"),
    ),
    "skipped": declared(*_CELL, column("reason", pa.string(), "why the attribute was not probed there")),
    "selected": declared(
        *_CELL,
        column("rank", pa.int32(), "place of the unit in the greedy selection, from 1 on"),
        column("unit", pa.int64(), "number of the unit, from 0 on"),
        column("dev_bits", pa.float64(), "surprisal of all dev words with the units up to this one, bits"),
        column("test_bits", pa.float64(), "the same of all test words"),
        column("test_right", pa.int64(), "test words whose most probable value is right with these units"),
    ),
    "controls": declared(
        *_CELL,
        column("kind", pa.string(), "all: with all units; random: with as many as are selected, drawn at random"),
        column("draw", pa.int32(), "number of the draw, from 0 on"),
        column("test_bits", pa.float64(), "surprisal of all test words, bits"),
        column("test_right", pa.int64(), "test words whose most probable value is right"),
    ),
    "answers": declared(
        *_CELL,
        column("item", pa.string(), "id of a test word"),
        column("lemma", pa.int64(), "number that test words of the same lemma have in common"),
        column("gold", pa.string(), "its value"),
        column("answer", pa.string(), "the most probable value with the selected units"),
    ),
    "fits": declared(
        *_CELL,
        column("epochs", pa.int32(), "passes that were made over the training words"),
        column("loss", pa.float64(), "mean surprisal with the subsets of the last one, nats"),
        column("in_selected", pa.float64(), "mean over the selected units of the probability of inclusion"),
        column("in_all", pa.float64(), "the same over all units"),
        column("train_seconds", pa.float64(), "time of the training, s"),
        column("select_seconds", pa.float64(), "time of the selection, s"),
    ),
}
