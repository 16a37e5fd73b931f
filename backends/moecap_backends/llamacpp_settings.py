"""With which file, command line and memory llama.cpp's server is started, and what a result says of it."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from moecap.backend import EngineJob
from moecap.data.progress import shown
from moecap.errors import BadInputError, MoecapError
from moecap.files import file_sha256
from moecap.models.spec import ModelSpec
from moecap_backends.gguf_files.export import cached_gguf
from moecap_backends.gguf_files.file import check_gguf, gguf_files, precision_of
from moecap_backends.server_process import ServerProcess

__all__ = [
    "ARGUMENTS",
    "LlamaServer",
    "engine_details",
    "gguf_to_serve",
    "own_gguf",
    "records_passes",
    "refuse_unrecorded",
    "server_command",
    "slots_of",
    "tokens_of_a_pass",
]

PASSED_ON = ("batch-size", "flash-attn", "n-cpu-moe", "override-tensor", "threads", "threads-batch", "ubatch-size")
"""Options of llama-server that a user may set."""
ARGUMENTS = ("gguf", "server", "kv-unified", "routing", *PASSED_ON)
BATCHES = {"batch-size": "2048", "ubatch-size": "512"}
"""Tokens of one call of the model and of one pass over the weights, as ``llama-server`` has them by itself."""
LAYOUT = ("n-cpu-moe", "override-tensor")
ROUNDED = 256
"""llama.cpp rounds the context of a slot up to a multiple of it."""
HASHED_BYTES = 20_000_000_000
ERROR_LINE = re.compile(r"^[\d.]+ E (?:\S+\s+)?\S+?: (?P<text>.*)$")


class LlamaServer(ServerProcess):
    """The server's process; llama.cpp marks its errors, and the first one says what is wrong."""

    def complaint(self) -> str:
        """The first error of the log, else what any server would say."""
        try:
            lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return super().complaint()
        found = next((match for line in lines if (match := ERROR_LINE.match(line))), None)
        return found["text"][:300] if found else super().complaint()


def own_gguf(folder: Path, spec: ModelSpec) -> Path | None:
    """The GGUF file of a folder that is the model in the format that is asked for.

    Raises:
        MoecapError: If there are GGUF files alone and none of them is.
    """
    problems: list[MoecapError] = []
    for path in gguf_files(folder):
        try:
            check_gguf(path, spec)
        except MoecapError as problem:
            problems.append(problem)
        else:
            return path
    if problems and not any(folder.glob("*.safetensors")):
        raise problems[0]
    return None


def gguf_to_serve(job: EngineJob) -> Path:
    """The GGUF file to serve: the one that was named, one in the model's folder, or one that is made."""
    named = job.arguments.get("gguf")
    if named is not None:
        path = Path(named).expanduser()
        check_gguf(path, job.spec)
        return path
    if (own := own_gguf(job.model, job.spec)) is not None:
        return own
    if not any(job.model.glob("*.safetensors")):
        raise BadInputError(f"{job.model}: no *.safetensors and no *.gguf; name a file with --engine-arg gguf=PATH")
    with shown(None) as progress:
        return cached_gguf(job.model, precision_of(job.spec), progress)


def _program(job: EngineJob) -> list[str]:
    named = job.arguments.get("server")
    if named is None:
        return [sys.executable, "-m", "moecap_backends.llamacpp_server"]
    path = Path(named).expanduser()
    if not path.is_file():
        raise BadInputError(f"engine argument server={named}: no such file; give the path of a llama-server")
    return [str(path)]


