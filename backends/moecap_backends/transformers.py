"""Hugging Face transformers in this process: static batches, exact step records, routed experts by hooks."""

from __future__ import annotations

import importlib.util
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from moecap.backend import (
    Backend,
    Continuation,
    Engine,
    EngineInfo,
    EngineJob,
    Generation,
    Prompt,
    Scored,
    refuse_unknown,
)
from moecap.errors import BadInputError, RunError
from moecap.in_process import InProcessModel
from moecap.models.spec import ModelSpec
from moecap.observations.recorder import Recorder, RequestRecord
from moecap.observations.schema import Phase
from moecap_backends.checkpoint import check_checkpoint

__all__ = ["TransformersBackend"]

ARGUMENTS = ("batching", "score_batch_size", "experts_implementation", "onednn")
BATCHINGS = ("static", "continuous")
NATIVE_BF16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Processor features with which a CPU multiplies in bf16; without them bf16 is emulated, a hundred times slower."""


class TransformersBackend(Backend):
    """The reference backend: every forward pass is timed and recorded exactly, in this process."""

    name: ClassVar[str] = "transformers"
    capabilities: ClassVar[frozenset[str]] = frozenset(
        {"generate", "logprobs", "prompt_logprobs", "hidden_states", "gradients", "routed_experts", "step_stats"}
    )
    sampling: ClassVar[frozenset[str]] = frozenset({"natural_end", "stop"})
    summary: ClassVar[str] = "Hugging Face transformers in this process; exact steps and routing"

    @classmethod
    def unavailable(cls) -> str | None:
        """Say which package is missing."""
        missing = [p for p in ("torch", "transformers", "safetensors") if importlib.util.find_spec(p) is None]
        return f'{", ".join(missing)} not installed; pip install "moecap[transformers]"' if missing else None

    @classmethod
    def check(cls, model: Path, spec: ModelSpec, device: str) -> None:
        """Refuse weights that are missing or corrupt."""
        check_checkpoint(model)

    @classmethod
    def dtype(cls, spec: ModelSpec, device: str, precision: str, host_flags: frozenset[str]) -> str:
        """The model's own format on a GPU; on a CPU bf16 where it has units for it, else fp32."""
        known = ("fp32", "bf16", "fp16")
        if precision != "auto":
            if precision not in known:
                raise BadInputError(
                    f"precision {precision!r}: the transformers backend runs {', '.join(known)} or auto"
                )
            return precision
        if device == "cpu":
            return "bf16" if host_flags & NATIVE_BF16 else "fp32"
        own = spec.weight_dtypes["embedding"]
        return own if own in known else "bf16"

    @classmethod
    def variant(cls, arguments: Mapping[str, str]) -> type[Backend]:
        """Static batches, or those of transformers' own scheduler with ``batching=continuous``."""
        batching = arguments.get("batching", "static")
        if batching not in BATCHINGS:
            raise BadInputError(f"engine argument batching={batching}: not one of {', '.join(BATCHINGS)}")
        if batching == "static":
            return cls
        from moecap_backends.continuous_batching import ContinuousBackend

        return ContinuousBackend

    def open(self, job: EngineJob) -> Engine:
        """Load the model."""
        refuse_unknown(job.arguments, ARGUMENTS, self.name)
        return TransformersEngine(job)


