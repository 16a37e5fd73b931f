"""Names that SGLang imports from its kernels' package on a processor; none computes anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

__version__ = "0.4.10"


def absent_kernel(name: str) -> Callable[..., NoReturn]:
    """A function under a kernel's name that refuses to be one."""

    def refuse(*_arguments: object, **_options: object) -> NoReturn:
        raise NotImplementedError(f"sgl_kernel.{name}: a stand-in without a kernel; this model needs SGLang's kernels")

    return refuse


ALLOCATION = ("assign_req_to_token_pool_cpu", "assign_extend_cache_locs_cpu", "copy_all_layer_kv_cache_cpu")
SPECULATION = (
    "assign_draft_cache_locs_contiguous_cpu",
    "build_draft_decode_metadata_cpu",
    "build_tree_kernel_efficient_cpu",
    "fill_accept_out_cache_loc_cpu",
    "fill_bonus_tokens_cpu",
    "rotate_input_ids_cpu",
    "verify_tree_greedy_cpu",
)

globals().update({name: absent_kernel(name) for name in ALLOCATION + SPECULATION})
