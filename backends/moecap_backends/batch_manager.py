"""The manager of transformers that batches continuously, set so that a pass feeds the tokens of its batch alone."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from moecap.backend import EngineJob
from moecap.errors import NotAvailableError, RunError

__all__ = ["open_manager"]

PAGE_TOKENS = 32


def open_manager(model: Any, job: EngineJob, options: Mapping[str, int], deliver: Callable[[Any], None]) -> Any:
    """A manager that is ready to start, whose cache holds as many of the longest requests as its batch.

    Args:
        model: The loaded model.
        job: What the engine is opened for.
        options: ``max_batch_tokens`` of a pass and ``max_requests`` in it.
        deliver: Gets each output of the manager, on the thread of the passes.

    Raises:
        NotAvailableError: If this version of transformers has none that can be recorded, or a package is missing.
        RunError: If the cache cannot be made.
    """
    if importlib.util.find_spec("psutil") is None:
        raise NotAvailableError(
            "batching=continuous needs psutil, which its cache asks for the memory; pip install psutil"
        )
    try:
        from transformers import ContinuousBatchingConfig, GenerationConfig
        from transformers.generation.continuous_batching.continuous_api import OutputRouter
    except ImportError as error:
        raise NotAvailableError(
            f"transformers {version('transformers')} has no continuous batching that is known here ({error}); "
            "take 5.19, or leave batching=continuous out"
        ) from None
    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.CRITICAL)  # what fails is told in one line
    pages = -(-job.longest // PAGE_TOKENS) + 1
    try:
        manager = model.init_continuous_batching(
            generation_config=GenerationConfig(do_sample=False, eos_token_id=-1),
            continuous_batching_config=ContinuousBatchingConfig(
                page_size=PAGE_TOKENS,
                num_blocks=pages * options["max_requests"] + 1,
                max_batch_tokens=max(options["max_batch_tokens"], options["max_requests"]),
                max_requests_per_batch=options["max_requests"],
                allow_block_sharing=job.prefix_cache,
                use_async_batching=False,
                use_cuda_graph=False,
                safety_margin=0.0,
                auto_switch_to_flash=False,
                seed=job.seed,
            ),
        )
        manager.output_router = _Router(OutputRouter, deliver)
        manager.warmup()
        _ = manager.batch_processor.inputs_and_outputs.requests_in_batch
    except (TypeError, AttributeError) as error:
        raise NotAvailableError(
            f"transformers {version('transformers')} batches in a way that is not known here ({error}); "
            "take 5.19, or leave batching=continuous out"
        ) from None
    except (ValueError, RuntimeError, MemoryError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RunError(f"transformers cannot batch {job.model.name} continuously: {reason}") from None
    return manager


def _Router(base: Any, deliver: Callable[[Any], None]) -> Any:  # noqa: N802  a class of a base that is loaded late
    class Router(base):  # type: ignore[misc]
        """Gives what has ended to the engine, on the thread of the passes."""

        def deliver(self, output: Any) -> None:
            deliver(output)

        def deliver_batch(self, outputs: Sequence[Any]) -> None:
            for output in outputs:
                deliver(output)

    return Router()