class TransformersEngine(Engine):
    """A model loaded by transformers."""

    def __init__(self, job: EngineJob) -> None:
        os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        import torch
        from transformers.utils import logging

        from moecap_backends.answer_end import AnswerEnd, end_tokens
        from moecap_backends.cpu_kernels import OneTokenKernel
        from moecap_backends.router_capture import RouterCapture
        from moecap_backends.shared_prefix import is_shareable

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        torch.manual_seed(job.seed)
        if job.device == "cpu":
            torch.set_num_threads(job.threads)
        self._model, unexpected = _load(job)
        self._model.eval().to(job.device)
        self._torch = torch
        self._device = job.device
        self._batch_size = _positive(job.arguments.get("score_batch_size", "16"), "score_batch_size")
        reduced = job.device == "cpu" and job.dtype in ("bf16", "fp16")
        self._one_token = OneTokenKernel(job.arguments.get("onednn", "auto"), self._feed_one, reduced)
        moe = job.spec.moe_layers
        self._experts = max((layer.experts for layer in moe), default=0)
        self._max_context = job.spec.max_context
        self._ends = AnswerEnd(job.model, end_tokens(self._model))
        self.capture = RouterCapture(self._model, moe[0].top_k if moe else 0)
        self._captures = self.capture.layers == len(moe) > 0
        if not self._captures:
            self.capture.detach()
        config = self._model.config
        self._shares = is_shareable(config)
        details = {
            "torch": str(torch.__version__),
            "attention": str(getattr(config, "_attn_implementation", "unknown")),
            "experts": str(getattr(config, "_experts_implementation", None) or "none"),
            "unexpected_tensors": str(unexpected),
            "routers_captured": f"{self.capture.layers} of {len(moe)}",
            "threads": str(torch.get_num_threads()) if job.device == "cpu" else "1",
        }
        if job.device == "cpu":
            details["one_token_passes"] = self._one_token.note
            details["omp_wait_policy"] = os.environ.get("OMP_WAIT_POLICY", "unset")
        if job.device == "cuda":
            details["device_name"] = torch.cuda.get_device_name()
        self.info = EngineInfo(
            name="transformers",
            version=version("transformers"),
            device=job.device,
            weight_dtype=job.dtype,
            kv_dtype=job.dtype,
            compute_dtype=job.dtype,
            timer="device" if job.device == "cuda" else "host",
            batching="static",
            details=details,
        )

    def close(self) -> None:
        """Free the model."""
        self.capture.detach()
        del self._model
        if self._device == "cuda":
            self._torch.cuda.empty_cache()

    def in_process(self) -> InProcessModel:
        """The module; its weights ask for no gradient from now on, which the engine's own passes never did."""
        self._model.requires_grad_(False)
        routers = self.capture.routers if self._captures else ()
        return InProcessModel(self._model, self._device, partial(self.capture.listening, False), routers)

    def generate(
        self,
        prompts: Sequence[Prompt],
        concurrency: int,
        recorder: Recorder,
        done: Callable[[int], None],
        arrivals: Sequence[float] | None = None,  # batches have none: the plan refuses --rate
    ) -> list[Generation]:
        """Answer prompts in static batches; the next batch is sent at the instant at which the last one ended."""
        recorder.capture = "forward hooks on the routers" if self._captures else None
        answers: list[Generation] = []
        now = time.monotonic_ns()
        for first in range(0, len(prompts), concurrency):
            batch = prompts[first : first + concurrency]
            with recorder.ending_requests():
                records = self._generate_batch(batch, recorder, now)
            now = max(record.ended_ns or now for record in records)
            answers += [Generation.of(record) for record in records]
            done(len(answers))
        return answers

    def _generate_batch(self, batch: Sequence[Prompt], recorder: Recorder, now: int) -> list[RequestRecord]:
        torch = self._torch
        records = [recorder.send(p.id, len(p.tokens), p.output_tokens, now) for p in batch]
        for record in records:
            record.input_tokens, record.cached_tokens = record.input_tokens_asked, 0
        answers: list[list[int]] = [[] for _ in batch]
        ids, mask = self._pad([p.tokens for p in batch])
        cache: Any = None
        context = [0] * len(batch)
        active = list(range(len(batch)))
        while active:
            fed = ids.shape[1]
            padded = bool((mask[:, -fed:] == 0).any()) if cache is None else bool((mask == 0).any())
            options: dict[str, Any] = {}
            if padded:
                positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -fed:]
                options = {"attention_mask": mask, "position_ids": positions}
            output, start, duration = self._pass(
                input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1, **options
            )
            cache = output.past_key_values
            chosen = output.logits[:, -1].argmax(-1)
            ended = time.monotonic_ns()
            new = [len(batch[i].tokens) if context[i] == 0 else 1 for i in active]
            keep = (mask[:, -fed:] != 0).clone()
            keep[[i for i in range(len(batch)) if i not in active]] = False
            recorder.step(
                start_ns=start,
                duration_ns=duration,
                seq_request=[records[i].request for i in active],
                seq_start=[context[i] for i in active],
                seq_new=new,
                phase=Phase.DECODE if context[active[0]] else Phase.PREFILL,
                logits_tokens=len(active),
                experts=self._take(keep),
                num_experts=self._experts,
            )
            tokens = chosen.tolist()
            still = []
            for i, count in zip(active, new, strict=True):
                context[i] += count
                answers[i].append(tokens[i])
                record = records[i]
                record.output_tokens = len(answers[i])
                record.last_token_ns = ended
                record.first_token_ns = record.first_token_ns or ended
                recorder.chunk(record.request, ended, len(answers[i]))
                if (reason := self._ends.reason(batch[i], answers[i])) is not None:
                    record.complete(answers[i], ended, reason)
                else:
                    still.append(i)
            active = still
            ids = chosen[:, None]
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        return records

    def score(
        self, continuations: Sequence[Continuation], recorder: Recorder, done: Callable[[int], None]
    ) -> list[Scored]:
        """Score given answers in batches of similar length, with logits only for the rows that predict the answer.

        Answers whose tokens but the last are the same, such as the letters of a multiple choice, are one sequence.
        What many sequences begin with, such as the same demonstrations, is fed once.
        """
        torch = self._torch
        results: dict[int, Scored] = {}
        base = recorder.continuations
        recorder.continuations += len(continuations)
        alike: dict[tuple[int, ...], list[int]] = {}
        for i, c in enumerate(continuations):
            alike.setdefault(c.context + c.target[:-1], []).append(i)
        for shared, cache, indices in self._score_batches(continuations, list(alike.values()), recorder, base):
            inputs = [continuations[i].context + continuations[i].target[:-1] for i in indices]
            members = [alike[tokens] for tokens in inputs]
            kept = [max(len(continuations[i].target) for i in group) for group in members]
            ids, mask = self._pad([tokens[shared:] for tokens in inputs])
            options: dict[str, Any] = {} if cache is None else {"past_key_values": cache}
            if (mask == 0).any():
                whole = torch.cat([torch.ones_like(mask[:, :1]).expand(-1, shared), mask], dim=1)
                positions = (whole.cumsum(-1) - 1).clamp(min=0)[:, shared:]
                options |= {"attention_mask": whole, "position_ids": positions}
            output, start, duration = self._pass(
                input_ids=ids, use_cache=cache is not None, logits_to_keep=max(kept), **options
            )
            recorder.step(
                start_ns=start,
                duration_ns=duration,
                seq_request=[base + i for i in indices],
                seq_start=[shared] * len(inputs),
                seq_new=[len(i) - shared for i in inputs],
                phase=Phase.SCORE,
                logits_tokens=sum(kept),
                experts=self._take(mask != 0),
                num_experts=self._experts,
            )
            for group, rows, logits in zip(members, kept, output.logits, strict=True):
                logp = logits[-rows:].float().log_softmax(-1)
                for i in group:
                    target = torch.tensor(continuations[i].target, device=logits.device)
                    own = logp[-len(target) :]
                    tokens = own.gather(1, target[:, None])[:, 0]
                    greedy = bool((own.argmax(-1) == target).all())
                    results[i] = Scored(
                        tokens.sum().item(), greedy, tuple(tokens.tolist()), _mass(own, continuations[i].mass_of)
                    )
            done(len(results))
        return [results[i] for i in range(len(continuations))]

    def _score_batches(
        self, continuations: Sequence[Continuation], alike: Sequence[Sequence[int]], recorder: Recorder, base: int
    ) -> Iterator[tuple[int, Any, list[int]]]:
        """Batches of the first of those that are alike, the longest first, after what they share was fed.

        Each comes with the tokens that are fed already and the cache that holds them, or 0 and ``None``.
        """
        from moecap_backends.shared_prefix import PrefixGroup, prefix_groups

        for c in continuations:
            if not c.context or not c.target:
                raise RunError(f"continuation {c.id!r} has an empty context or answer; a task must give both")
            if len(c.context) + len(c.target) - 1 > self._max_context:
                raise RunError(f"continuation {c.id!r} is longer than the model's {self._max_context} tokens")
        tokens = [continuations[group[0]].context + continuations[group[0]].target[:-1] for group in alike]
        most = [min(len(continuations[i].context) for i in group) - 1 for group in alike]
        apart = [PrefixGroup(0, tuple(range(len(alike))))]
        for group in prefix_groups(tokens, most) if self._shares else apart:
            order = sorted(group.members, key=lambda i: -len(tokens[i]))
            number = alike[order[0]][0]
            cache = (
                self._feed_shared(tokens[order[0]][: group.length], recorder, base + number) if group.length else None
            )
            for first in range(0, len(order), self._batch_size):
                yield group.length, cache, [alike[i][0] for i in order[first : first + self._batch_size]]

    def _feed_shared(self, tokens: tuple[int, ...], recorder: Recorder, number: int) -> Any:
        """Feed what several sequences begin with, as a step of one of them, and return the cache that they use."""
        from moecap_backends.shared_prefix import SharedPrefix

        ids, mask = self._pad([tokens])
        output, start, duration = self._pass(input_ids=ids, use_cache=True, logits_to_keep=1)
        recorder.step(
            start_ns=start,
            duration_ns=duration,
            seq_request=[number],
            seq_start=[0],
            seq_new=[len(tokens)],
            phase=Phase.SCORE,
            logits_tokens=1,
            experts=self._take(mask != 0),
            num_experts=self._experts,
        )
        return SharedPrefix(output.past_key_values)

    def _pad(self, sequences: Sequence[Sequence[int]]) -> tuple[Any, Any]:
        """Token ids and mask, both [batch, longest], padded on the left."""
        torch = self._torch
        longest = max(len(s) for s in sequences)
        ids = torch.tensor([[0] * (longest - len(s)) + list(s) for s in sequences], device=self._device)
        mask = torch.tensor([[0] * (longest - len(s)) + [1] * len(s) for s in sequences], device=self._device)
        return ids, mask

    def _take(self, keep: Any) -> Any:
        return self.capture.take(keep.reshape(-1).cpu().numpy()) if self._captures else None

    def _pass(self, **inputs: Any) -> tuple[Any, int, int]:
        """One forward pass: its output, its start in monotonic ns and its duration in ns (device time on a GPU)."""
        torch = self._torch
        with torch.inference_mode(), self.capture.listening(True):
            if self._device == "cuda":
                begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                start = time.monotonic_ns()
                begin.record()
                output = self._model(**inputs)
                end.record()
                end.synchronize()
                return output, start, max(1, round(begin.elapsed_time(end) * 1e6))
            with self._one_token.around(inputs["input_ids"].numel()):
                start = time.monotonic_ns()
                output = self._model(**inputs)
                return output, start, time.monotonic_ns() - start

    def _feed_one(self) -> None:
        token = self._torch.zeros((1, 1), dtype=self._torch.long, device=self._device)
        with self._torch.inference_mode():
            self._model(input_ids=token, use_cache=False)


