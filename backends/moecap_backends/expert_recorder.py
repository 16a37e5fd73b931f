"""SGLang's own record of the experts of each forward pass, against which what answers say of theirs is checked.

The record has no times and names no requests, so it makes no steps; it is exact where the steps that are reconstructed
from arrivals are not. SGLang keeps it for models that tell it where their experts are (Qwen2-MoE, Qwen3-MoE, GLM4-MoE),
if its server was started with ``--expert-distribution-recorder-mode``. On a server that was not, the endpoints of the
recorder end the server, so they are asked only after it has said that it has one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from moecap.errors import NotAvailableError, RunError
from moecap.load.connection import Target
from moecap.models.spec import ModelSpec, MoeFfn
from moecap_backends.served import explained, fetch

__all__ = ["FOLDER_VARIABLE", "ExpertRecorder", "RecordedPasses"]

FOLDER_VARIABLE = "SGLANG_EXPERT_DISTRIBUTION_RECORDER_DIR"
MODES = ("per_pass", "per_token")
DUMPS = "expert_distribution_recorder_*.pt"
SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class RecordedPasses:
    """Forward passes in their order.

    Attributes:
        counts: How many tokens of each pass selected each expert, [passes, MoE layers, experts].
        tokens: Tokens of each pass, [passes].
    """

    counts: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.int64]

    def distinct(self) -> npt.NDArray[np.int64]:
        """Distinct experts of each pass and MoE layer, [passes, MoE layers]."""
        found: npt.NDArray[np.int64] = np.count_nonzero(self.counts, 2)
        return found


class ExpertRecorder:
    """The recorder of a running server.

    Args:
        target: The server.
        folder: Where the server leaves its records, the value of ``SGLANG_EXPERT_DISTRIBUTION_RECORDER_DIR`` in it.
        spec: The model.
    """

    def __init__(self, target: Target, folder: Path, spec: ModelSpec) -> None:
        self._target, self._folder = target, folder
        self._layers = [index for index, layer in enumerate(spec.layers) if isinstance(layer.ffn, MoeFfn)]
        self._top_k = spec.moe_layers[0].top_k if self._layers else 0
        reply = fetch(target, "/server_info")
        mode = json.loads(reply.body).get("expert_distribution_recorder_mode") if reply.status == 200 else None
        self.mode = mode if mode in MODES and self._layers else None

    def start(self) -> None:
        """Begin a new record.

        Raises:
            RunError: If the server refuses.
        """
        self._post("start")

    def stop(self) -> RecordedPasses:
        """End the record and fetch it.

        Raises:
            RunError: If the server refuses, or leaves no record.
            NotAvailableError: If torch, which wrote the record, is not here to read it.
        """
        self._post("stop")
        before = set(self._folder.glob(DUMPS))
        self._post("dump")
        new = set(self._folder.glob(DUMPS)) - before
        if len(new) != 1:
            raise RunError(f"SGLang's recorder left {len(new)} files where one was to be")
        file = new.pop()
        try:
            return self._read(file)
        finally:
            file.unlink(missing_ok=True)

    def _read(self, file: Path) -> RecordedPasses:
        try:
            import torch
        except ImportError:
            raise NotAvailableError(
                'reading SGLang\'s recorder needs torch: pip install "moecap[transformers]"'
            ) from None
        records: list[dict[str, Any]] = torch.load(file, weights_only=True, map_location="cpu")["records"]
        if not records:
            raise RunError("SGLang's recorder saw no forward pass")
        whole = np.stack([r["global_physical_count"].numpy() for r in records]).astype(np.int64)
        counts = whole[:, self._layers]
        return RecordedPasses(counts, counts[:, 0].sum(1) // self._top_k)

    def _post(self, action: str) -> None:
        reply = fetch(self._target, f"/{action}_expert_distribution_record", {}, timeout=SECONDS)
        if reply.error is not None or reply.status != 200:
            raise RunError(f"SGLang's recorder does not {action}: {explained(reply)}")
