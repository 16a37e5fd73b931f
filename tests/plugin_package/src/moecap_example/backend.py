"""A backend whose model answers each token with its successor: no weights, yet every fact of a run is recorded."""

import time

from moecap.backend import Backend, Engine, EngineInfo, Generation
from moecap.observations.schema import Phase


class SuccessorBackend(Backend):
    """Answers t with t + 1."""

    name = "successor"
    capabilities = frozenset({"generate", "step_stats"})
    summary = "answers each token with its successor"

    @classmethod
    def unavailable(cls):
        """Always usable."""
        return

    @classmethod
    def check(cls, model, spec, device):
        """Any checkpoint will do."""

    @classmethod
    def dtype(cls, spec, device, precision, host_flags):
        """As asked."""
        return "fp32" if precision == "auto" else precision

    def open(self, job):
        """Nothing to load."""
        return SuccessorEngine(job)


class SuccessorEngine(Engine):
    """Static batches of one step for each token."""

    def __init__(self, job):
        self._job = job
        self.info = EngineInfo("successor", "1.0", job.device, job.dtype, job.dtype, job.dtype, "host", "static")

    def generate(self, prompts, concurrency, recorder, done):
        """Answer in batches."""
        answers = []
        for first in range(0, len(prompts), concurrency):
            batch = prompts[first : first + concurrency]
            now = time.monotonic_ns()
            records = [recorder.send(p.id, len(p.tokens), p.output_tokens, now) for p in batch]
            for record in records:
                record.input_tokens = record.input_tokens_asked
            for step in range(batch[0].output_tokens):
                start = time.monotonic_ns()
                time.sleep(0.001)
                end = time.monotonic_ns()
                recorder.step(
                    start_ns=start,
                    duration_ns=end - start,
                    seq_request=[r.request for r in records],
                    seq_start=[len(p.tokens) + step - 1 if step else 0 for p in batch],
                    seq_new=[1 if step else len(p.tokens) for p in batch],
                    phase=Phase.DECODE if step else Phase.PREFILL,
                    logits_tokens=len(batch),
                    experts=None,
                    num_experts=0,
                )
                for record in records:
                    recorder.chunk(record.request, end, step + 1)
                    record.first_token_ns = record.first_token_ns or end
                    record.last_token_ns, record.output_tokens = end, step + 1
            for prompt, record in zip(batch, records, strict=True):
                answer = tuple(prompt.tokens[-1] + i + 1 for i in range(prompt.output_tokens))
                record.complete(answer, record.last_token_ns)
                answers.append(Generation(prompt.id, answer))
            done(len(answers))
        return answers

    def score(self, continuations, recorder, done):
        """Not a capability of this backend."""
        raise NotImplementedError

    def close(self):
        """Nothing to free."""