def _mass(logp: Any, of: Sequence[int]) -> tuple[float, ...]:
    """Log-probability in each row that the token is one of some.

    Args:
        logp: Log-probabilities, [rows, vocabulary].
        of: Their ids; without any, none is asked for.
    """
    return tuple(logp[:, list(of)].logsumexp(-1).tolist()) if of else ()


def _load(job: EngineJob) -> tuple[Any, int]:
    """The model in the job's number format, and how many tensors of its checkpoint it has no use for.

    Raises:
        RunError: If it cannot be loaded, or tensors of it are missing from the checkpoint.
    """
    import torch
    from transformers import AutoModelForCausalLM

    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    options: dict[str, Any] = {"dtype": dtypes[job.dtype], "local_files_only": True}
    options["ignore_mismatched_sizes"] = True  # they are named and refused below
    if implementation := job.arguments.get("experts_implementation"):
        options["experts_implementation"] = implementation
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model, loaded = AutoModelForCausalLM.from_pretrained(job.model, output_loading_info=True, **options)
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, torch.OutOfMemoryError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RunError(f"transformers cannot load {job.model.name}: {reason}") from error
    if mismatched := sorted(loaded["mismatched_keys"]):
        name, stored, built = mismatched[0]
        count = f"{len(mismatched)} tensors of the checkpoint have another shape than config.json says"
        first = f"first {name}, {tuple(stored)} in the checkpoint and {tuple(built)} by config.json"
        raise RunError(f"{job.model.name}: {count}, {first}; fetch the model again")
    if missing := sorted(loaded["missing_keys"]):
        count = f"{len(missing)} tensors of the model are not in its checkpoint"
        raise RunError(f"{job.model.name}: {count}, first {missing[0]}; fetch the model again")
    return model, len(loaded["unexpected_keys"])


def _positive(text: str, name: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise BadInputError(f"engine argument {name}={text}: not a positive whole number")
    return int(text)
