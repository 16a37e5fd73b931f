"""Adapters on a borrowed model: plain LoRA by the library peft, one a document, switched on and off by name.

They sit on the projections of attention. The experts of a mixture are fused into one tensor a layer in transformers 5
and are no linear layers, and an adapter on them would be as many times larger as there are experts: ``expert_bytes``
says how large. The router is left alone, so that a token visits the experts that its new state asks for and no others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from moecap.errors import BadInputError
from moecap.models.spec import ModelSpec

__all__ = ["Adapters", "expert_parameters"]

PROJECTIONS = re.compile(r"(q|k|v|o|qkv|q_a|q_b|kv_a|kv_b|dense|out|c_attn|query_key_value|Wqkv)(_proj)?(_with_mqa)?$")
ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
ROUTER = re.compile(r"gate$|router", re.IGNORECASE)
DROPOUT = 0.05


class Adapters:
    """The adapters of one borrowed model.

    Args:
        module: The borrowed model.
        rank: Rank of each adapter.
        alpha: The product of B and A counts alpha / rank times.
        targets: ``attention`` for its projections, ``linear`` for every linear layer but router and head.
        name: Name of the model, which a saved adapter states.

    Raises:
        BadInputError: If the model has no such matrices.
    """

    def __init__(self, module: torch.nn.Module, rank: int, alpha: int, targets: str, name: str) -> None:
        from peft import LoraConfig

        self.module = module
        self.targets = _targets(module, targets)
        self._name = name
        self._model: Any = None

        def config(times: int) -> Any:
            return LoraConfig(
                r=times * rank,
                lora_alpha=times * alpha,
                lora_dropout=DROPOUT,
                target_modules=list(self.targets),
                task_type="CAUSAL_LM",
            )

        self._config = config

    def add(self, name: str, seed: int, rank_times: int = 1) -> list[torch.nn.Parameter]:
        """Make an adapter that changes nothing yet, in fp32, and switch it on alone.

        Args:
            name: Its name.
            seed: Of A, which is drawn at random; B is zero.
            rank_times: How many times the rank of the others it has.

        Returns:
            A and B of every adapted matrix.
        """
        from peft import get_peft_model

        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            if self._model is None:
                self._model = get_peft_model(self.module, self._config(rank_times), adapter_name=name)
            else:
                self._model.add_adapter(name, self._config(rank_times))
        self._model.peft_config[name].base_model_name_or_path = self._name
        self.use(name)
        return self.weights(name)

    def reset(self, name: str, seed: int) -> None:
        """Make an adapter what it was when it was added with this seed."""
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            for layer in self.layers():
                layer.reset_lora_parameters(name, True)

    def weights(self, name: str) -> list[torch.nn.Parameter]:
        """A and B of an adapter."""
        return [weight for key, weight in self.module.named_parameters() if f".{name}." in key and "lora_" in key]

    def layers(self) -> list[Any]:
        """The layers that have adapters, as peft makes them."""
        from peft.tuners.lora import LoraLayer

        return [part for part in self.module.modules() if isinstance(part, LoraLayer)]

    def use(self, *names: str, train: str | None = None) -> None:
        """Switch these adapters on and all others off; their changes add up.

        Args:
            names: Adapters; without any the model is its own.
            train: The one that is trained; none by default.
        """
        if self._model is None:
            return
        if names:
            self._model.base_model.enable_adapter_layers()
            self._model.base_model.set_adapter(list(names))
        else:
            self._model.base_model.disable_adapter_layers()
        self.module.requires_grad_(False)
        for weight in self.weights(train) if train else ():
            weight.requires_grad_(True)
        for layer in self.layers():
            for name, dropout in layer.lora_dropout.items():
                dropout.train(name == train)

    @contextmanager
    def bare(self) -> Iterator[None]:
        """Around passes of the model without any adapter."""
        if self._model is None:
            yield
            return
        with self._model.disable_adapter():
            yield

    def parameters(self, name: str) -> int:
        """Numbers in an adapter."""
        return sum(int(weight.numel()) for weight in self.weights(name))

    def bytes(self, name: str) -> int:
        """Bytes of an adapter in the model's own number format, as a server would hold it."""
        return self.parameters(name) * int(next(self.module.parameters()).element_size())

    def save(self, name: str, folder: Path) -> None:
        """Write an adapter in peft's format, ``adapter_model.safetensors`` and ``adapter_config.json``.

        Args:
            name: The adapter.
            folder: Its own folder, which is made.
        """
        self._model.save_pretrained(folder, selected_adapters=[name], save_embedding_layers=False)
        written = folder / name
        if written.is_dir():  # peft puts every adapter but its default one into a folder below
            for file in written.iterdir():
                file.replace(folder / file.name)
            written.rmdir()
        (folder / "README.md").unlink(missing_ok=True)


def expert_parameters(spec: ModelSpec, rank: int) -> tuple[int, int]:
    """Parameters of an adapter of this rank on all matrices of all routed experts, which is not built.

    Args:
        spec: The model.
        rank: Rank of A and B.

    Returns:
        All of them, and those of the experts that one token selects.
    """
    total = active = 0
    for layer in spec.moe_layers:
        one = sum(rank * (matrix.rows + matrix.columns) for matrix in layer.expert_matrices)
        total += layer.experts * one
        active += layer.top_k * one
    return total, active


def _targets(module: torch.nn.Module, targets: str) -> Sequence[str]:
    """Last parts of the names of the matrices that get an adapter."""
    linear = [name for name, part in module.named_modules() if isinstance(part, torch.nn.Linear)]
    chosen = [name for name in linear if not name.endswith(("lm_head", "embed_out")) and not ROUTER.search(name)]
    if targets == "attention":
        chosen = [name for name in chosen if ATTENTION.search(name) and PROJECTIONS.search(name.rsplit(".", 1)[-1])]
    found = sorted({name.rsplit(".", 1)[-1] for name in chosen})
    if not found:
        raise BadInputError(
            f"--task-arg targets={targets}: {type(module).__name__} has no such linear layer; try targets=linear"
        )
    return found
