"""The tokenizer of a GGUF file of the SmolLM family as the files that Hugging Face tokenizers read.

llama.cpp names the pre-tokenizer ``smollm``: digits one at a time, then GPT-2's byte-level rule. The conversion in
transformers keeps only the second half, which splits spaces before digits differently from the published tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["write_tokenizer"]

_CONTROL = 3  # gguf's token type for special tokens


def write_tokenizer(fields: Mapping[str, Any], folder: Path) -> None:
    """Write ``tokenizer.json``, ``tokenizer_config.json`` and ``special_tokens_map.json``.

    Args:
        fields: The ``fields`` of a ``gguf.GGUFReader``.
        folder: Where the files go.

    Raises:
        ValueError: The file's tokenizer is of another kind.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    def value(key: str) -> Any:
        return fields[key].contents()

    kind = (value("tokenizer.ggml.model"), value("tokenizer.ggml.pre"))
    if kind != ("gpt2", "smollm"):
        raise ValueError(f"the tokenizer is {kind}, not ('gpt2', 'smollm')")
    tokens: list[str] = value("tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in value("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    types = value("tokenizer.ggml.token_type")
    special = [token for token, token_type in zip(tokens, types, strict=True) if token_type == _CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.save(str(folder / "tokenizer.json"))

    named = {
        "bos_token": tokens[value("tokenizer.ggml.bos_token_id")],
        "eos_token": tokens[value("tokenizer.ggml.eos_token_id")],
        "unk_token": tokens[value("tokenizer.ggml.unknown_token_id")],
        "pad_token": tokens[value("tokenizer.ggml.padding_token_id")],
    }
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",  # any other class would rebuild the pre-tokenizer its own way
        **named,
        "add_bos_token": bool(value("tokenizer.ggml.add_bos_token")),
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": int(value("llama.context_length")),
        "chat_template": value("tokenizer.chat_template"),
    }
    for name, content in (("tokenizer_config.json", settings), ("special_tokens_map.json", named)):
        (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
