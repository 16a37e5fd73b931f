"""The messages between devices: over which link, how many in a step, and what a device sends in them.

A reduction of M bytes over R ranks that is done in two stages sends 2·(R - 1)/R·M from each, as a ring does. Small
messages over links between all devices are reduced in one stage: each rank sends all of its M bytes to all others,
(R - 1)·M, and saves one synchronisation. Up to which size is the engine's choice:

=====================  ===========  ===========
engine                 to 4 ranks   to 8 ranks
=====================  ===========  ===========
vLLM and its relatives     512 KiB      256 KiB
TensorRT-LLM                  1 MB       500 KB
=====================  ===========  ===========

Sources: ``custom_all_reduce.cuh`` of vLLM, which SGLang took over; the automatic choice of TensorRT-LLM's all-reduce
plugin. Replicas of the attention gather the inputs of the experts: TensorRT-LLM in the format in which these multiply
them (``fused_moe_cutlass.py``), the others in that of the activations.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from moecap.dtypes import dtype_bytes
from moecap.errors import NotAvailableError
from moecap.models.spec import DenseFfn, MoeFfn
from moecap.projection.deployment import Deployment

__all__ = ["device_link", "gathered_width", "messages", "reduced_bytes"]

Floats = npt.NDArray[np.float64]

_IN_ONE_STAGE = {"trtllm": (1.0e6, 5.0e5), "": (0.0, 0.0)}
_OTHERS = (512 * 1024.0, 256 * 1024.0)


def device_link(deployment: Deployment) -> tuple[float, bool]:
    """Bytes/s in one direction between devices, and whether a link of their own carries them; 0 of one device.

    Raises:
        NotAvailableError: If the profile has no link.
    """
    if deployment.devices == 1:
        return 0.0, True
    hardware = deployment.hardware
    if hardware.interconnect is not None and deployment.devices <= _joined(hardware.interconnect.technology):
        return hardware.interconnect.bytes_per_second_per_direction, True
    if hardware.pcie is not None:
        return hardware.pcie.bytes_per_second_per_direction, False
    raise NotAvailableError(
        f"the profile {hardware.id!r} has no link between devices; give one with interconnect or pcie, or one device"
    )


def messages(deployment: Deployment, tokens: Floats, *, switched: bool) -> tuple[float, Floats]:
    """Collectives of a step and the bytes that a device sends in them, float64 [n].

    After attention the ranks of a replica reduce the rows of their own sequences, after a network all devices of the
    stage those of all sequences. Where replicas share the network that is a gather of its inputs and a reduce-scatter
    of its outputs. Dense networks that each replica keeps are reduced in it. The head takes one more, and a stage sends
    its rows to the next.

    Args:
        deployment: The deployment.
        tokens: Tokens of the steps, float64 [n].
        switched: Whether a link of their own joins the devices.
    """
    split, groups = deployment.parallelism, deployment.spec.groups
    stage, engine = split.tensor * split.data, deployment.engine if switched else ""
    attended = sum(count for layer, count in groups if layer.attention.span != "none")
    mixtures = sum(count for layer, count in groups if isinstance(layer.ffn, MoeFfn))
    dense = sum(count for layer, count in groups if isinstance(layer.ffn, DenseFfn) and layer.ffn.matrices)
    own, common = (dense, mixtures) if split.whole_replicas else (0, mixtures + dense)
    within = (attended + own + 1) * (split.tensor > 1)
    across = common * (stage > 1)
    hidden = deployment.spec.hidden_size
    row = hidden * dtype_bytes(deployment.activations)
    sent = within * reduced_bytes(tokens / split.data * row, split.tensor, engine)
    if split.data > 1:
        sent = sent + across * tokens * (hidden * gathered_width(deployment) + row) * (stage - 1) / stage
    else:
        sent = sent + across * reduced_bytes(tokens * row, stage, engine)
    sent = sent + (split.pipeline - 1) * tokens * row / stage
    calls = within + across * (2 if split.data > 1 else 1) + split.pipeline - 1
    return float(calls), np.asarray(sent, np.float64)


def reduced_bytes(message: Floats, ranks: int, engine: str) -> Floats:
    """Bytes that a device sends where messages of so many bytes are reduced, float64 [n].

    Args:
        message: Bytes of the rows that are reduced, float64 [n].
        ranks: R, devices that take part.
        engine: Family of the engine; empty where no link of their own joins the devices.
    """
    few, many = _IN_ONE_STAGE.get(engine.removesuffix("-before-1.0"), _OTHERS)
    most = few if ranks <= 4 else many if ranks <= 8 else 0.0
    parts = np.where(message < most, float(ranks - 1), 2.0 * (ranks - 1) / ranks)
    return np.asarray(parts * message, np.float64)


def gathered_width(deployment: Deployment) -> float:
    """Bytes of an element of the inputs that replicas of the attention gather for the experts."""
    width = dtype_bytes(deployment.activations)
    if not deployment.engine.startswith("trtllm"):
        return width
    forms = {
        m.format
        for layer, _ in deployment.spec.groups
        if isinstance(layer.ffn, MoeFfn)
        for m in layer.ffn.expert_matrices
    }
    narrow = [f for f in forms if f.inputs == "fp4" or (f.inputs == "fp8" and not (f.block and min(f.block) > 1))]
    if len(narrow) != len(forms) or not forms:
        return width
    scale = 1.0 / 16.0
    return max(dtype_bytes(str(f.inputs)) + (scale if f.inputs == "fp4" else 0.0) for f in narrow)


def _joined(technology: str) -> float:
    """Devices that a link of this kind joins: bridges join two or four, a switch or a mesh all."""
    return 2 if "(pairs)" in technology else 4 if "(2/4-way)" in technology else math.inf
