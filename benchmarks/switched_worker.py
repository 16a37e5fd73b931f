"""A worker for vLLM that is told between loads whether to record, for `vllm_capture_cost.py`."""

from __future__ import annotations

import time

import torch

from moecap_backends.vllm_worker import RecordingWorker

__all__ = ["SwitchedWorker"]


class SwitchedWorker(RecordingWorker):
    """moecap's recording worker with a switch; ``collective_rpc`` calls its methods."""

    def switch(self, recording: str) -> str:
        """Record the passes from now on (``on``), or let vLLM's runner do them alone (``off``)."""
        record = self._moecap
        record.take(None)
        self.model_runner.execute_model = record._execute if recording == "on" else record._original
        return recording

    def copies(self, rows: str) -> str:
        """Median microseconds of what stays in the compiled model either way: each router's copy into the buffer."""
        buffer = self._moecap._buffer
        chosen = torch.zeros((int(rows), buffer.shape[2]), dtype=torch.int32)
        times = []
        for _ in range(200):
            begin = time.perf_counter()
            for layer in range(buffer.shape[1]):
                buffer[: len(chosen), layer].copy_(chosen)
            times.append(time.perf_counter() - begin)
        return str(sorted(times)[100] * 1e6)
