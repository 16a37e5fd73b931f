"""What all engines behind HTTP share: prompts go through the load generator, answers become requests and chunks."""

from __future__ import annotations

import itertools
import json
import os
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from moecap.backend import Engine, Generation, Prompt
from moecap.errors import RunError
from moecap.load.answers import Answer, decode_answer, error_text
from moecap.load.calibration import calibrate
from moecap.load.connection import ConnectionPool, Reply, Target
from moecap.load.driver import Exchange, Session, Turn, drive_closed, drive_open, undisturbed
from moecap.load.loop import run_loop
from moecap.observations.recorder import Recorder, RequestRecord
from moecap.runner.places import without_places

__all__ = ["ServedEngine", "fetch", "key_headers"]

KEY_VARIABLES = ("MOECAP_API_KEY", "OPENAI_API_KEY")
DONE_EVERY_SECONDS = 0.2
BEARING = ("content", "reasoning")


def key_headers() -> dict[str, str]:
    """The authorisation header from the environment, if there is a key; keys come from nowhere else."""
    key = next((os.environ[name] for name in KEY_VARIABLES if os.environ.get(name)), None)
    return {"Authorization": f"Bearer {key}"} if key else {}


def fetch(target: Target, path: str, content: Mapping[str, Any] | None = None, timeout: float = 30.0) -> Reply:
    """One request outside the load: GET, or POST with JSON."""

    async def ask() -> Reply:
        body = None if content is None else json.dumps(content).encode()
        async with ConnectionPool(target, timeout) as pool:
            return await pool.ask(target.request(path, body), lambda _reply: None)

    return run_loop(ask())


class ServedEngine(Engine):
    """An engine behind HTTP.

    Args:
        target: The server.
        model: The name under which it serves the model.
        timeout: Seconds after which a request has failed.
        concurrency: Requests that will be in flight, with which the client is calibrated.
    """

    def __init__(self, target: Target, model: str, timeout: float, concurrency: int) -> None:
        self.target = target
        self.model = model
        self.client = calibrate(concurrency)
        self._timeout = timeout
        self._keys = itertools.count()

    @abstractmethod
    def render(self, prompt: Prompt, key: str) -> bytes:
        """The whole streaming request for a prompt.

        Args:
            prompt: What to answer, greedily and with exactly its number of tokens.
            key: An id of the request, unique in this engine's life.
        """

    def observe(self, records: Mapping[str, RequestRecord], recorder: Recorder) -> None:
        """Fetch what the engine itself observed during the load that has just ended; by default nothing.

        Args:
            records: The requests of the load by their key.
            recorder: Keeps the facts.
        """

    def generate(
        self,
        prompts: Sequence[Prompt],
        concurrency: int,
        recorder: Recorder,
        done: Callable[[int], None],
        arrivals: Sequence[float] | None = None,
    ) -> list[Generation]:
        """Send the prompts and record what comes back, whatever ends the load."""
        keys = [f"moecap-{next(self._keys)}" for _ in prompts]
        sessions = [self._session(p, k) for p, k in zip(prompts, keys, strict=True)]
        log: list[Exchange] = []
        try:
            with undisturbed():
                run_loop(self._drive(sessions, concurrency, arrivals, log, _Progress(done)))
        except OSError as error:
            raise RunError(f"the server cannot be reached ({error.strerror or type(error).__name__})") from None
        finally:
            answers = self._record(prompts, keys, log, recorder)
        done(len(log))
        return [Generation(p.id, tuple(answers.get(i, Answer()).token_ids)) for i, p in enumerate(prompts)]

    def _session(self, prompt: Prompt, key: str) -> Session:
        request = self.render(prompt, key)
        return (Turn(prompt.id, lambda _replies: request),)

    async def _drive(
        self,
        sessions: Sequence[Session],
        concurrency: int,
        arrivals: Sequence[float] | None,
        log: list[Exchange],
        ended: Callable[[Exchange], None],
    ) -> None:
        async with ConnectionPool(self.target, self._timeout) as pool:
            if arrivals is None:
                await drive_closed(pool, sessions, concurrency, log, ended)
            else:
                await drive_open(pool, sessions, np.asarray(arrivals), log, ended)

    def _record(
        self, prompts: Sequence[Prompt], keys: Sequence[str], log: Sequence[Exchange], recorder: Recorder
    ) -> dict[int, Answer]:
        answers: dict[int, Answer] = {}
        records: dict[str, RequestRecord] = {}
        for exchange in log:
            reply = exchange.reply
            if reply is None:
                continue
            prompt = prompts[exchange.session]
            answers[exchange.session] = answer = decode_answer(reply)
            record = recorder.send(
                prompt.id, len(prompt.tokens), prompt.output_tokens, exchange.scheduled_ns, reply.sent_ns
            )
            records[keys[exchange.session]] = record
            _fill(record, reply, answer)
            recorder.chunks(record.request, answer.times, answer.tokens, answer.kinds)
        self.observe(records, recorder)
        return answers


def _fill(record: RequestRecord, reply: Reply, answer: Answer) -> None:
    bearing = [t for t, kind in zip(answer.times, answer.kinds, strict=True) if kind in BEARING]
    if bearing:
        record.first_token_ns, record.last_token_ns = bearing[0], bearing[-1]
    record.input_tokens, record.output_tokens = answer.input_tokens, answer.output_tokens
    record.cached_tokens = answer.cached_tokens
    record.ended_ns = reply.ended_ns or None
    if answer.error is not None:
        interrupted = answer.error in ("interrupted", "not finished when the run ended")
        record.status, record.error = ("unfinished", None) if interrupted else ("failed", without_places(answer.error))
    elif not bearing:
        record.status, record.error = "failed", "the answer has no token"
    else:
        record.complete(answer.token_ids or None, reply.ended_ns)


class _Progress:
    """Tells how many requests have ended, a few times a second."""

    def __init__(self, done: Callable[[int], None]) -> None:
        self._done, self._ended, self._told = done, 0, 0.0

    def __call__(self, _exchange: Exchange) -> None:
        self._ended += 1
        now = time.monotonic()
        if now - self._told > DONE_EVERY_SECONDS:
            self._told = now
            self._done(self._ended)


def explained(reply: Reply) -> str:
    """Why a reply is no answer, in one line."""
    return reply.error or f"HTTP {reply.status}: {error_text(reply.body)}"
