"""A model that judges answers, behind any OpenAI-compatible endpoint; its failures are failures and no verdicts."""

from __future__ import annotations

import http.client
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Any
from urllib.parse import urlsplit

from moecap.errors import BadInputError

__all__ = ["KEY_VARIABLE", "Judge", "Verdict", "verdict_of"]

KEY_VARIABLE = "MOECAP_JUDGE_API_KEY"
"""Environment variable with the endpoint's key."""

TIMEOUT_S = 600.0
TRIES = 3
WAIT_S = 1.0
"""Seconds before the second try; each further one waits twice as long."""

_LABEL = re.compile(r"\[\[([AB<>=]+)\]\]")
_LABELS = frozenset({"A>>B", "A>B", "A=B", "B>A", "B>>A", "A<B", "A<<B", "B<A", "B<<A", "B=A"})
_CONTINUE = "continue your judgment and finish by outputting a final verdict label"

Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge said.

    Attributes:
        label: ``A>>B``, ``A>B``, ``A=B``, ``B>A``, ``B>>A`` or the same turned round; ``None`` where there is none.
        text: Its words.
        model: The model that the endpoint says has answered.
        problem: Why there is no label.
    """

    label: str | None
    text: str
    model: str | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class Judge:
    """An endpoint and a model.

    Attributes:
        endpoint: URL up to and with ``/v1``; the key comes from the environment.
        model: The model's name.
        output_tokens: Most tokens of a judgment.
    """

    endpoint: str
    model: str
    output_tokens: int
    _stopped: Event = field(default_factory=Event, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.endpoint.startswith(("http://", "https://")):
            raise BadInputError(f"--task-arg judge={self.endpoint}: not an http:// or https:// URL")
        if "@" in urlsplit(self.endpoint).netloc:
            raise BadInputError(f"--task-arg judge: leave the password out of the URL; {KEY_VARIABLE} has the key")

    def stop(self) -> None:
        """Give no verdict from now on, and wait for no further try."""
        self._stopped.set()

    def verdict(self, instructions: str, prompt: str) -> Verdict:
        """Ask for a judgment, and once more for its label where none was given.

        Never raises for what the endpoint does: an endpoint that fails is a verdict with a problem.
        """
        messages: list[Message] = [{"role": "system", "content": instructions}, {"role": "user", "content": prompt}]
        text, model = "", None
        for _ in range(2):
            try:
                said, model = self._answer(messages)
            except _EndpointError as error:
                return Verdict(None, text, model, str(error))
            text = f"{text}\n{said}".strip()
            label, again = verdict_of(text)
            if label is not None:
                return Verdict(label, text, model, None)
            if not again:
                return Verdict(None, text, model, "several different labels")
            messages += [{"role": "assistant", "content": said}, {"role": "user", "content": _CONTINUE}]
        return Verdict(None, text, model, "no label")

    def _answer(self, messages: Sequence[Message]) -> tuple[str, str | None]:
        """The text of one answer and the model that gave it; tries again where the endpoint is busy or away."""
        wait, tried = WAIT_S, 0
        while True:
            if self._stopped.is_set():
                raise _EndpointError("not asked: the run ended before", False)
            tried += 1
            try:
                return self._ask(messages)
            except _EndpointError as error:
                if not error.passing or tried == TRIES:
                    raise
            self._stopped.wait(wait)
            wait *= 2

    def _ask(self, messages: Sequence[Message]) -> tuple[str, str | None]:
        body = {"model": self.model, "messages": messages, "temperature": 0, "max_tokens": self.output_tokens}
        url = f"{self.endpoint.rstrip('/')}/chat/completions"
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        if key := os.environ.get(KEY_VARIABLE):  # which no place to which the endpoint redirects is to hear
            request.add_unredirected_header("Authorization", f"Bearer {key}")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:
                content = reply.read()
        except urllib.error.HTTPError as error:
            with error:
                passing = error.code == 429 or error.code >= 500
                raise _EndpointError(f"status {error.code}", passing) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise _EndpointError(f"no answer ({type(reason).__name__})", True) from None
        return _read(content)


class _EndpointError(Exception):
    """What an endpoint did wrong; ``passing`` where another try may help."""

    def __init__(self, text: str, passing: bool) -> None:
        super().__init__(text)
        self.passing = passing


def _read(content: bytes) -> tuple[str, str | None]:
    try:
        answer: Any = json.loads(content)
        text = answer["choices"][0]["message"]["content"]
        model = answer.get("model")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise _EndpointError("not the answer of a chat", False) from None
    if not isinstance(text, str):
        raise _EndpointError("an answer without text", False)
    return text, model if isinstance(model, str) else None


def verdict_of(text: str) -> tuple[str | None, bool]:
    """The label of a judgment, and whether asking for one again makes sense.

    A label that is none of those allowed, such as ``[[A]]``, counts as none; several different ones are no verdict.
    """
    labels = set(_LABEL.findall(text)) & _LABELS
    return (labels.pop(), False) if len(labels) == 1 else (None, not labels)
