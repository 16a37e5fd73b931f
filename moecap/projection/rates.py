"""At which rate a chip multiplies a matrix: by the format that engines compute in there, not always the stored one.

============================================  ====================================================================
weights and inputs in one narrow format       that format, where the chip multiplies it
the same in fp8 with scales of square blocks  ``fp8_block``: fp8's peak, but partial sums are scaled in vector units
the same, and the chip lacks the format       ``widened``: weights are unpacked, products in the activations' format
weights alone are narrow                      ``widened``
the same in fp4, and the chip multiplies fp4  fp8: engines quantise the inputs to fp8 there (MXFP4 of gpt-oss)
not quantised                                 the activations' format
============================================  ====================================================================

Sources: vLLM's choice of kernels for FP8 without native support (Marlin), for MXFP4 on Hopper (Marlin, Triton) and on
Blackwell (FlashInfer, TensorRT-LLM kernels with MXFP8 inputs).
"""

from __future__ import annotations

from moecap.dtypes import dtype_bytes
from moecap.errors import NotAvailableError
from moecap.hardware.profile import HardwareProfile
from moecap.models.spec import WeightFormat

__all__ = ["RATES", "WIDENED", "product_rate"]

WIDENED = "widened"

RATES = ("bf16", "fp8", "fp8_block", "fp4", "int8", "fp32", WIDENED)
"""The rates that efficiencies are kept for; fp16 is bf16's."""

_WIDER = {"bf16": ("bf16", "fp16", "fp32"), "fp16": ("fp16", "bf16", "fp32"), "fp32": ("fp32",)}
_NARROW = 2.0


def product_rate(form: WeightFormat, activations: str, hardware: HardwareProfile) -> tuple[str, float]:
    """The rate at which products with a matrix run.

    Args:
        form: How the matrix is stored.
        activations: Number format of the activations.
        hardware: The chip.

    Returns:
        A name of :data:`RATES` and the dense peak in FLOP/s.

    Raises:
        NotAvailableError: If the profile knows no rate for the activations' format, nor for a wider one.
    """
    if form.inputs is not None and (peak := hardware.peak_flops(form.inputs)) is not None:
        if form.inputs == "fp8" and form.block is not None and min(form.block) > 1:
            return "fp8_block", peak.value
        return ("bf16" if form.inputs == "fp16" else form.inputs), peak.value
    if form.dtype == "fp4" and form.inputs is None and hardware.peak_flops("fp4") is not None:
        peak = hardware.peak_flops("fp8")
        if peak is not None:
            return "fp8", peak.value
    for name in _WIDER.get(activations, (activations,)):
        peak = hardware.peak_flops(name)
        if peak is not None:
            narrow = dtype_bytes(form.dtype) < _NARROW
            return (WIDENED if narrow else "bf16" if name == "fp16" else name), peak.value
    raise NotAvailableError(
        f"the profile {hardware.id!r} has no peak for {activations} or a wider format; give one that does"
    )
