"""Passes over a language model of which only the last blocks change: what enters them is computed once a text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["PASS", "FrozenBlocks", "block_number"]

PASS = 16
"""Texts of a pass that nothing learns from."""

_BLOCK = re.compile(r"(?P<blocks>.*?)\.(?P<number>\d+)\.")
SAME = 1e-2
"""How far the logits of the short way may lie from those of the whole model, as a share of the largest logit; a model
that does more between its blocks than pass a hidden state on lies far beyond it, and always goes the whole way."""


def block_number(layer: str) -> int | None:
    """Number of the block of a layer, by its name; ``None`` where it lies in no numbered block."""
    found = _BLOCK.match(layer)
    return int(found["number"]) if found else None


class _EnteringError(Exception):
    """Ends a pass at the first adapted block, with what enters it, [texts, tokens, hidden]."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states


def _stop(_block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    raise _EnteringError(args[0] if args else kwargs["hidden_states"])


class FrozenBlocks:
    """A causal language model whose blocks below the first adapted one stay as they are.

    Args:
        module: The model as the library transformers builds it, in evaluation mode.
        layers: Names of the adapted layers.
    """

    def __init__(self, module: nn.Module, layers: Sequence[str]) -> None:
        first = min(layers, key=lambda name: block_number(name) or 0)
        found = _BLOCK.match(first)
        assert found is not None, first
        parent, _, name = found["blocks"].rpartition(".")
        self._module, self._first = module, int(found["number"])
        self._parent, self._name = module.get_submodule(parent), name
        self._device = next(module.parameters()).device
        self._entering: dict[tuple[int, ...], Tensor] = {}
        self._compared = False

    def keep(self, texts: Sequence[tuple[int, ...]]) -> None:
        """Compute and keep what enters the first adapted block, of texts of about equal length together.

        Args:
            texts: Token ids of each; those that are kept already cost nothing.
        """
        new = sorted({text for text in texts if text not in self._entering}, key=len) if self._first else []
        for first in range(0, len(new), PASS):
            self._keep(new[first : first + PASS])

    def logits(self, texts: Sequence[tuple[int, ...]], places: Sequence[tuple[int, int]]) -> Tensor:
        """Logits after some tokens, [places, vocabulary]; nothing is computed of the vocabulary for other tokens.

        Args:
            texts: Token ids of each; they are padded on the right, where no earlier token looks.
            places: Number of a text and position in it.
        """
        wanted = torch.tensor(places, device=self._device).T
        if self._first and not self._compared:
            self._compare(texts, wanted)
        return self._from_first(texts, wanted) if self._first else self._whole(texts, wanted)

    def _whole(self, texts: Sequence[tuple[int, ...]], wanted: Tensor) -> Tensor:
        return self._only(wanted, input_ids=self._padded(texts))

    def _from_first(self, texts: Sequence[tuple[int, ...]], wanted: Tensor) -> Tensor:
        self.keep(texts)
        entering = nn.utils.rnn.pad_sequence([self._entering[text] for text in texts], batch_first=True)
        with self._without_lower():
            return self._only(wanted, inputs_embeds=entering)

    def _only(self, wanted: Tensor, **inputs: Tensor) -> Tensor:
        """The model's logits at the wanted places, which alone reach its head."""

        def choose(_head: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
            return (args[0][wanted[0], wanted[1]][None],)

        hook = self._module.get_output_embeddings().register_forward_pre_hook(choose)
        try:
            logits: Tensor = self._module(**inputs, use_cache=False).logits
        finally:
            hook.remove()
        return logits[0]

    def _keep(self, texts: Sequence[tuple[int, ...]]) -> None:
        """One pass that ends at the first adapted block; [tokens, hidden] of each text is kept."""
        for text, state in zip(texts, self._states(texts), strict=True):
            self._entering[text] = state[: len(text)].clone()

    def _states(self, texts: Sequence[tuple[int, ...]]) -> Tensor:
        """What enters the first adapted block, [texts, tokens, hidden], padded as the texts are."""
        block = getattr(self._parent, self._name)[self._first]
        hook = block.register_forward_pre_hook(_stop, with_kwargs=True)
        try:
            with torch.no_grad():
                self._module(input_ids=self._padded(texts), use_cache=False)
        except _EnteringError as reached:
            return reached.states
        finally:
            hook.remove()
        raise AssertionError("the first adapted block takes part in every pass")

    @contextmanager
    def _without_lower(self) -> Iterator[None]:
        blocks = getattr(self._parent, self._name)
        setattr(self._parent, self._name, blocks[self._first :])
        try:
            yield
        finally:
            setattr(self._parent, self._name, blocks)

    def _compare(self, texts: Sequence[tuple[int, ...]], wanted: Tensor) -> None:
        """Go the short way only where it leads to the same logits, from states of the same texts in the same pass.

        States that were kept from other passes are rounded otherwise, which in bf16 can send a token to other experts.
        """
        with torch.no_grad():
            whole, entering = self._whole(texts, wanted).float(), self._states(texts)
            with self._without_lower():
                short = self._only(wanted, inputs_embeds=entering).float()
        if not (whole - short).abs().max() <= SAME * whole.abs().max():
            self._first = 0
        self._compared = True

    def _padded(self, texts: Sequence[tuple[int, ...]]) -> Tensor:
        ids = [torch.tensor(text, device=self._device) for text in texts]
        padded: Tensor = nn.utils.rnn.pad_sequence(ids, batch_first=True)
        return padded
