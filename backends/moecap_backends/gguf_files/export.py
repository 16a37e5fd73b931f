"""Writes a Hugging Face checkpoint as a GGUF file, tensor by tensor, without torch, and keeps it in the cache.

Matrices take the format that is asked for; vectors and routers stay in fp32, as in llama.cpp's own conversion. The
experts of a layer become one tensor. The file is made once for a checkpoint (names, sizes and times of its weight
files, and the content of its configuration and tokenizer).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from moecap import __version__
from moecap.data.cache import cache_lock, cache_root, require_room, staged_folder
from moecap.data.progress import Progress
from moecap.errors import BadInputError, NotAvailableError, NotBuiltError
from moecap.files import file_sha256
from moecap.models.config_file import read_config_file
from moecap_backends.gguf_files.families import FAMILIES, Family, refuse_unlike, rope_pairs, settings
from moecap_backends.gguf_files.safetensors_reader import StoredTensor, stored_tensors
from moecap_backends.gguf_files.vocabulary import Vocabulary, vocabulary

__all__ = ["FILE", "RECORD", "cached_gguf", "check_convertible", "write_gguf"]

FILE, RECORD = "model.gguf", "moecap.json"
_RECIPE = 1  # raise it when the files change in any way: older ones in a cache are then made anew
_TYPES = {"fp32": "F32", "fp16": "F16", "bf16": "BF16", "q8_0": "Q8_0"}
_FILE_TYPES = {"fp32": "ALL_F32", "fp16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0"}
_EXPERT = re.compile(r"\.experts\.(\d+)\.")
_COMPUTED = ".rotary_emb.inv_freq"  # in older checkpoints; no weights, and llama.cpp refuses a file with them
_BLOCK = 32


@dataclass(frozen=True, slots=True)
class _Tensor:
    """One tensor of the file: where it comes from (several for the experts of a layer) and how it is stored."""

    name: str
    sources: tuple[StoredTensor, ...]
    plain: bool
    heads: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        shape = self.sources[0].shape
        return (len(self.sources), *shape) if self.name.endswith("_exps.weight") else shape

    def read(self) -> npt.NDArray[np.float32]:
        if self.name.endswith("_exps.weight"):
            return np.stack([source.read() for source in self.sources])
        values = self.sources[0].read()
        return rope_pairs(values, self.heads) if self.heads else values


def check_convertible(folder: Path, precision: str) -> None:
    """Refuse a checkpoint that cannot be written in a format, before anything is made.

    Args:
        folder: A checkpoint whose files are whole.
        precision: ``fp32``, ``fp16``, ``bf16`` or ``q8_0``.

    Raises:
        NotBuiltError: If the family, its settings, its tokenizer or the width of a matrix does not allow it.
        BadInputError: If tensors are missing or not readable.
    """
    config = read_config_file(folder / "config.json")
    family = refuse_unlike(config)
    vocabulary(folder, config["vocab_size"])
    for tensor in _tensors(folder, config, family):
        if precision == "q8_0" and not tensor.plain and tensor.shape[-1] % _BLOCK:
            raise NotBuiltError(
                f"{tensor.name} has rows of {tensor.shape[-1]} weights, which are no whole blocks of {_BLOCK}; "
                "choose --precision f16, bf16 or fp32"
            )


def cached_gguf(folder: Path, precision: str, progress: Progress) -> Path:
    """The GGUF file of a checkpoint in the cache, made if it is not there or not whole.

    Args:
        folder: The checkpoint.
        precision: ``fp32``, ``fp16``, ``bf16`` or ``q8_0``.
        progress: Hears of the conversion.

    Raises:
        NotAvailableError: If there is no room, or it cannot be written.
        MoecapError: As :func:`check_convertible` says.
    """
    name = f"models/gguf-{folder.name[:40]}-{precision}-{_digest(folder, precision)[:12]}"
    target = cache_root() / name
    if _whole(target):
        return target / FILE
    with cache_lock(name, progress=progress):
        if _whole(target):  # another process has made it meanwhile
            return target / FILE
        needed = sum(file.stat().st_size for file in folder.glob("*.safetensors")) * (2 if precision == "fp32" else 1)
        require_room(cache_root(), needed, f"{folder.name} as GGUF")
        try:
            with staged_folder(target) as stage:
                write_gguf(folder, stage / FILE, precision, lambda d, t: progress.advance(f"writing {FILE}", d, t))
                record = {
                    "recipe": _RECIPE,
                    "made_by": f"moecap {__version__}",
                    "precision": precision,
                    "bytes": (stage / FILE).stat().st_size,
                    "sha256": file_sha256(stage / FILE),
                }
                (stage / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise NotAvailableError(
                f"{folder.name} cannot be written as GGUF to {target}: {error.strerror or error}; "
                "set MOECAP_CACHE to a folder with room"
            ) from error
    return target / FILE


def write_gguf(folder: Path, path: Path, precision: str, advance: Callable[[int, int], None] | None = None) -> None:
    """Write a checkpoint as one GGUF file.

    Args:
        folder: The checkpoint.
        path: The file to write.
        precision: ``fp32``, ``fp16``, ``bf16`` or ``q8_0``.
        advance: Told the bytes of weights written and those of the whole file after each tensor.

    Raises:
        MoecapError: As :func:`check_convertible` says.
    """
    import gguf

    config = read_config_file(folder / "config.json")
    family = refuse_unlike(config)
    tensors = list(_tensors(folder, config, family))
    writer = gguf.GGUFWriter(path, family.architecture)
    writer.add_name(folder.name)
    writer.add_file_type(int(gguf.LlamaFileType[_FILE_TYPES[precision]]))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for key, (kind, value) in settings(config, family).items():
        writer.add_key_value(key, value, gguf.GGUFValueType[kind.upper()])
    _add_vocabulary(writer, vocabulary(folder, config["vocab_size"]))
    done = total = 0
    for tensor in tensors:
        kind = gguf.GGMLQuantizationType["F32" if tensor.plain else _TYPES[precision]]
        block, width = gguf.GGML_QUANT_SIZES[kind]
        size = int(np.prod(tensor.shape, dtype=np.int64)) // block * width
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), size, kind)
        total += size
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        kind = gguf.GGMLQuantizationType["F32" if tensor.plain else _TYPES[precision]]
        values = np.ascontiguousarray(tensor.read())
        stored = gguf.quants.quantize(values, kind)
        if precision == "fp16" and not tensor.plain and not np.isfinite(stored).all():
            raise NotBuiltError(f"{tensor.name} has weights beyond the range of fp16; choose --precision bf16 or fp32")
        writer.write_tensor_data(stored)
        done += stored.nbytes
        if advance is not None:
            advance(done, total)
    writer.close()


def _tensors(folder: Path, config: Mapping[str, Any], family: Family) -> Iterator[_Tensor]:
    """The tensors of the file in the order of the checkpoint's names.

    Raises:
        BadInputError: If a tensor has no place in the file, or an expert is missing.
    """
    import gguf

    architecture = next(a for a, name in gguf.MODEL_ARCH_NAMES.items() if name == family.architecture)
    names = gguf.get_tensor_name_map(architecture, config["num_hidden_layers"])
    heads = config["num_attention_heads"]
    paired = {"attn_q": heads, "attn_k": config.get("num_key_value_heads") or heads} if family.paired else {}
    experts = next((config[key] for key in family.experts if config.get(key)), 0)
    groups: dict[str, dict[int, StoredTensor]] = {}
    for name, stored in stored_tensors(folder).items():
        if name.endswith(_COMPUTED):
            continue
        number = _EXPERT.search(name)
        merged = _EXPERT.sub(".experts.", name)
        target = names.get_name(merged, try_suffixes=(".weight", ".bias"))
        if target is None:
            raise BadInputError(
                f"{folder}: {name} has no place in a GGUF file of the architecture {family.architecture}"
            )
        groups.setdefault(target, {})[int(number[1]) if number else 0] = stored
    if config.get("tie_word_embeddings"):
        groups.pop("output.weight", None)
    for target, parts in groups.items():
        wanted = experts if target.endswith("_exps.weight") else 1
        if sorted(parts) != list(range(wanted)):
            raise BadInputError(f"{folder}: {target} needs {wanted} experts, {len(parts)} are there; fetch it again")
        sources = tuple(parts[i] for i in range(wanted))
        plain = len(sources[0].shape) == 1 or "ffn_gate_inp" in target
        yield _Tensor(target, sources, plain, paired.get(target.split(".")[-2], 0))


def _add_vocabulary(writer: Any, known: Vocabulary) -> None:
    writer.add_tokenizer_model(known.model)
    writer.add_tokenizer_pre(known.rule)
    writer.add_token_list(known.tokens)
    writer.add_token_types(known.kinds)
    if known.model == "gpt2":
        writer.add_token_merges(known.merges)
    else:
        writer.add_token_scores(known.scores)
    adders = {
        "bos": writer.add_bos_token_id,
        "eos": writer.add_eos_token_id,
        "unknown": writer.add_unk_token_id,
        "padding": writer.add_pad_token_id,
    }
    for name, index in known.special.items():
        adders[name](index)
    writer.add_add_bos_token(False)  # prompts come as token ids, to which nothing may be added
    if known.chat_template:
        writer.add_chat_template(known.chat_template)


def _digest(folder: Path, precision: str) -> str:
    """What the file depends on: the checkpoint, the format, this recipe and the packages that write."""
    weights = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(folder.glob("*.safetensors"))]
    texts = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
    contents = {name: file_sha256(folder / name) for name in texts if (folder / name).is_file()}
    versions = [importlib.metadata.version("gguf"), np.__version__]
    text = json.dumps([_RECIPE, precision, weights, contents, versions, sorted(FAMILIES)])
    return hashlib.sha256(text.encode()).hexdigest()


def _whole(target: Path) -> bool:
    """Whether the record is there and the file has its size."""
    try:
        record = json.loads((target / RECORD).read_text(encoding="utf-8"))
        return bool(record["recipe"] == _RECIPE and record["bytes"] == (target / FILE).stat().st_size)
    except (OSError, ValueError, KeyError, TypeError):
        return False
