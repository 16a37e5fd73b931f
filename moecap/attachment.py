"""Pictures and recordings that go with a prompt to a model which sees or hears them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Attachment", "content_parts"]


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that a prompt shows.

    Attributes:
        media_type: What it is: ``image/jpeg``, ``image/png``, ``audio/wav``, ...
        content: The bytes of the file.
        label: Words right before it; empty for none.
    """

    media_type: str
    content: bytes
    label: str = ""


def content_parts(text: str, attachments: Sequence[Attachment]) -> list[dict[str, Any]]:
    """A message's content in OpenAI's API for chats: the text, then each attachment after its label.

    Args:
        text: What is asked.
        attachments: In the order in which they are shown.
    """
    parts: list[dict[str, Any]] = [{"type": "text", "text": text}]
    for one in attachments:
        if one.label:
            parts.append({"type": "text", "text": one.label})
        data = base64.b64encode(one.content).decode("ascii")
        kind, _, form = one.media_type.partition("/")
        if kind == "audio":
            parts.append({"type": "input_audio", "input_audio": {"data": data, "format": form}})
        else:
            parts.append({"type": "image_url", "image_url": {"url": f"data:{one.media_type};base64,{data}"}})
    return parts
