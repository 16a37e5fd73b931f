"""Checkpoints and requests on which moecap and lm-eval's own models are compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, processors

BEGIN, END = 256, 257
"""Ids of the tokens that :func:`finish_tokenizer` adds."""

TEMPLATE = (
    "{% for turn in messages %}{% if turn.role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
    "[{{ turn.role }}]{{ turn.content }}{% if not loop.last or add_generation_prompt %};{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
"""A chat template that refuses a system turn, as some models' do."""


def finish_tokenizer(folder: Path) -> Path:
    """Give a tiny checkpoint a begin and an end token, which its tokenizer puts before each text, and a template."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken("<s>", special=True), AddedToken("</s>", special=True)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BEGIN)])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": TEMPLATE}))
    return folder


def instances(kind: str, arguments: list[tuple[Any, ...]]) -> list[Any]:
    """Requests as a task of lm-eval makes them."""
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, argument, number) for number, argument in enumerate(arguments)]
