"""A linear layer with an inventory of low-rank adapters, of which each task applies its own mixture.

Each of K adapters is cut into S blocks, A along the layer's input and B along its output. A task's weights mix the
*parameters* of the blocks, and what comes out is one adapter, which is then applied (arXiv 2211.03831, section 3):

    A_t = stack over s of   sum over k of alpha[t, s, k] A[s, k]        [d_in, r]
    B_t = side by side, s:  sum over k of alpha[t, s, k] B[s, k]        [r, d_out]
    y = W x + x A_t B_t / r

Since A and B are mixed apart, this is not the mean of the K adapters' outputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from moecap.errors import BadInputError
from moecap.tasks.adapter_routing.router import Router

__all__ = ["Adapter", "AskedTasks", "FanIn", "RoutedLinear", "refuse_heads"]

FanIn = Literal["layer", "block"]
"""What A's first values are scaled by: the layer's whole input (the authors' code), or a block's share of it (PEFT),
which makes them larger by the square root of the number of heads."""


Adapter = tuple[Tensor, Tensor]
"""A and B."""


@dataclass(slots=True)
class AskedTasks:
    """The task of each row of the batch that goes through the layers now, [batch]; one entry stands for all rows.

    It is shared by all layers of a model, since a model's own layers pass no task numbers on.
    """

    ids: Tensor


class RoutedLinear(nn.Module):  # type: ignore[misc]
    """A frozen linear layer beside its adapters.

    Attributes:
        base: The layer, ``nn.Linear``.
        router: Gives the weights; several layers may share one.
        a: [heads, skills, d_in / heads, r].
        b: [heads, skills, r, d_out / heads], zero at first, so that nothing is changed.
    """

    def __init__(
        self, base: nn.Linear, router: Router, rank: int, asked: AskedTasks, *, fan_in: FanIn = "layer"
    ) -> None:
        super().__init__()
        refuse_heads(router.heads, base.in_features, base.out_features)
        heads, skills, device = router.heads, router.skills, base.weight.device
        rows, columns = base.in_features // heads, base.out_features // heads
        bound = 1 / math.sqrt(base.in_features if fan_in == "layer" else rows)
        self.base, self.router, self._asked, self.rank = base, router, asked, rank
        self.a = nn.Parameter(torch.empty(heads, skills, rows, rank).uniform_(-bound, bound).to(device))
        self.b = nn.Parameter(torch.zeros(heads, skills, rank, columns, device=device))

    def mixed(self, alpha: Tensor) -> Adapter:
        """The one adapter that weights make of the skills, [n, heads, skills] to A [n, d_in, r] and B [n, r, d_out]."""
        a = torch.einsum("nsk,skdr->nsdr", alpha, self.a).flatten(1, 2)
        b = torch.einsum("nsk,skrd->nrsd", alpha, self.b).flatten(2)
        return a, b

    def forward(self, x: Tensor) -> Tensor:
        """[batch, ..., d_in] to [batch, ..., d_out]; each task that is asked is merged once."""
        plain: Tensor = self.base(x)
        ids = self._asked.ids
        if len(ids) == 1:
            a, b = (one[0] for one in self.mixed(self.router(ids)))
            added = x.to(a.dtype) @ a @ b
        else:
            tasks, row = ids.unique(return_inverse=True)
            a, b = (one[row] for one in self.mixed(self.router(tasks)))
            flat = x.to(a.dtype).reshape(len(ids), -1, x.shape[-1])
            added = flat.bmm(a).bmm(b).reshape(*x.shape[:-1], -1)
        return plain + (added / self.rank).to(plain.dtype)


def refuse_heads(heads: int, d_in: int, d_out: int) -> None:
    """Refuse a number of heads that does not cut a layer into equal blocks.

    Raises:
        BadInputError: If it divides the layer's input or output with a rest.
    """
    if d_in % heads or d_out % heads:
        raise BadInputError(
            f"heads={heads}: it must divide the input and output of every adapted layer, and one is {d_in} to "
            f"{d_out}; take a divisor of {math.gcd(d_in, d_out)}"
        )
