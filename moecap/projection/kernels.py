"""How kernels run the work of a step: how many are launched, and what padding and imbalance add to experts.

Expert products are grouped: the rows of one expert are padded to whole tiles, so that T·k selections over D distinct
experts compute D·tile·tiles rows, with tiles = max(1, T·k/(D·tile) + 1/2 - 1/(2·tile)), the mean for counts spread
evenly over a tile. The tile is as large as the mean rows of an expert, within 16 to 128, as kernels choose it in steps.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from moecap.models.spec import Matrix, ModelSpec, MoeFfn

__all__ = ["eager_kernels", "launched_kernels", "most_distinct", "padded_rows", "replayed_tokens"]

Floats = npt.NDArray[np.float64]

_SMALLEST_TILE, _LARGEST_TILE = 16, 128
_ATTENTION_KERNELS, _LATENT_KERNELS, _MIXTURE_KERNELS, _DENSE_KERNELS, _SHARED_KERNELS = 5, 4, 7, 2, 1


def padded_rows(selections: Floats, distinct: Floats) -> Floats:
    """Rows that grouped expert products compute for so many selections over so many distinct experts."""
    used = np.maximum(distinct, 1e-9)
    rows = selections / used
    tile = np.clip(rows, _SMALLEST_TILE, _LARGEST_TILE)
    tiles = np.maximum(1.0, rows / tile + 0.5 - 0.5 / tile)
    return np.asarray(np.where(selections > 0, used * tile * tiles, 0.0), np.float64)


def most_distinct(distinct: Floats, experts: int, groups: int) -> Floats:
    """Distinct experts on the busiest of so many groups of devices that share out the experts.

    A group holds N / G experts and each is touched with probability D / N; the largest of G such counts lies about
    √(2 ln G · variance) above their mean, one has at least one, and none has more than it holds.
    """
    mean, touched = distinct / groups, np.clip(distinct / experts, 0.0, 1.0)
    above = np.sqrt(2.0 * np.log(groups) * (1.0 - 1.0 / groups) * mean * (1.0 - touched))
    most = np.minimum(distinct, experts / groups)
    return np.asarray(np.clip(mean + above, np.minimum(most, 1.0), most), np.float64)


_REPLAYED_TOKENS = {"vllm": 512, "vllm-before-0.14": 512}
"""Most tokens of a step with prompts that captured graphs replay, all but the attention; other engines capture steps
that only decode. Source: vLLM's piecewise graphs, captured up to ``max-cudagraph-capture-size``, 512 by default."""
_EAGER_ATTENTION = 3


def replayed_tokens(engine: str, told: int | None) -> int:
    """Most tokens of a step with prompts that captured graphs replay: what the engine was told, or its default."""
    return _REPLAYED_TOKENS.get(engine, 0) if told is None else told


def eager_kernels(spec: ModelSpec) -> tuple[int, int]:
    """Kernels that the host launches one by one in a step with prompts: where graphs replay it, and where none does.

    Graphs leave out each layer's attention: cache write, scores and their reduction.
    """
    layers = sum(count for layer, count in spec.groups if layer.attention.span != "none")
    return _EAGER_ATTENTION * layers, launched_kernels(spec)


def launched_kernels(spec: ModelSpec) -> int:
    """Kernels that a step launches over all layers, as engines fuse them.

    Attention: norm, rotation, cache write, scores with their reduction (5), a product for queries, keys and values and
    one for the output; latent attention has two more products and two more norms. A mixture: norm, router, selection,
    sorting by expert (2), activation, weighted sum (7) and two grouped products; shared experts: two products and an
    activation. A dense network: norm, activation and two products. Inputs that are quantised take a kernel a product.
    """
    total = 0
    for layer, count in spec.groups:
        kernels, a, ffn = 0, layer.attention, layer.ffn
        if a.span != "none":
            kernels += _ATTENTION_KERNELS + (_LATENT_KERNELS if a.latent_rank else 0) + 2 * _product(a.matrices)
        if isinstance(ffn, MoeFfn):
            kernels += _MIXTURE_KERNELS + 2 * _product(ffn.expert_matrices)
            kernels += _SHARED_KERNELS + 2 * _product(ffn.shared_matrices) if ffn.shared_matrices else 0
        elif ffn.matrices:
            kernels += _DENSE_KERNELS + 2 * _product(ffn.matrices)
        total += count * kernels
    return total


def _product(matrices: tuple[Matrix, ...]) -> int:
    """Kernels of a product: itself, and one that quantises its inputs."""
    return 2 if any(matrix.format.inputs for matrix in matrices) else 1
