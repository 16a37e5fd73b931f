"""Which experts each layer's router selects, captured in every forward pass of a transformers model.

One forward hook on each router serves all families: transformers 5 routers return their selection as an integer
tensor, [tokens, k], and where they do not (Llama 4, JetMoE) it is the top-k of their logits, which come last. The hook
only keeps a reference, so a pass costs it no copy and no synchronisation; :meth:`RouterCapture.take` does the work
after the pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["RouterCapture"]

ROUTER = re.compile(r"(Router|TopkRouter|TopKRouter|TopKGating|MoEGate)$")


class RouterCapture:
    """Hooks on all routers of a model.

    Args:
        model: The model.
        top_k: Experts that a token selects, for routers that return no indices.

    Attributes:
        routers: The routers, in the order of their layers.
    """

    def __init__(self, model: torch.nn.Module, top_k: int) -> None:
        self._top_k = top_k
        self._selected: list[torch.Tensor] = []
        self.routers = tuple(m for _, m in model.named_modules() if ROUTER.search(type(m).__name__))
        self._handles: list[Any] = []
        self._listening = True
        self.attach()

    @property
    def layers(self) -> int:
        """Number of routers found."""
        return len(self.routers)

    def attach(self) -> None:
        """Start to capture."""
        if not self._handles:
            self._handles = [m.register_forward_hook(self._keep) for m in self.routers]

    def detach(self) -> None:
        """Stop to capture."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    @contextmanager
    def listening(self, listening: bool) -> Iterator[None]:
        """Whether the passes within the context are captured."""
        before, self._listening = self._listening, listening
        try:
            yield
        finally:
            self._listening = before

    def _keep(self, _module: torch.nn.Module, _inputs: Any, output: Any) -> None:
        if not self._listening:
            return
        parts = output if isinstance(output, tuple | list) else (output,)
        for part in parts:
            if torch.is_tensor(part) and part.ndim > 1 and not part.is_floating_point():
                self._selected.append(part)
                return
        self._selected.append(parts[-1].topk(self._top_k, dim=-1).indices)

    def take(self, keep: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64] | None:
        """The selections of the pass that has just ended; forgets them.

        Args:
            keep: Which of the pass's tokens are no padding, [batch · length].

        Returns:
            Expert ids, [tokens, MoE layers, k], or ``None`` where nothing was captured.
        """
        selected, self._selected = self._selected, []
        if not selected:
            return None
        stacked = torch.stack([s.detach().reshape(-1, s.shape[-1]) for s in selected], dim=1).cpu().numpy()
        kept: npt.NDArray[np.int64] = stacked[keep].astype(np.int64, copy=False)
        return kept
