"""The tables that the method leaves: what was taught and at which cost, how training went, and every score."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from moecap.observations.task_tables import column, declared

__all__ = ["MEASURES", "PARTS", "TABLES"]

PARTS = ("batch", "train", "held_out")
MEASURES = ("loss", "kl", "hidden")

_DOCUMENT = column("document", pa.string(), "id of the document in its data set")
_QUESTION = column("question", pa.string(), "id of the question in its data set")
_SETTING = column("setting", pa.string(), "how it was asked: base, icl, rag, km, rag_km, km_ke, rag_ke or rag_km_ke")

TABLES: Mapping[str, pa.Schema] = {
    "modules": declared(
        _DOCUMENT,
        column("role", pa.string(), "asked, or extractor for a document on which the extractor is trained"),
        column("document_tokens", pa.int64(), "tokens of the whole document"),
        column("taught_tokens", pa.int64(), "tokens of the chunks that were taught"),
        column("lessons", pa.int32(), "texts from which the module learnt or by which it was chosen"),
        column("lesson_tokens", pa.int64(), "tokens of these texts"),
        column("fed_tokens", pa.int64(), "tokens that the student was fed in training"),
        column("adapter_parameters", pa.int64(), "numbers in the module"),
        column("adapter_bytes", pa.int64(), "its bytes in the model's number format"),
        column("expert_adapter_parameters", pa.int64(), "of a module of this rank on all routed experts"),
        column("expert_adapter_active", pa.int64(), "those of them that one token would pass"),
        column("kv_bytes", pa.int64(), "bytes of the document's KV cache"),
        column("teacher_bytes", pa.int64(), "bytes of the teacher's logits and states that were kept"),
        column("teacher_passes", pa.int64(), "passes of the teacher"),
        column("best_step", pa.int32(), "update whose state was kept"),
        column("writing_ns", pa.int64(), "time in which the model wrote its summaries, ns"),
        column("training_ns", pa.int64(), "time of the training, teacher and looks included, ns"),
        column("indexing_ns", pa.int64(), "time in which the passages were indexed, ns; 0 where there is no index"),
    ),
    "training": declared(
        _DOCUMENT,
        column("step", pa.int32(), "updates made"),
        column("part", pa.string(), "batch (with dropout), or train or held_out as a whole"),
        column("measure", pa.string(), "loss, kl or hidden"),
        column("value", pa.float64(), "loss and kl in nats a token, hidden as a share; loss is kl + hidden"),
    ),
    "extractor": declared(
        column("step", pa.int32(), "updates made"), column("loss", pa.float64(), "cross-entropy over options, nats")
    ),
    "questions": declared(_QUESTION, _DOCUMENT, column("gold", pa.int32(), "number of the right option")),
    "answers": declared(
        _QUESTION,
        _SETTING,
        column("option", pa.int32(), "number of the option"),
        column("tokens", pa.int32(), "its tokens"),
        column("log_likelihood", pa.float64(), "of the whole option after the prompt, nats"),
    ),
    "queries": declared(
        _QUESTION,
        _SETTING,
        column("prompt_tokens", pa.int64(), "tokens before the option"),
        column("first_step", pa.int64(), "first of the engine's steps for it"),
        column("end_step", pa.int64(), "the step after its last one"),
        column("retrieving_ns", pa.int64(), "time in which its passages were found, ns"),
    ),
}
"""The columns of every table."""
