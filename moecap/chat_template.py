"""The chat template of a checkpoint: a conversation as the one text on which its model was trained.

The template is a Jinja text in ``chat_template.jinja`` or in ``tokenizer_config.json``. It comes with a checkpoint of
anyone's, so it is rendered in Jinja's sandbox. Some templates tell the model what day it is: they are told the same day
always, so that the same questions are the same prompts tomorrow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from moecap.errors import BadInputError
from moecap.strict_json import parse_json

__all__ = ["ChatTemplate", "told_date"]

TOLD_DATE = datetime(2025, 1, 1)
"""The moment that a template is told which asks for the time."""

TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")
"""Special tokens that a template may name."""


MOST_INDENT = 16
"""Blanks before each level of a value as JSON."""


class ChatTemplate:
    """A template that is ready to be rendered.

    Args:
        source: The Jinja text.
        special_tokens: Text of each special token by its name (``bos_token``).

    Attributes:
        dated: Whether a conversation so far was told the date.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        from jinja2.ext import loopcontrols

        from moecap.template_sandbox import BoundedSandbox

        environment = BoundedSandbox(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _answer_blocks()])
        self._environment = environment
        environment.filters["tojson"] = _as_json
        environment.globals.update(raise_exception=_refuse, strftime_now=self._date)
        self.dated = False
        try:
            self._template = environment.from_string(source)
        except Exception as error:  # a template is a stranger's program
            raise BadInputError(f"the chat template is not Jinja ({error}); mend it, or take chat=false") from None
        self._tokens = dict(special_tokens)

    @classmethod
    def read(cls, folder: Path) -> ChatTemplate | None:
        """The template of a checkpoint; ``None`` where it has none.

        Args:
            folder: A checkpoint folder.

        Raises:
            BadInputError: If the template or the file that holds it cannot be read.
        """
        config = _read_config(folder / "tokenizer_config.json")
        own = folder / "chat_template.jinja"
        source = _text(own) if own.is_file() else config.get("chat_template")
        if isinstance(source, list):  # several by name
            named = (entry for entry in source if isinstance(entry, dict) and entry.get("name") == "default")
            source = next(named, {}).get("template")
        if not isinstance(source, str):
            return None
        return cls(source, {name: _token(config[name]) for name in TOKENS if config.get(name)})

    def _date(self, form: str) -> str:
        self.dated = True
        return told_date(form)

    def render(self, messages: Sequence[tuple[str, str]]) -> str:
        """The text of a conversation, up to where the model's next answer begins.

        Args:
            messages: Role and content of each message.

        Raises:
            BadInputError: If the template refuses such a conversation.
        """
        from moecap.template_sandbox import MOST_CHARACTERS

        told = [{"role": role, "content": content} for role, content in messages]
        parts, left, self._environment.turns = [], MOST_CHARACTERS, 0
        try:
            for part in self._template.generate(
                messages=told, tools=None, documents=None, add_generation_prompt=True, **self._tokens
            ):
                parts.append(part)
                left -= len(part)
                if left < 0:
                    raise ValueError(f"it makes more than {MOST_CHARACTERS:,} characters")
            return "".join(parts)
        except Exception as error:  # a template is a stranger's program
            raise BadInputError(f"the model's chat template cannot be used ({error}); take chat=false") from None


def _answer_blocks() -> Any:
    """The extension by which a template marks the model's own words (``generation``); they are rendered as they are."""
    from jinja2 import nodes
    from jinja2.ext import Extension
    from jinja2.parser import Parser

    class AnswerBlocks(Extension):
        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)

    return AnswerBlocks


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path}: not JSON ({error}); fetch the tokenizer again") from None
    return content if isinstance(content, dict) else {}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: cannot be read ({error}); fetch the tokenizer again") from None


def _token(value: Any) -> str:
    """A special token's text, which some files wrap in an object."""
    return str(value.get("content", "") if isinstance(value, dict) else value)


def _as_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    """JSON without the escapes for HTML that Jinja's own filter makes."""
    if isinstance(indent, int) and indent > MOST_INDENT:
        raise ValueError(f"JSON that is indented by more than {MOST_INDENT}")
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _refuse(message: str) -> NoReturn:
    from jinja2 import TemplateError

    raise TemplateError(message)


def told_date(form: str) -> str:
    """The date that templates are told, as ``strftime`` writes it."""
    return TOLD_DATE.strftime(form)
