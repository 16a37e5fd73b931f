"""Routed experts as engines put them into an answer, dense layers among the others.

SGLang: base64 of plain int32. vLLM: base64 of a whole .npy file, in the smallest integers that hold the ids.
"""

from __future__ import annotations

import base64
import binascii
import io

import numpy as np
import numpy.typing as npt

from moecap.models.spec import ModelSpec, MoeFfn

__all__ = ["decode_routed_experts"]

NPY = b"\x93NUMPY"


def decode_routed_experts(text: str, tokens: int, spec: ModelSpec) -> npt.NDArray[np.uint16] | str:
    """The experts that each token's routers selected.

    A dense layer is a row of zeros, which is also a choice that a router can make: which layers have experts is taken
    from the model and never from the zeros.

    Args:
        text: ``routed_experts`` of an answer.
        tokens: Tokens that were fed: prompt + answer - 1, as the last token of an answer is not.
        spec: The model.

    Returns:
        [tokens, MoE layers, k], or why the text is not that of this model and of as many tokens.
    """
    mixtures = {index: layer.ffn for index, layer in enumerate(spec.layers) if isinstance(layer.ffn, MoeFfn)}
    selected = {ffn.top_k for ffn in mixtures.values()}
    if len(selected) != 1:
        return "the model has no MoE layer, or layers that select different numbers of experts"
    shape = (tokens, len(spec.layers), selected.pop())
    try:
        raw = base64.b64decode(text, validate=True)
        found = np.load(io.BytesIO(raw), allow_pickle=False) if raw.startswith(NPY) else np.frombuffer(raw, "<i4")
    except (binascii.Error, ValueError, EOFError) as error:
        return f"they cannot be decoded ({error})"
    if found.size != int(np.prod(shape)) or found.dtype.kind not in "iu":
        return (
            f"they are {found.size} numbers of type {found.dtype} where {tokens} tokens, {shape[1]} layers and "
            f"top-{shape[2]} make {int(np.prod(shape))} integers"
        )
    experts = found.reshape(shape)[:, list(mixtures)]
    most = max(ffn.experts + ffn.zero_experts for ffn in mixtures.values())
    if experts.size and (experts.min() < 0 or experts.max() >= most):
        return f"they name experts {experts.min()} to {experts.max()} of {most}"
    return experts.astype(np.uint16)
