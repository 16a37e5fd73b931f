"""llama.cpp's own HTTP server out of the ``xllamacpp`` wheel: ``python -m moecap_backends.llamacpp_server ...``.

The wheel holds the server as a library without a command. This is the command, with the options that moecap sets under
the names that ``llama-server`` has for them, so that a user's own ``llama-server`` takes the same line. It ends on
SIGTERM and SIGINT.
"""

from __future__ import annotations

import argparse
import ctypes
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

__all__ = ["main", "parser", "tensor_overrides"]


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(prog="llamacpp_server", allow_abbrev=False)
    options.add_argument("--model", required=True, help="the GGUF file")
    options.add_argument("--alias", required=True, help="name under which the model is served")
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--threads", type=int, required=True)
    options.add_argument("--threads-batch", type=int, required=True)
    options.add_argument("--parallel", type=int, required=True, help="slots: sequences served at once")
    options.add_argument("--ctx-size", type=int, required=True, help="tokens of the KV cache, over all slots")
    options.add_argument("--batch-size", type=int, default=2048, help="most tokens of one call of the model")
    options.add_argument("--ubatch-size", type=int, default=512, help="most tokens of one pass over the weights")
    options.add_argument("--cache-ram", type=int, default=0, help="MiB of memory for prompts of earlier requests")
    options.add_argument("--flash-attn", choices=("auto", "on", "off"), default="auto")
    options.add_argument("--n-cpu-moe", type=int, default=0, help="layers, from the first, whose experts stay in DRAM")
    options.add_argument("--override-tensor", default="", help="REGEX=BUFFER,...: where tensors are kept")
    options.add_argument("--kv-unified", action="store_true", help="one KV cache for all slots")
    options.add_argument("--no-cache-prompt", action="store_true", help="reuse no prompt unless a request asks for it")
    options.add_argument("--metrics", action="store_true")
    options.add_argument("--props", action="store_true")
    options.add_argument("--slots", action="store_true")
    options.add_argument("--no-webui", action="store_true")
    return options


def tensor_overrides(layers: int, override: str) -> str:
    """``--n-cpu-moe`` and ``--override-tensor`` in the form of the latter."""
    experts = [rf"blk\.{layer}\.ffn_(up|down|gate|gate_up)_(ch|)exps=CPU" for layer in range(layers)]
    return ",".join([*experts, *filter(None, [override])])


def main(words: Sequence[str] | None = None) -> int:
    """Serve until a signal comes."""
    chosen = parser().parse_args(words)
    import xllamacpp

    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        server = xllamacpp.Server(_parameters(xllamacpp, chosen))
    except (RuntimeError, ValueError, OSError) as error:
        _flush_log(xllamacpp)
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"listening on {server.listening_address}; {xllamacpp.get_system_info()}\n")
    sys.stdout.flush()
    ended.wait()
    del server
    return 0


def _flush_log(xllamacpp: Any) -> None:
    """Have llama.cpp write what it has said so far: a thread of its own does, and the end of the process stops it."""
    library = ctypes.CDLL(xllamacpp.xllamacpp.__file__)
    library._Z15common_log_mainv.restype = ctypes.c_void_p
    library._Z16common_log_flushP10common_log(ctypes.c_void_p(library._Z15common_log_mainv()))


def _parameters(xllamacpp: Any, chosen: argparse.Namespace) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = chosen.model
    parameters.model_alias = {chosen.alias}
    parameters.hostnames = [chosen.host]
    parameters.port = chosen.port
    parameters.cpuparams.n_threads = chosen.threads
    parameters.cpuparams_batch.n_threads = chosen.threads_batch
    parameters.n_parallel = chosen.parallel
    parameters.n_ctx = chosen.ctx_size
    parameters.kv_unified = chosen.kv_unified
    parameters.n_batch = chosen.batch_size
    parameters.n_ubatch = chosen.ubatch_size
    parameters.flash_attn_type = xllamacpp.llama_flash_attn_type[f"LLAMA_FLASH_ATTN_TYPE_{_FLASH[chosen.flash_attn]}"]
    parameters.cache_prompt = not chosen.no_cache_prompt
    parameters.cache_ram_mib = chosen.cache_ram
    parameters.fit_params = False  # which would shorten the context where memory is short, in silence
    parameters.endpoint_metrics = chosen.metrics
    parameters.endpoint_props = chosen.props
    parameters.endpoint_slots = chosen.slots
    parameters.ui = not chosen.no_webui
    if overrides := tensor_overrides(chosen.n_cpu_moe, chosen.override_tensor):
        parameters.tensor_buft_overrides = overrides
    return parameters


_FLASH = {"auto": "AUTO", "on": "ENABLED", "off": "DISABLED"}

if __name__ == "__main__":
    sys.exit(main())
