"""Number formats: their widths in bytes and the names under which configs and users know them."""

from __future__ import annotations

from moecap.errors import UnknownNameError

__all__ = ["DTYPE_BYTES", "canonical_dtype", "dtype_bytes"]

DTYPE_BYTES: dict[str, float] = {
    "fp64": 8.0,
    "fp32": 4.0,
    "tf32": 4.0,
    "bf16": 2.0,
    "fp16": 2.0,
    "fp8": 1.0,
    "int8": 1.0,
    "fp4": 0.5,
    "int4": 0.5,
}
"""Bytes of one element, scales not included."""

_ALIASES = {
    "float64": "fp64",
    "double": "fp64",
    "float32": "fp32",
    "float": "fp32",
    "bfloat16": "bf16",
    "float16": "fp16",
    "half": "fp16",
    "fp8_e4m3": "fp8",
    "fp8_e5m2": "fp8",
    "float8_e4m3fn": "fp8",
    "float8_e5m2": "fp8",
}


def canonical_dtype(name: str) -> str:
    """The short name of a number format (``"torch.bfloat16"`` → ``"bf16"``).

    Args:
        name: A name as PyTorch, a ``config.json`` or a user writes it.

    Raises:
        UnknownNameError: If no such format is known.
    """
    short = name.lower().removeprefix("torch.")
    short = _ALIASES.get(short, short)
    if short not in DTYPE_BYTES:
        raise UnknownNameError("number format", name, DTYPE_BYTES)
    return short


def dtype_bytes(name: str) -> float:
    """Bytes of one element of a number format, scales not included."""
    return DTYPE_BYTES[canonical_dtype(name)]
