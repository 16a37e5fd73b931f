"""The model itself, from an engine that loads it in this process: for tasks that need hidden states or gradients.

A backend that declares ``hidden_states`` and ``gradients`` gives it by ``Engine.in_process``. A task borrows the
module, puts adapters into it, trains them, and may ask the engine to score or generate meanwhile: the engine then
answers with the adapters and records its own passes as ever. When the loan ends, the module is what it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moecap.errors import RunError

if TYPE_CHECKING:
    import torch

__all__ = ["InProcessModel"]


@dataclass(frozen=True, slots=True)
class InProcessModel:
    """A loaded model, to be borrowed.

    Attributes:
        module: The causal language model as the library transformers builds it, in evaluation mode; none of its weights
            asks for a gradient. ``module(input_ids=ids, output_hidden_states=True)``, ids [sequences, tokens], gives
            ``logits``, [sequences, tokens, vocabulary], and ``hidden_states``, the embedding's output and then that of
            each layer, the last after the final norm, each [sequences, tokens, hidden].
        device: ``cpu`` or ``cuda``.
        unrecorded: Opens a context in which passes over the module leave nothing with the engine.
        routers: The routers of its MoE layers, in the order of the layers; none where the engine does not know them.
            Among what each returns for the tokens of a pass are its logits, [tokens, experts].
    """

    module: torch.nn.Module
    device: str
    unrecorded: Callable[[], AbstractContextManager[None]]
    routers: tuple[torch.nn.Module, ...] = ()

    @contextmanager
    def borrowed(self) -> Iterator[torch.nn.Module]:
        """The module, for as long as the context is open.

        The borrower's own passes are not recorded. At the end everything that was put into the module is out of it
        again (submodules, parameters, hooks, attributes), and it is in evaluation mode.

        Raises:
            RunError: If a weight of the model itself was changed.
        """
        places = [place for part in self.module.modules() for place in _places(part)]
        weights = [(name, weight, weight._version) for name, weight in self.module.named_parameters()]
        try:
            with self.unrecorded():
                yield self.module
        finally:
            for table, entries in places:
                table.clear()
                table.update(entries)
            self.module.eval().requires_grad_(False)
        if changed := [name for name, weight, version in weights if weight._version != version]:
            raise RunError(
                f"{len(changed)} weights of the model were changed in place, first {changed[0]}; "
                "train adapters and leave the model's own weights as they are"
            )


def _places(part: torch.nn.Module) -> list[tuple[dict[Any, Any], dict[Any, Any]]]:
    """What a module holds, by name: its attributes and each table among them, with a copy of the entries."""
    tables = [part.__dict__, *(value for value in part.__dict__.values() if isinstance(value, dict))]
    return [(table, dict(table)) for table in tables]
