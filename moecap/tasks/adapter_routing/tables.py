"""The facts that an experiment with adapters leaves; every number of the method follows from them."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from moecap.observations.task_tables import column, declared

__all__ = ["BYTES_PER_PARAMETER", "NO_ADAPTER", "TABLES"]

NO_ADAPTER = "none"
"""In the place of a variant: the frozen model alone."""

BYTES_PER_PARAMETER = 4
"""Adapters are trained and stored in fp32."""

_VARIANT = column("variant", pa.string(), "name of the variant")
_SEED = column("seed", pa.int32(), "seed")
_STAGE = column(
    "stage", pa.string(), "multitask: the training tasks; few_shot: the held-out ones; zero_shot: without shots"
)
_ADAPTATION = column("adaptation", pa.string(), "how it was adapted; none for the multi-task stage")

TABLES: Mapping[str, pa.Schema] = {
    "layers": declared(
        column("name", pa.string(), "name of the adapted layer in the model"),
        column("d_in", pa.int32(), "its inputs"),
        column("d_out", pa.int32(), "its outputs"),
        column("router", pa.int32(), "number of its router"),
    ),
    "variants": declared(
        _VARIANT,
        column("routing", pa.string(), "learned, mean or private"),
        column("tasks", pa.int32(), "T, training tasks"),
        column("heads", pa.int32(), "S"),
        column("skills", pa.int32(), "K"),
        column("rank", pa.int32(), "r of a skill"),
    ),
    "scores": declared(
        _STAGE,
        _VARIANT,
        _ADAPTATION,
        _SEED,
        column("task", pa.string(), "name of the task that is judged"),
        column("right", pa.int32(), "right answers among its test examples"),
        column("n", pa.int32(), "its test examples"),
    ),
    "routing": declared(
        _VARIANT,
        _SEED,
        column("router", pa.int32(), "number of the router"),
        column("task", pa.int32(), "number of the training task"),
        column("head", pa.int32(), "number of the head"),
        column("skill", pa.int32(), "number of the skill"),
        column("logit", pa.float32(), "Z after the multi-task training"),
    ),
    "gradients": declared(
        _VARIANT,
        _SEED,
        column("step", pa.int32(), "steps of the multi-task training so far"),
        column("first", pa.int32(), "number of a training task"),
        column("second", pa.int32(), "number of another one"),
        column("cosine", pa.float64(), "between their gradients on all A and B"),
    ),
    "training": declared(
        _STAGE,
        _VARIANT,
        _ADAPTATION,
        _SEED,
        column("steps", pa.int32(), "steps of the optimiser, all tasks together"),
        column("loss", pa.float64(), "mean loss of the last tenth of the steps, nats"),
        column("seconds", pa.float64(), "time of the steps, s"),
    ),
    "forward": declared(
        _VARIANT,
        column("repeat", pa.int32(), "number of the pass"),
        column("examples", pa.int32(), "examples in it"),
        column("seconds", pa.float64(), "its time, s"),
    ),
}
