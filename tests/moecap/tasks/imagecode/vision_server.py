"""A vision endpoint that decodes what it is shown."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from local_server import Answer, LocalServer
from PIL import Image

__all__ = ["VisionServer"]


class VisionServer(LocalServer):
    """OpenAI's chats with images, each request of which is checked; ``say`` gives the answer from pixels.

    Attributes:
        shown: What each request with images held: its text, labels, pixels and body.
    """

    def __init__(self, say: Callable[[str, list[np.ndarray], Mapping[str, Any]], Any]) -> None:
        self.say, self.shown = say, []

    def answer(self, method: str, target: str, headers: Mapping[str, str], content: bytes) -> Answer | None:
        if method == "GET":
            models = {"object": "list", "data": [{"id": "seer", "object": "model"}]}
            return (200, {"Content-Type": "application/json"}, models) if target == "/v1/models" else (404, {}, {})
        body = json.loads(content)
        if target == "/v1/completions":
            return _streamed([{"text": " word"}] * body["max_tokens"], len(body["prompt"]))
        assert target == "/v1/chat/completions"
        assert headers["Content-Type"] == "application/json"
        ((message),) = body["messages"]
        assert (message["role"], body["temperature"], body["model"], body["stream"]) == ("user", 0.0, "seer", True)
        first, *rest = message["content"]
        assert first["type"] == "text"
        labels = [part["text"] for part in rest if part["type"] == "text"]
        urls = [part["image_url"]["url"] for part in rest if part["type"] == "image_url"]
        assert len(labels) + len(urls) == len(rest)
        pixels = [_decoded(url) for url in urls]
        self.shown.append({"text": first["text"], "labels": labels, "pixels": pixels, "body": body})
        said = self.say(first["text"], pixels, body)
        if isinstance(said, tuple):
            return said
        if isinstance(said, str):
            said = {"delta": {"content": said}}
        return _streamed([{"delta": {"role": "assistant", "content": ""}}, said], 50 + 100 * len(pixels))


def _decoded(url: str) -> np.ndarray:
    kind, _, data = url.removeprefix("data:").partition(";base64,")
    with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as picture:
        assert f"image/{picture.format.lower()}" == kind
        return np.asarray(picture.convert("RGB"))


def _streamed(choices: list[dict[str, Any]], prompt_tokens: int) -> Answer:
    bearing = sum(bool(choice.get("text") or choice.get("delta", {}).get("content")) for choice in choices)
    chunks: list[dict[str, Any]] = [{"choices": [{"index": 0, **choice}]} for choice in choices]
    chunks[-1]["choices"][0]["finish_reason"] = "stop"
    chunks.append({"choices": [], "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": bearing}})
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    return 200, {"Content-Type": "text/event-stream"}, body.encode()
