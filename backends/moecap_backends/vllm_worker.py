"""Runs inside vLLM's workers (``--worker-cls``): exact steps and the routed experts of each.

Every forward pass is timed, with the tokens of every sequence as the scheduler gave them. The routers write their
selection into one buffer that stays where it is, so that a captured graph can replay the writing; after the pass the
rows of its tokens are copied on the device. Nothing waits for the device until the records are taken.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

__all__ = ["RecordingWorker"]

MOST_BYTES = 1 << 30
"""Bytes of routed experts kept until they are taken; later steps are recorded without."""


class _Recording:
    """Records of one worker since they were last taken."""

    def __init__(self, runner: Any) -> None:
        self._original: Callable[..., Any] = runner.execute_model
        self._runner = runner
        self._prompt: dict[str, int] = {}
        self._buffer: torch.Tensor | None = None
        self._cuda = runner.device.type == "cuda"
        self._clear()
        routers = _routers(runner.model)
        self.layers = len(routers)
        if routers:
            rows = int(runner.max_num_tokens)
            top_k = max(int(router.top_k) for router in routers)
            experts = max(int(getattr(router, "global_num_experts", 256)) for router in routers)
            kind = torch.uint8 if experts <= 256 else torch.int16
            self._buffer = torch.zeros((rows, len(routers), top_k), dtype=kind, device=runner.device)
            for layer, router in enumerate(routers):
                router.set_capture_fn(partial(_keep, self._buffer, layer))
        runner.execute_model = self._execute

    def _execute(self, scheduled: Any, *arguments: Any, **options: Any) -> Any:
        if scheduled.total_num_scheduled_tokens == 0:
            return self._original(scheduled, *arguments, **options)
        sequences = self._sequences(scheduled)
        events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if self._cuda else []
        start = time.monotonic_ns()
        if events:
            events[0].record()
        output = self._original(scheduled, *arguments, **options)
        if events:
            events[1].record()
        duration = time.monotonic_ns() - start
        # the runner has its own order, in which the rows of the routers stand
        place = self._runner.input_batch.req_id_to_index
        sequences.sort(key=lambda row: place.get(row[0], len(place)))
        experts = None
        tokens = int(scheduled.total_num_scheduled_tokens)
        if self._buffer is not None and self._kept < MOST_BYTES and tokens <= len(self._buffer):
            experts = self._buffer[:tokens].clone()
            self._kept += experts.numel() * experts.element_size()
        self._steps.append((start, duration, events, sequences, experts))
        return output

    def _sequences(self, scheduled: Any) -> list[tuple[str, int, int, int]]:
        """Request, entries before the step, tokens fed, and length of the prompt, for each sequence."""
        started: dict[str, int] = {}
        for new in scheduled.scheduled_new_reqs:
            self._prompt[new.req_id] = len(new.prompt_token_ids or ())
            started[new.req_id] = new.num_computed_tokens
        cached = scheduled.scheduled_cached_reqs
        started.update(zip(cached.req_ids, cached.num_computed_tokens, strict=True))
        rows = [
            (name, int(started[name]), int(fed), self._prompt[name])
            for name, fed in scheduled.num_scheduled_tokens.items()
        ]
        self.preempted += len(cached.resumed_req_ids)
        for name in scheduled.finished_req_ids:
            self._prompt.pop(name, None)
        return rows

    def _clear(self) -> None:
        self._steps: list[tuple[int, int, list[Any], list[tuple[str, int, int, int]], torch.Tensor | None]] = []
        self._kept = 0
        self.preempted = 0

    def take(self, path: str | None) -> str:
        steps, preempted = self._steps, self.preempted
        self._clear()
        if self._cuda:
            torch.cuda.synchronize()
        durations = [round(e[0].elapsed_time(e[1]) * 1e6) if e else d for _, d, e, _, _ in steps]
        rows = [row for _, _, _, rows, _ in steps for row in rows]
        kept = [experts.cpu().numpy() for *_, experts in steps if experts is not None]
        if path is not None:
            np.savez(
                path,
                start_ns=np.array([s[0] for s in steps], np.int64),
                duration_ns=np.array(durations, np.int64),
                sequences=np.array([len(s[3]) for s in steps], np.int64),
                captured=np.array([s[4] is not None for s in steps], bool),
                request=np.array([r[0] for r in rows], np.str_),
                numbers=np.array([r[1:] for r in rows], np.int64).reshape(-1, 3),
                experts=np.concatenate(kept) if kept else np.empty((0, 0, 0), np.uint8),
            )
        return json.dumps([preempted, len(steps) - len(kept)])


def _keep(buffer: torch.Tensor, layer: int, chosen: torch.Tensor) -> None:
    """Write a layer's selection, [tokens, k], into its place; a captured graph replays this copy."""
    buffer[: chosen.shape[0], layer, : chosen.shape[1]].copy_(chosen)


def _routers(model: Any) -> list[Any]:
    """The routers of the MoE layers, in the order of the layers."""
    from vllm.model_executor.layers.fused_moe.layer import MoERunner

    runners = [m for m in model.modules() if isinstance(m, MoERunner)]
    return [m.router for m in sorted(runners, key=lambda m: int(m.layer_id))]


def _worker_class() -> Any:
    """The worker class that vLLM would choose on this platform."""
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        from vllm.v1.worker.cpu_worker import CPUWorker

        return CPUWorker
    from vllm.v1.worker.gpu_worker import Worker

    return Worker


class RecordingWorker(_worker_class()):  # type: ignore[misc]
    """The platform's own worker, which records; ``collective_rpc`` calls its two methods.

    The routers are captured as soon as the model is loaded, so that what is compiled or captured as a graph afterwards
    holds the writing of the buffer.
    """

    def load_model(self, *arguments: Any, **options: Any) -> None:
        """Load the model, and capture its routers before anything is compiled."""
        super().load_model(*arguments, **options)
        self._moecap = _Recording(self.model_runner)

    def moecap_layers(self) -> int:
        """The number of MoE layers whose router is captured; forget what was recorded so far."""
        self._moecap.take(None)
        return self._moecap.layers

    def moecap_take(self, path: str) -> str:
        """Write everything since the last call to a file, from the first worker, and start anew.

        Returns:
            JSON: the sequences that were preempted, which were fed again, and the steps whose experts did not fit.
        """
        return self._moecap.take(path if self.rank == 0 else None)
