"""The model's own tokenizer, read from its ``tokenizer.json`` without loading the model's library."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer as _Tokenizer

from moecap.chat_template import ChatTemplate, told_date
from moecap.errors import BadInputError

__all__ = ["Message", "Tokenizer", "exact_length_prompts"]

Message = tuple[str, str]
"""Role and content of one message of a conversation."""


class Tokenizer:
    """Text to token ids and back.

    Args:
        folder: A checkpoint folder with a ``tokenizer.json``.

    Attributes:
        folder: That folder.

    Raises:
        BadInputError: If it is missing or cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise BadInputError(f"{folder}: no tokenizer.json; save the tokenizer beside the weights (save_pretrained)")
        try:
            self._tokenizer = _Tokenizer.from_file(str(path))
        except Exception as error:  # the Rust library raises plain Exception
            raise BadInputError(f"{path}: not a tokenizer ({str(error).splitlines()[0]})") from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.folder = folder

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of a text, without special tokens that the text does not name."""
        return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode_prompt(self, text: str) -> tuple[int, ...]:
        """Token ids of a text from the start of a sequence, with the token that the tokenizer begins one with."""
        tokens = self.encode(text)
        whole = tuple(self._tokenizer.encode(text).ids)
        begin = len(whole) - len(tokens)
        # what a tokenizer puts at the end (an end of sequence) has no place before an answer
        while begin > 0 and whole[begin : begin + len(tokens)] != tokens:
            begin -= 1
        return whole[: begin + len(tokens)]

    def encode_spans(self, text: str) -> list[tuple[int, int, int]]:
        """Token ids of a text as ``encode`` gives them, each with its first character and that after its last.

        Two tokens that share the bytes of one character both have it.
        """
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return [(token, *span) for token, span in zip(encoding.ids, encoding.offsets, strict=True)]

    @cached_property
    def space_tokens(self) -> tuple[int, ...]:
        """Ids of all tokens that begin with white space where they follow a word, ascending."""
        word = self._tokenizer.encode("a", add_special_tokens=False).ids
        bare = len(self._tokenizer.decode(word))
        ids = range(self._tokenizer.get_vocab_size())
        after = self._tokenizer.decode_batch([[*word, token] for token in ids], skip_special_tokens=True)
        return tuple(token for token, text in zip(ids, after, strict=True) if text[bare : bare + 1].isspace())

    @cached_property
    def chat_template(self) -> ChatTemplate | None:
        """How the model wants a conversation; ``None`` where its checkpoint does not say."""
        return ChatTemplate.read(self.folder)

    def chat(self, messages: Sequence[Message]) -> str:
        """A conversation as one text that ends where the model is to answer; ``encode`` gives its tokens.

        Raises:
            BadInputError: If the model has no chat template, or it refuses the conversation.
        """
        if self.chat_template is None:
            raise BadInputError(f"{self.folder.name} has no chat template; take --task-arg chat=false")
        return self.chat_template.render(messages)

    @property
    def chat_date(self) -> str | None:
        """The day that the chat template was told, YYYY-MM-DD; ``None`` where it did not ask so far."""
        dated = self.chat_template is not None and self.chat_template.dated
        return told_date("%Y-%m-%d") if dated else None

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of token ids."""
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text


def exact_length_prompts(tokenizer: Tokenizer, texts: Iterable[str], count: int, length: int) -> list[tuple[int, ...]]:
    """Prompts of exactly ``length`` tokens, cut from real texts that are joined until they are long enough.

    No text is used in two prompts unless there are too few of them, so prompts share no prefix.

    Args:
        tokenizer: The model's tokenizer.
        texts: Texts in the order of their use; used again from the start when they are exhausted.
        count: Number of prompts.
        length: Tokens of each.

    Raises:
        BadInputError: If there is no text.
    """
    pool = [text for text in texts if text.strip()]
    if not pool:
        raise BadInputError("the data set has no text to make prompts of; give another with --dataset")
    prompts: list[tuple[int, ...]] = []
    position = 0
    for _ in range(count):
        tokens: list[int] = []
        while len(tokens) < length:
            separator = "\n" if tokens else ""
            piece = tokenizer.encode(separator + pool[position % len(pool)])
            if not piece:
                raise BadInputError("a text of the data set has no token; give another with --dataset")
            tokens += piece
            position += 1
        prompts.append(tuple(tokens[:length]))
    return prompts
