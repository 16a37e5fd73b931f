"""The number formats of a run: what the weights, the KV cache and the matrix products are in, from one name.

Most engines hold everything in one format (``bf16``). A GGUF file holds its matrices in one type and all vectors and
routers in fp32, llama.cpp keeps its KV cache in fp16 and multiplies in a format of its own: ``gguf-q8_0`` and so on. A
quantised checkpoint says in its own ``quantization_config`` what each class of tensors is in.

Sources: llama.cpp's ``convert_hf_to_gguf.py`` for the tensors that stay in fp32; ``ggml-common.h`` for the blocks
(q8_0: 32 weights of 8 bits with one fp16 scale, 34 bytes); ``ggml-cpu`` for the products on x86 with AVX2: inputs are
rounded to the format of the weights; fp16 and bf16 are widened and multiplied in fp32, q8_0 as 8-bit integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from moecap.dtypes import canonical_dtype
from moecap.errors import BadInputError, UnknownNameError
from moecap.models.spec import ModelSpec, WeightFormat

__all__ = [
    "GGUF_FORMATS",
    "GGUF_PREFIX",
    "Formats",
    "asked_cache",
    "asked_weights",
    "checkpoint_formats",
    "gguf_format",
    "gguf_name",
    "run_formats",
]

GGUF_PREFIX = "gguf-"

GGUF_FORMATS: dict[str, WeightFormat] = {
    "fp32": WeightFormat("fp32"),
    "fp16": WeightFormat("fp16"),
    "bf16": WeightFormat("bf16"),
    "q8_0": WeightFormat("int8", (1, 32), 2.0, inputs="int8"),
}
"""How a GGUF file's matrices are stored, by the name under which a user asks for it."""

_KV, _WIDE = "fp16", "fp32"
"""llama.cpp's KV cache unless it is told otherwise, and its activations."""


_UNQUANTISED = ("bf16", "fp16", "fp32")
_CACHES = ("bf16", "bfloat16", "fp16", "float16", "fp32", "float32", "fp8", "fp8_e4m3", "fp8_e5m2")


@dataclass(frozen=True, slots=True)
class Formats:
    """The number formats of a run.

    Attributes:
        weights: Name of the weights' format, as :func:`moecap.models.reading.read_model` takes it.
        kv: Format of the KV cache.
        compute: Format of the matrix products whose inputs are not quantised.
        activations: Format of what passes from layer to layer.
        asked: The ``--precision`` that means it.
        own: Whether the checkpoint is quantised and its own configuration says in what; ``weights`` is then the format
            of what is not quantised.
    """

    weights: str
    kv: str
    compute: str
    activations: str
    asked: str
    own: bool = False

    def words(self, spec: ModelSpec) -> str:
        """The formats of the weights in words: one name, or those of the checkpoint, that of most bytes first."""
        return spec.formats if self.own else self.weights


def run_formats(weights: str) -> Formats:
    """The formats that go with a format of weights.

    Raises:
        UnknownNameError: If no such format is known.
    """
    if not weights.startswith(GGUF_PREFIX):
        plain = canonical_dtype(weights)
        return Formats(plain, plain, plain, plain, plain)
    name = weights.removeprefix(GGUF_PREFIX)
    gguf_format(name)
    return Formats(weights, _KV, _WIDE, _WIDE, name)


def checkpoint_formats(activations: str, kv: str) -> Formats:
    """The formats of a checkpoint that is quantised by itself.

    Args:
        activations: Format of activations and of what is not quantised.
        kv: Format of the KV cache.

    Raises:
        BadInputError: If nothing can be left unquantised in that format.
        UnknownNameError: If no such format is known.
    """
    plain = canonical_dtype(activations)
    if plain not in _UNQUANTISED:
        raise BadInputError(
            f"precision {activations!r}: the checkpoint is quantised by itself, and this is the format of the rest; "
            f"choose {', '.join(_UNQUANTISED)} or auto"
        )
    return Formats(plain, kv, plain, plain, plain, own=True)


def asked_cache(arguments: Mapping[str, str]) -> str | None:
    """The format of the KV cache that engine arguments ask for; ``None`` where they leave it open.

    vLLM, SGLang and an attached server take it as ``kv-cache-dtype``.

    Raises:
        BadInputError: If caches of that format are not counted here.
    """
    given = {name: value for name, value in arguments.items() if name.replace("_", "-").lower() == "kv-cache-dtype"}
    if len(given) > 1:
        raise BadInputError(f"engine arguments {' and '.join(given)} are one; give it once")
    for name, value in given.items():
        if value.lower() == "auto":
            return None
        if value.lower() not in _CACHES:
            raise BadInputError(f"engine argument {name}={value}: counted are auto, {', '.join(_CACHES)}; choose one")
        return canonical_dtype(value)
    return None


def gguf_name(precision: str) -> str:
    """The name of a GGUF format as ``--precision`` may spell it: ``f16``, ``fp16``, ``float16`` → ``fp16``.

    Raises:
        BadInputError: If llama.cpp's files of that format are not counted here.
    """
    spelled = precision.lower()
    short = {"f32": "fp32", "f16": "fp16"}.get(spelled, spelled)
    if short not in GGUF_FORMATS:
        try:
            short = canonical_dtype(short)
        except UnknownNameError:
            short = ""
    if short not in GGUF_FORMATS:
        raise BadInputError(f"precision {precision!r}: GGUF files are counted in {', '.join(GGUF_FORMATS)}; choose one")
    return short


def asked_weights(precision: str, weights: str) -> str:
    """The format of weights that a run must have had, given the ``--precision`` that it was asked for.

    Args:
        precision: What was asked for.
        weights: What the run says that it had, which ``auto`` leaves open.
    """
    if precision == "auto":
        return weights
    if precision.startswith(GGUF_PREFIX):
        return precision
    if weights.startswith(GGUF_PREFIX):
        try:
            return GGUF_PREFIX + gguf_name(precision)
        except BadInputError:
            return precision
    return canonical_dtype(precision)


def gguf_format(name: str) -> WeightFormat:
    """How the matrices of a GGUF file of a format are stored.

    Raises:
        UnknownNameError: If no such format is known.
    """
    if name not in GGUF_FORMATS:
        raise UnknownNameError("GGUF format", name, GGUF_FORMATS)
    return GGUF_FORMATS[name]
