"""One merged adapter as a plain LoRA on disk, in the format of PEFT, which vLLM and SGLang serve, too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from moecap.files import write_text
from moecap.tasks.adapter_routing.layer import Adapter

__all__ = ["write_lora"]


def write_lora(folder: Path, names: Sequence[str], adapters: Sequence[Adapter]) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors``.

    The adapter's scale is 1 / r, so ``lora_alpha`` is 1.

    Args:
        folder: Where to; it is made.
        names: Names of the adapted layers in the model.
        adapters: A, [d_in, r], and B, [r, d_out], of each.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, (a, b) in zip(names, adapters, strict=True):
        tensors[f"base_model.model.{name}.lora_A.weight"] = a.detach().cpu().T.contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = b.detach().cpu().T.contiguous()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": None,
        "r": adapters[0][0].shape[1],
        "lora_alpha": 1,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "target_modules": list(names),
    }
    write_text(folder / "adapter_config.json", json.dumps(config, indent=2) + "\n")