def server_command(job: EngineJob, gguf: Path, port: int) -> list[str]:
    """The server's whole command line.

    Raises:
        BadInputError: If a user's ``llama-server`` is not there, or an argument has no value that it knows.
    """
    own = {
        "model": str(gguf),
        "alias": "moecap",
        "host": "127.0.0.1",
        "port": str(port),
        "threads": str(job.threads),
        "threads-batch": job.arguments.get("threads", str(job.threads)),
        "parallel": str(slots_of(job)),
        "ctx-size": str(_context(job) * slots_of(job)),
        "cache-ram": "0",
    }
    given = {name: value for name, value in job.arguments.items() if name in PASSED_ON}
    words = [word for name, value in {**own, **given}.items() for word in (f"--{name}", value)]
    if _unified(job):
        words.append("--kv-unified")
    if not job.prefix_cache:
        words.append("--no-cache-prompt")
    return [*_program(job), *words, "--metrics", "--props", "--slots", "--no-webui"]


def slots_of(job: EngineJob) -> int:
    """Sequences that the server holds at once: each choice of each request in flight is one."""
    return job.concurrency * job.sampling.n


def _unified(job: EngineJob) -> bool:
    """Whether the slots share one KV cache.

    With a cache a slot llama.cpp cuts a step into passes over slots that lie side by side and are fed equally many
    tokens each (``llama-kv-cache.cpp``, ``split_equal``), and each pass reads the weights; with one cache for all it
    does not.
    """
    return _truth(job, "kv-unified", "true")


def records_passes(job: EngineJob) -> bool:
    """Whether the passes of the model are recorded, with the experts of each."""
    return _truth(job, "routing", "false")


def refuse_unrecorded(job: EngineJob) -> None:
    """Refuse to record what cannot be.

    Raises:
        BadInputError: With what stands against it.
    """
    if not records_passes(job):
        return
    if "server" in job.arguments:
        raise BadInputError("engine argument routing: passes are recorded in the wheel's server; leave server out")
    if job.sampling.n > 1:
        raise BadInputError("engine argument routing: passes of several choices are not told apart; set n=1")


def _truth(job: EngineJob, name: str, default: str) -> bool:
    asked = job.arguments.get(name, default).lower()
    if asked not in ("true", "false"):
        raise BadInputError(f"engine argument {name}={asked}: true or false")
    return asked == "true"


def tokens_of_a_pass(job: EngineJob) -> int:
    """Tokens that one pass over the weights feeds at most; llama.cpp cuts ``ubatch-size`` to ``batch-size``.

    Raises:
        BadInputError: If a number of the user's is none.
    """
    sizes = []
    for name, default in BATCHES.items():
        asked = job.arguments.get(name, default)
        if not asked.isdecimal() or int(asked) < 1:
            raise BadInputError(f"engine argument {name}={asked}: not a positive whole number")
        sizes.append(int(asked))
    return min(sizes)


def _context(job: EngineJob) -> int:
    """Tokens of the KV cache of a slot."""
    needed = min(job.spec.max_context, job.longest + 1)
    return -(-needed // ROUNDED) * ROUNDED


def engine_details(job: EngineJob, gguf: Path, props: Mapping[str, object]) -> dict[str, str]:
    """What a reader would want to know of the server."""
    given = job.arguments
    digest = file_sha256(gguf) if gguf.stat().st_size <= HASHED_BYTES else "not taken: the file is large"
    details = {
        "server": "the user's llama-server" if "server" in given else "llama.cpp's server in the xllamacpp wheel",
        "gguf": gguf.name,
        "gguf_sha256": digest,
        "gguf_type": str(props.get("model_ftype", "unknown")),
        "slots": str(props.get("total_slots", slots_of(job))),
        "context_of_a_slot": str(_context(job)),
        "threads": given.get("threads", str(job.threads)),
        "batch_tokens": given.get("batch-size", BATCHES["batch-size"]),
        "tokens_of_a_pass": str(tokens_of_a_pass(job)),
        "kv_cache": "one for all slots" if _unified(job) else "one a slot: a step may be several passes",
        "flash_attention": given.get("flash-attn", "auto"),
        "memory_layout": "one tier, the memory of this host",
    }
    moved = [f"{name}={given[name]}" for name in LAYOUT if name in given]
    if moved:
        details["memory_layout"] += f"; {' '.join(moved)} was passed on, and on a CPU build it moves nothing"
    return details
