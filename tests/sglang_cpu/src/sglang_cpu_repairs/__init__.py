"""A plugin that SGLang 0.5.23 loads in each of its processes: what its CPU engine lacks beside its kernels.

Routed experts are kept in memory that SGLang registers with CUDA; the expert-distribution recorder asks the device
whether a CUDA graph is being captured; the gate of Qwen2-MoE's shared expert is a Triton kernel; adapters are kept in
memory that is pinned for a device. Each has a plain replacement here, with the same result.
"""

from __future__ import annotations

from typing import Any


def repair() -> None:
    """Put the replacements in place; nothing is touched where there is a CUDA device."""
    import torch

    if torch.cuda.is_available():
        return
    from sglang.kernels.ops.elementwise import elementwise
    from sglang.srt.mem_cache.pool_host import common

    common.ALLOC_MEMORY_FUNCS["cpu"] = _plain_memory
    for namespace in (torch.cpu, torch.cuda):
        namespace.is_current_stream_capturing = lambda: False
        namespace.empty_cache = lambda: None
    elementwise.fused_gate_sigmoid_mul = _gated
    elementwise.fused_gate_sigmoid_mul_add = _add_gated
    torch.Tensor.pin_memory = lambda tensor, *_: tensor
    for name in ("arange", "empty", "ones", "tensor", "zeros"):
        setattr(torch, name, _unpinned(getattr(torch, name)))


def _plain_memory(dims: tuple[int, ...], dtype: Any, device: str, *_arguments: Any, **_options: Any) -> Any:
    """Host memory that is not registered with a device."""
    import torch

    return torch.empty(dims, dtype=dtype, device=device)


def _unpinned(make: Any) -> Any:
    """A function of torch that makes tensors, with no memory pinned for a device, which is refused without one."""

    def made(*arguments: Any, **options: Any) -> Any:
        options.pop("pin_memory", None)
        return make(*arguments, **options)

    return made


def _gated(hidden_states: Any, gate_weight: Any, shared_output: Any) -> Any:
    """A token's shared output, [tokens, width], times the sigmoid of its gate; in fp32 inside."""
    gate = (hidden_states.float() @ gate_weight.float()).sigmoid()
    return (shared_output.float() * gate[:, None]).to(shared_output.dtype)


def _add_gated(hidden_states: Any, gate_weight: Any, shared_output: Any, final_hidden_states: Any) -> None:
    """The same, added to the routed experts' output in place."""
    final_hidden_states += _gated(hidden_states, gate_weight, shared_output)
