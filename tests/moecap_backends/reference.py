"""The same weights in transformers, fp32, with hooks on its routers: what every other engine is held against."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from moecap.backend import Prompt
from moecap_backends.router_capture import ROUTER


class Reference:
    """A checkpoint in transformers."""

    def __init__(self, checkpoint: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        self._torch = torch
        self._model: Any = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()

    def answer(self, prompt: Prompt) -> tuple[int, ...]:
        """Its greedy answer, of exactly the tokens asked for."""
        ids = self._torch.tensor([prompt.tokens])
        out = self._model.generate(
            ids,
            attention_mask=self._torch.ones_like(ids),
            max_new_tokens=prompt.output_tokens,
            min_new_tokens=prompt.output_tokens,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=None,
        )
        return tuple(out[0, ids.shape[1] :].tolist())

    def routing(self, tokens: Sequence[int]) -> npt.NDArray[np.int64]:
        """Selected experts of each token, [tokens, MoE layers, k]."""
        chosen: list[Any] = []
        routers = [m for _, m in self._model.named_modules() if ROUTER.search(type(m).__name__)]
        handles = [
            m.register_forward_hook(
                lambda _m, _i, out: chosen.append(next(t for t in out if not t.is_floating_point()))
            )
            for m in routers
        ]
        with self._torch.inference_mode():
            self._model(self._torch.tensor([list(tokens)]))
        for handle in handles:
            handle.remove()
        return np.stack([c.reshape(len(tokens), -1).numpy() for c in chosen], 1)

    def token_log_probabilities(self, context: Sequence[int], target: Sequence[int]) -> list[float]:
        """Of each token of ``target`` after ``context`` and the tokens before it, nats."""
        return [self.log_likelihood((*context, *target[:i]), target[i : i + 1])[0] for i in range(len(target))]

    def log_likelihood(self, context: Sequence[int], target: Sequence[int]) -> tuple[float, bool]:
        """Of ``target`` after ``context``, and whether greedy decoding would have produced it."""
        with self._torch.inference_mode():
            logp = self._model(self._torch.tensor([[*context, *target]])).logits[0].log_softmax(-1)
        rows = logp[len(context) - 1 : -1]
        likelihood = sum(row[t].item() for row, t in zip(rows, target, strict=True))
        return likelihood, rows.argmax(-1).tolist() == list(target)
